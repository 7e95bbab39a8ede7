"""Non-negative matrix factorization for spatial omics, single cells and imaging."""

from __future__ import annotations

from importlib.metadata import version

from . import datasets, get, metrics, pl, pp, tl
from ._core.settings import settings

__version__ = version("nonneg")

__all__ = ["datasets", "get", "metrics", "pl", "pp", "settings", "tl"]
