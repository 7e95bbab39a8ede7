"""Tools: factorizations and what follows from them."""

from __future__ import annotations

from ._nmf import nmf

__all__ = ["nmf"]
