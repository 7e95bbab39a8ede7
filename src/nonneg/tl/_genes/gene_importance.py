"""Which factor every gene belongs to, and how well genes are reconstructed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..._adata.checks import check_some
from ..._adata.read import Read, read_matrix, resolve_adata
from ..._adata.views import read_factors
from ..._adata.write import write_beside
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ...models.genes.importance import gene_importance as find_importance
from ...models.genes.reconstruction import reconstruction_correlation
from ...operators.threads import computing

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData


@checked
@shared_docs
def gene_importance(
    adata: AnnData | SpatialData,
    key: str = "nmf",
    *,
    min_share: float = 0.0,
    layer: str | None = None,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    r"""Find the factor that each gene belongs to, and how well it is reconstructed.

    Loadings :math:`a_{jk}` of gene :math:`j` are brought to patterns with a maximum of
    1, without which they could not be compared between factors. The importance of a gene
    is the largest share that a factor has in it,

    .. math:: r_j = \max_k a_{jk} \big/ \sum_l a_{jl},

    which is 1 for genes of one factor, and :math:`1 / K` for genes that all factors have
    alike :cite:p:`Cahill2024`; the gene is assigned to that factor. Reconstruction is
    Pearson's correlation between the values of the gene and :math:`\sum_k d_k a_{jk}`,
    over all observations: what the factors know of it. It is found from
    :math:`K \times K` products, without a reconstruction.

    Sort genes by importance within their factor to see what marks a pattern. Rare
    genes are easily important: look at `reconstruction` beside it.

    Parameters
    ----------
    %(key)s
    min_share
        Share above which a factor counts in `n_factors`. 0 suits solvers with exact
        zeros, such as the default of :func:`nonneg.tl.nmf`; take 0.01 or so after
        multiplicative updates and in probabilistic models.
    layer
        Layer that was factorized. `None`: the one that the factorization names.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets, for each gene:

    `.var['nmf_importance' | key + '_importance']` : :class:`pandas.Series` (dtype `float`)
        :math:`r_j`; NaN for genes that have no loading or were not used.
    `.var['nmf_assignment' | key + '_assignment']` : :class:`pandas.Series` (dtype `category`)
        The factor.
    `.var['nmf_n_factors' | key + '_n_factors']` : :class:`pandas.Series` (dtype `int`)
        How many factors have it.
    `.var['nmf_reconstruction' | key + '_reconstruction']` : :class:`pandas.Series` (dtype `float`)
        The correlation; NaN for constant genes.

    Raises
    ------
    KeyError
        If there is no factorization under the key, or no such layer.
    ValueError
        If the factorization is of an element of `obsm`, or `min_share` is not in 0 to 1.

    See Also
    --------
    nonneg.get.top_genes : the leading genes of every factor
    nonneg.get.marker_overlap : factors against known markers

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.quilt(12, 30)
    >>> nng.tl.nmf(adata, 4)
    >>> nng.tl.gene_importance(adata)
    >>> adata.var["nmf_importance"].between(0.25, 1).all()
    np.True_
    """
    if not 0 <= min_share < 1:
        msg = f"min_share={min_share!r} must be at least 0 and below 1."
        raise ValueError(msg)
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    check_some(target, "observations", "variables")
    factors = read_factors(target, key)
    if factors.entry.varm_key is None:
        msg = (
            f"adata.uns[{key!r}] is of an element of obsm, whose columns are no genes. "
            "Factorize X or a layer."
        )
        raise ValueError(msg)
    size = np.nanmax(np.abs(factors.scores), axis=0)
    found = find_importance(factors.loadings, size, min_share)
    used = np.isfinite(factors.loadings).all(axis=1)
    known = np.isfinite(factors.scores).all(axis=1)
    layer = layer if layer is not None else factors.entry.params.get("layer")
    with computing():
        source = read_matrix(target, Read(layer, mask_var=used))
        reconstruction = np.full(target.n_vars, np.nan)
        reconstruction[used] = reconstruction_correlation(
            source.op,
            np.where(known[:, None], factors.scores, 0),
            factors.loadings[used],
        )
    index = target.var_names
    write_beside(
        target,
        factors,
        {
            "var": {
                "gene_importance": pd.Series(found.largest, index),
                "assignment": pd.Series(
                    pd.Categorical.from_codes(found.factor, pd.Index(factors.names)),
                    index,
                ),
                "n_factors": pd.Series(found.n_factors, index),
                "reconstruction": pd.Series(reconstruction, index),
            }
        },
    )
    return target if copy else None
