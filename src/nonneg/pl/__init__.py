"""Plots of factors and of what follows from them."""

from __future__ import annotations

from ._comparison import comparison
from ._factor_maps import factor_maps
from ._loadings import loadings
from ._objective import objective
from ._spatial_importance import spatial_importance
from ._top_genes import top_genes

__all__ = [
    "comparison",
    "factor_maps",
    "loadings",
    "objective",
    "spatial_importance",
    "top_genes",
]
