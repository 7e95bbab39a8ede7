"""Simulated data whose factors are known."""

from __future__ import annotations

from ._atlas_expression import atlas_expression
from ._batches import batches
from ._ggblocks import ggblocks
from ._quilt import quilt
from ._spots import Spots, spots
from ._widefield import widefield

__all__ = [
    "Spots",
    "atlas_expression",
    "batches",
    "ggblocks",
    "quilt",
    "spots",
    "widefield",
]
