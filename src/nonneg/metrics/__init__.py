"""Numbers that compare arrays."""

from __future__ import annotations

from ._match_factors import FactorMatch, match_factors
from ._poisson_deviance import poisson_deviance
from ._r2 import r2

__all__ = ["FactorMatch", "match_factors", "poisson_deviance", "r2"]
