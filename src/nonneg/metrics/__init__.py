"""Numbers that compare arrays."""

from __future__ import annotations

from ._agreement import agreement
from ._alignment import alignment
from ._match_factors import FactorMatch, match_factors
from ._poisson_deviance import poisson_deviance
from ._purity import purity
from ._r2 import r2

__all__ = [
    "FactorMatch",
    "agreement",
    "alignment",
    "match_factors",
    "poisson_deviance",
    "purity",
    "r2",
]
