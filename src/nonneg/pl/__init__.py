"""Plots of factors and of what follows from them."""

from __future__ import annotations

from ._cluster_composition import cluster_composition
from ._comparison import comparison
from ._deconvolution import deconvolution
from ._factor_maps import factor_maps
from ._inmf_search import inmf_search
from ._loadings import loadings
from ._marker_agreement import marker_agreement
from ._metagenes import metagenes
from ._missing_type import missing_type
from ._objective import objective
from ._presence import presence
from ._shared_change import shared_change
from ._spatial_importance import spatial_importance
from ._stability import stability
from ._top_genes import top_genes
from ._type_correlation import type_correlation

__all__ = [
    "cluster_composition",
    "comparison",
    "deconvolution",
    "factor_maps",
    "inmf_search",
    "loadings",
    "marker_agreement",
    "metagenes",
    "missing_type",
    "objective",
    "presence",
    "shared_change",
    "spatial_importance",
    "stability",
    "top_genes",
    "type_correlation",
]
