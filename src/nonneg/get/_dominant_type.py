"""The leading cell type of every location."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._adata.compositions import Share, read_compositions
from .._adata.tables import read_table
from .._core.arguments import checked
from .._core.docs import shared_docs

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData


@checked
@shared_docs
def dominant_type(
    adata: AnnData | SpatialData,
    key: str = "deconv",
    *,
    share: Share = "cells",
    min_share: float = 0.0,
    table_key: str | None = None,
) -> pd.Series[str]:
    """The cell type with the largest share in every location.

    As a column of `adata.obs` it serves scanpy's groups, and squidpy's neighbourhood
    enrichment and interaction matrices, which count how often two types lead in
    neighbours. These take no NaN: remove locations without a leading type first, which
    are those without counts and those below `min_share`.

    .. code-block:: python

        adata.obs["leading"] = nng.get.dominant_type(adata)
        known = adata[adata.obs["leading"].notna()].copy()
        sq.gr.spatial_neighbors_knn(known)
        sq.gr.nhood_enrichment(known, cluster_key="leading")
        sq.pl.nhood_enrichment(known, cluster_key="leading")

    With several sections, pass `library_key` to `spatial_neighbors_knn` and
    `nhood_enrichment` as well.

    Parameters
    ----------
    %(key)s
    share
        Of `"cells"` or of `"rna"`.
    min_share
        Least share of the leading type. Locations where it is lower have NaN.
    %(table_key)s

    Returns
    -------
    Categorical series, indexed by `obs_names`. Categories are the types that lead
    somewhere, in the order of the reference. Locations without counts have NaN.

    Raises
    ------
    KeyError
        If there is no deconvolution under the key.
    ValueError
        If the key is that of another method.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata, _ = nng.datasets.spots(10, 60)
    >>> adata.obs["leading"] = nng.get.dominant_type(adata, "truth")
    >>> adata.obs["leading"].value_counts().index[0]
    'type_2'
    """
    adata = read_table(adata, table_key)
    found = read_compositions(adata, key, share)
    filled = np.where(found.known[:, None], found.shares, -1.0)
    code = filled.argmax(axis=1)
    code[~found.known | (filled.max(axis=1) < min_share)] = -1
    leading = pd.Categorical.from_codes(code, pd.Index(found.names))
    return pd.Series(
        leading.remove_unused_categories(), index=adata.obs_names, name=f"{key}_type"
    )
