"""Factors as an AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd
from anndata import AnnData

from .._adata.tables import read_table
from .._adata.views import (
    normalised_scores,
    predicted_factors,
    read_factors,
    read_predicted,
)
from .._core.arguments import checked
from .._core.docs import shared_docs

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from .._adata.views import Factors, Normalize


@checked
@shared_docs
def factors(
    adata: AnnData | SpatialData,
    key: str = "nmf",
    *,
    normalize: Normalize | None = None,
    table_key: str | None = None,
) -> AnnData:
    """Put factors in an AnnData, observations x factors.

    For everything scanpy and squidpy do with genes: maps, Moran's I, clustering.
    `obs`, `obsm`, `obsp` and `uns` are carried over, so neighbourhood graphs and
    colours are there. `X` is a copy; other arrays are shared with `adata`. Adding
    columns or keys to either object leaves the other alone. What :func:`nonneg.tl.predict`
    gives has this form, and is copied.

    Parameters
    ----------
    %(key)s
    normalize
        What the scores are to mean:

        `None`
            As stored. With the loadings as stored, the product is the fit.
        `"spde"`
            Every factor sums to 1 over observations: a distribution over space
            :cite:p:`Townes2023`.
        `"lda"`
            Every observation sums to 1 over factors: its composition, where a factor
            counts by what it contributes to the observation's total
            :cite:p:`Townes2023`.
        `"sum"`, `"l2"`, `"max"`
            Every factor has sum, 2-norm or largest absolute value 1. The loadings
            are not consulted: to keep the product, multiply them by what was divided
            out.
    %(table_key)s

    Returns
    -------
    AnnData of shape `(n_obs, k)` with the scores in `X` and the factors' names
    (`nmf_0`, `nmf_1`, … for `key="nmf"`) as `var_names`. Of models that have spatial factors,
    `.var['is_spatial']` tells which are.

    Raises
    ------
    %(key_errors)s
    ValueError
        If `"spde"`, `"lda"` or `"sum"` is asked of negative scores or loadings.

    See Also
    --------
    nonneg.get.factor_df : the same as a data frame
    nonneg.get.loadings_df : the genes' side

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.quilt(12, 30)
    >>> factors = nng.get.factors(adata, "truth")
    >>> factors.shape
    (144, 4)
    >>> list(factors.var_names)
    ['truth_0', 'truth_1', 'truth_2', 'truth_3']
    """
    adata = read_table(adata, table_key)
    if (known := read_predicted(adata, key)) is not None:
        if normalize is not None:
            msg = f"normalize={normalize!r} is not known of predictions: leave it out."
            raise ValueError(msg)
        return predicted_factors(adata, known)
    stored = read_factors(adata, key)
    result = AnnData(
        X=normalised_scores(stored, normalize).copy(),
        obs=cast("pd.DataFrame", adata.obs),
        var=_of_factors(stored),
        uns=dict(adata.uns),
    )
    for target, source in ((result.obsm, adata.obsm), (result.obsp, adata.obsp)):
        # Elements of a view would write through to it.
        target.update(source.copy() if adata.is_view else source)
    return result


def _of_factors(stored: Factors) -> pd.DataFrame:
    """Which factors are spatial, where a model tells."""
    is_spatial = np.asarray(getattr(stored.entry, "is_spatial", ()), bool)
    known = is_spatial.shape == (len(stored.names),)
    columns = {"is_spatial": is_spatial} if known else {}
    return pd.DataFrame(columns, index=stored.names)
