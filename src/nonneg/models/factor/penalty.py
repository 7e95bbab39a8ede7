"""Penalties on factors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..._core.typing import Floats


class Penalty(NamedTuple):
    """``l1 ‖F‖₁ + l2/2 ‖F‖²`` on one factor, with one weight or one per component."""

    l1: float | Floats = 0.0
    l2: float | Floats = 0.0

    def value(self, factor: Floats) -> float:
        """The penalty of a factor (p, k)."""
        if not (np.any(self.l1) or np.any(self.l2)):
            return 0.0
        linear = factor.sum(0, dtype=np.float64)
        square = np.square(factor).sum(0, dtype=np.float64)
        return float(np.sum(self.l1 * linear + self.l2 / 2 * square))
