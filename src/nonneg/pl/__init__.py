"""Plots of factorizations."""

from __future__ import annotations

from ._factor_maps import factor_maps
from ._loadings import loadings
from ._objective import objective
from ._top_genes import top_genes

__all__ = ["factor_maps", "loadings", "objective", "top_genes"]
