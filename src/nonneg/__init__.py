"""Non-negative matrix factorization for spatial omics, single cells and imaging."""

from __future__ import annotations

from importlib.metadata import version

from . import atlas, datasets, get, io, metrics, pl, pp, tl
from ._core.settings import settings

__version__ = version("nonneg")

__all__ = [
    "atlas",
    "datasets",
    "get",
    "io",
    "metrics",
    "pl",
    "pp",
    "settings",
    "tl",
]
