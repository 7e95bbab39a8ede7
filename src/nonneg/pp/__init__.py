"""Preprocessing."""

from __future__ import annotations

from ._deviant_genes import deviant_genes
from ._signatures import signatures

__all__ = ["deviant_genes", "signatures"]
