"""Informative genes by Poisson deviance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._adata.checks import check_nonnegative
from .._adata.labels import read_sections
from .._adata.read import Read, read_matrix, resolve_adata
from .._adata.write import write_values
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_positive_int
from .._core.warnings import warn
from ..models.deviance import column_deviance
from ..operators.threads import computing

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData


@checked
@shared_docs
def deviant_genes(
    adata: AnnData | SpatialData,
    n_top_genes: int = 2000,
    *,
    layer: str | None = None,
    batch_key: str | None = None,
    subset: bool = False,
    chunk_size: int | None = None,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    r"""Select the genes whose counts vary more than Poisson noise.

    For every gene, the deviance of its counts :math:`y_{ij}` from a constant
    share of the total counts :math:`s_i`,

    .. math::

        D_j = 2 \sum_i y_{ij} \log \frac{y_{ij} / s_i}{\sum_i y_{ij} / \sum_i s_i},

    needs neither normalisation nor a pseudocount :cite:p:`Townes2019`. The
    choice for counts that are factorized as they are; for log-normalised data
    :func:`scanpy.pp.highly_variable_genes` serves as well.

    Parameters
    ----------
    adata
        Annotated data with counts. :math:`s_i` sums over all its genes: select
        genes before any other subsetting.
    n_top_genes
        Number of genes to select; all if there are fewer. 1,000 to 3,000 suit whole
        transcriptomes.
    layer
        Layer with counts instead of `adata.X`.
    batch_key
        Column of `adata.obs`. Deviances are then taken within every batch and
        added up, so that differences between batches select no genes.
    subset
        Keep only the selected genes.
    %(chunk_size)s
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets the following fields:

    `.var['deviance']` : :class:`pandas.Series` (dtype `float`)
        Poisson deviance.
    `.var['highly_variable']` : :class:`pandas.Series` (dtype `bool`)
        Whether the gene is among the `n_top_genes` of largest deviance; the name
        that scanpy looks for.
    `.var['highly_variable_rank']` : :class:`pandas.Series` (dtype `float`)
        Rank by deviance from 0, NaN for genes that are not selected.

    Raises
    ------
    ValueError
        If the counts contain NaN, infinite or negative entries, or if a batch
        label is missing.
    KeyError
        If a layer or `batch_key` does not exist.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.ggblocks()
    >>> nng.pp.deviant_genes(adata, 50, subset=True)
    >>> adata.shape
    (1296, 50)
    """
    n_top_genes = check_positive_int(n_top_genes, "n_top_genes")
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    if subset and target.isbacked:
        msg = (
            "subset=True cannot change a file. Leave it out and pass "
            "mask_var='highly_variable' to the factorization."
        )
        raise ValueError(msg)
    groups, _ = read_sections(target, batch_key)
    with computing():
        source = read_matrix(target, Read(layer, chunk_size=chunk_size))
        stats = source.op.stats()
        check_nonnegative(stats, source.where)
        deviance = column_deviance(source.op, stats, groups)
    if not np.allclose(stats.col_sums, np.rint(stats.col_sums), rtol=1e-6):
        warn(f"{source.where} does not look like counts: its sums are not integers.")

    rank = np.empty(target.n_vars)
    rank[np.argsort(-deviance, kind="stable")] = np.arange(target.n_vars)
    selected = rank < n_top_genes
    write_values(
        target,
        {
            ("var", "deviance"): deviance,
            ("var", "highly_variable"): selected,
            ("var", "highly_variable_rank"): np.where(selected, rank, np.nan),
        },
        keep_vars=selected if subset else None,
    )
    return target if copy else None
