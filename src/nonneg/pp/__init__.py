"""Preprocessing."""

from __future__ import annotations

from ._deviant_genes import deviant_genes

__all__ = ["deviant_genes"]
