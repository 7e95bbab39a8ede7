"""Which cell types are where."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._adata.compositions import read_compositions
from .._adata.tables import read_table
from .._core.arguments import checked
from .._core.docs import shared_docs

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData


@checked
@shared_docs
def presence(
    adata: AnnData | SpatialData,
    key: str = "deconv",
    *,
    table_key: str | None = None,
) -> pd.DataFrame:
    """Call cell types present or absent, location by location.

    A type is present where its share of cells is at least
    `uns[key]["presence"]["threshold"]` standard errors, which holds the false discovery
    rate asked for by `fdr` of :func:`nonneg.tl.deconvolve`. This is about evidence: a
    share may be large where there are too few counts to call it.

    Parameters
    ----------
    %(key)s
    %(table_key)s

    Returns
    -------
    Data frame of booleans, locations x cell types. Locations without counts have
    `False`.

    Raises
    ------
    KeyError
        If there is no deconvolution under the key, or it has no standard errors.
    ValueError
        If the key is that of another method.

    See Also
    --------
    nonneg.pl.presence : the numbers of all types

    Examples
    --------
    >>> import nonneg as nng
    >>> adata, reference = nng.datasets.spots(10, 60)
    >>> nng.tl.deconvolve(adata, reference, cell_type_key="cell_type")
    >>> called = nng.get.presence(adata)
    >>> called.shape
    (100, 5)
    """
    adata = read_table(adata, table_key)
    found = read_compositions(adata, key)
    stored = found.entry.presence or {}
    if "threshold" not in stored:
        msg = (
            f"adata.uns[{key!r}] has no calls of presence. Of several fits that were "
            "concatenated, each had its own threshold: call this for each of them before."
        )
        raise KeyError(msg)
    std = found.std(adata)
    # The threshold is one of the ratios, whose parts are of single precision.
    threshold = float(stored["threshold"]) * (1 - 1e-6)
    with np.errstate(invalid="ignore"):
        called = (found.shares > 0) & (
            found.shares >= threshold * np.maximum(std, 1e-12)
        )
    return pd.DataFrame(called, index=adata.obs_names, columns=found.names)
