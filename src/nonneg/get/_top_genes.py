"""The leading genes of every factor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from .._adata.tables import read_table
from .._adata.views import normalised_loadings, read_factors, shares, variable_names
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_one_of, check_positive_int

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from .._adata.views import Normalize


@checked
@shared_docs
def top_genes(
    adata: AnnData | SpatialData,
    n: int = 20,
    *,
    key: str = "nmf",
    normalize: Normalize | None = None,
    method: Literal["loading", "specificity"] = "loading",
    table_key: str | None = None,
) -> pd.DataFrame:
    r"""Rank the leading genes of every factor.

    The largest loadings show what a factor is made of, often abundant genes that
    several factors share; the most specific genes tell a factor from the others. The
    specificity of gene :math:`j` for factor :math:`k` is
    :math:`a_{jk} / \sum_l a_{jl}`, its share of the gene's loadings (of their
    absolute values, where there are signs). Every gene with a single factor has
    specificity 1, however small its loading: leave out rarely seen genes before the
    fit, or rank by loading.

    Parameters
    ----------
    adata
        Annotated data with a factorization.
    n
        Number of genes per factor.
    key
        Key of the factorization.
    normalize
        Normalisation of the loadings, as in :func:`nonneg.get.loadings_df`, before
        either number is taken. `None`: as stored, which after :func:`nonneg.tl.nmf`
        is columns of unit 2-norm. It does not change the order by loading, except for
        `"spde"`, where loading and specificity are the same.
    method
        Rank by `"loading"` or by `"specificity"` (ties by loading).
    %(table_key)s

    Returns
    -------
    Data frame with columns `factor`, `rank` (from 1), `gene`, `loading` and
    `specificity`, sorted by factor and rank. Only genes with a positive loading are
    listed, so a factor may have fewer than `n`.

    Raises
    ------
    KeyError
        If there is no factorization under the key.
    ValueError
        If `n` or `method` is not valid, or `"spde"`, `"lda"` or `"sum"` is asked of
        negative scores or loadings.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.quilt(12, 30)
    >>> nng.get.top_genes(adata, 1, key="truth")
        factor  rank    gene  loading  specificity
    0  truth_0     1  gene_5     20.0          1.0
    1  truth_1     1  gene_3     20.0          1.0
    2  truth_2     1  gene_1     20.0          1.0
    3  truth_3     1  gene_0     20.0          1.0
    """
    adata = read_table(adata, table_key)
    n = check_positive_int(n, "n")
    check_one_of(method, ("loading", "specificity"), "method")
    stored = read_factors(adata, key)
    names = variable_names(adata, stored)
    loadings = normalised_loadings(stored, normalize)
    specificity = shares(loadings)
    ranked = []
    for factor, loading, share in zip(
        stored.names, loadings.T, specificity.T, strict=True
    ):
        # The last key counts first; variables outside the mask are NaN: not > 0.
        keys = (-loading,) if method == "loading" else (-loading, -share)
        order = np.lexsort(keys)
        best = order[loading[order] > 0][:n]
        ranked.append(
            pd.DataFrame(
                {
                    "factor": factor,
                    "rank": np.arange(1, best.size + 1),
                    "gene": names[best],
                    "loading": loading[best],
                    "specificity": share[best],
                }
            )
        )
    return pd.concat(ranked, ignore_index=True)
