"""Loadings as a data frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from .._adata.tables import read_table
from .._adata.views import normalised_loadings, read_factors, variable_names
from .._core.arguments import checked
from .._core.docs import shared_docs

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from .._adata.views import Normalize


@checked
@shared_docs
def loadings_df(
    adata: AnnData | SpatialData,
    key: str = "nmf",
    *,
    normalize: Normalize | None = None,
    table_key: str | None = None,
) -> pd.DataFrame:
    """Put loadings in a data frame, variables x factors.

    Variables outside the `mask_var` of the fit have NaN and take no part in any
    normalisation.

    Parameters
    ----------
    %(key)s
    normalize
        What the loadings are to mean:

        `None`
            As stored. With the scores as stored, the product is the fit.
        `"spde"`
            Every gene sums to 1 over factors: the part of its fitted total that each
            factor accounts for :cite:p:`Townes2023`.
        `"lda"`, `"sum"`
            Every factor sums to 1 over genes: a distribution over genes. `"lda"`
            belongs to scores normalised in the same way :cite:p:`Townes2023`.
        `"l2"`, `"max"`
            Every factor has 2-norm or largest absolute value 1. The scores are not
            consulted: to keep the product, multiply them by what was divided out.
    %(table_key)s

    Returns
    -------
    Data frame of shape `(n_vars, k)`, indexed by `var_names`, with the factors' names
    as columns. After a fit to an element of `obsm`, rows are its columns.

    Raises
    ------
    %(key_errors)s
    ValueError
        If `"spde"`, `"lda"` or `"sum"` is asked of negative scores or loadings.

    See Also
    --------
    nonneg.get.top_genes : the leading genes of every factor

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.quilt(12, 30)
    >>> loadings = nng.get.loadings_df(adata, "truth", normalize="max")
    >>> loadings.loc["gene_0"].tolist()
    [0.0, 0.0, 0.0, 1.0]
    """
    adata = read_table(adata, table_key)
    stored = read_factors(adata, key)
    return pd.DataFrame(
        normalised_loadings(stored, normalize),
        index=variable_names(adata, stored),
        columns=stored.names,
    )
