"""Non-negative matrix factorization for spatial omics, single cells and imaging."""

from __future__ import annotations

from importlib.metadata import version

from . import tl
from ._settings import settings

__version__ = version("nonneg")

__all__ = ["settings", "tl"]
