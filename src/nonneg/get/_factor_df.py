"""Scores as a data frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from .._adata.tables import read_table
from .._adata.views import normalised_scores, read_factors
from .._core.arguments import checked
from .._core.docs import shared_docs

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from .._adata.views import Normalize


@checked
@shared_docs
def factor_df(
    adata: AnnData | SpatialData,
    key: str = "nmf",
    *,
    normalize: Normalize | None = None,
    table_key: str | None = None,
) -> pd.DataFrame:
    """Put scores in a data frame, observations x factors.

    For joins with `adata.obs`, group means and tables. For scanpy and squidpy use
    :func:`nonneg.get.factors`.

    Parameters
    ----------
    %(key)s
    normalize
        As in :func:`nonneg.get.factors`: `None`, `"spde"`, `"lda"`, `"sum"`, `"l2"`
        or `"max"`.
    %(table_key)s

    Returns
    -------
    Data frame of shape `(n_obs, k)`, indexed by `obs_names`, with the factors' names
    as columns.

    Raises
    ------
    %(key_errors)s
    ValueError
        If `"spde"`, `"lda"` or `"sum"` is asked of negative scores or loadings.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.quilt(12, 30)
    >>> nng.get.factor_df(adata, "truth").iloc[:2]
            truth_0  truth_1  truth_2  truth_3
    spot_0      0.0      1.0      1.0      0.0
    spot_1      0.0      1.0      0.0      0.0
    """
    adata = read_table(adata, table_key)
    stored = read_factors(adata, key)
    return pd.DataFrame(
        normalised_scores(stored, normalize),
        index=adata.obs_names,
        columns=stored.names,
    )
