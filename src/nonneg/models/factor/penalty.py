"""Penalties on factors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..._core.typing import Floats

if TYPE_CHECKING:
    from ...operators.protocol import Matrix


class Penalty(NamedTuple):
    """``l1 ‖F‖₁ + l2/2 ‖F‖²`` on one factor F (p, k).

    A weight is a number, one per component (k,), or one per row and component (p, k).
    """

    l1: float | Floats | jax.Array = 0.0
    l2: float | Floats | jax.Array = 0.0

    @property
    def is_zero(self) -> bool:
        """Whether there is none; False where weights are not known yet."""
        if any(isinstance(weight, jax.core.Tracer) for weight in self):
            return False
        return not any(np.any(weight) for weight in self)

    @property
    def favours_zeros(self) -> bool:
        """Whether there is an L1 penalty; True where weights are not known yet."""
        return isinstance(self.l1, jax.core.Tracer) or bool(np.any(self.l1))

    def weights(self, dtype: Any) -> tuple[jax.Array, jax.Array]:
        """Both as arrays of the precision of the factor."""
        return jnp.asarray(self.l1, dtype), jnp.asarray(self.l2, dtype)

    def rows(self, rows: slice) -> Penalty:
        """The penalty of some rows of the factor."""
        weights: Any = self
        return Penalty(*(w[rows] if np.ndim(w) == 2 else w for w in weights))

    def pad(self, n_missing: int) -> Penalty:
        """The penalty of a factor with rows of zeros added."""
        missing = ((0, n_missing), (0, 0))
        return Penalty(
            *(np.pad(np.asarray(w), missing) if np.ndim(w) == 2 else w for w in self)
        )

    def value(self, factor: Matrix) -> Any:
        """The penalty of a factor, in float64 on the host."""
        if self.is_zero:
            return 0.0
        if isinstance(factor, jax.core.Tracer):
            per_entry = self.l1 * factor + self.l2 / 2 * factor**2
            return jnp.sum(per_entry)
        l1, l2 = np.asarray(self.l1), np.asarray(self.l2)
        if max(l1.ndim, l2.ndim) == 2:
            factor = np.asarray(factor)
            return float(np.sum(l1 * factor + l2 / 2 * factor**2, dtype=np.float64))
        # A factor on a device stays there; only its sums leave.
        linear = np.asarray(factor.sum(0), np.float64)
        square = np.asarray((factor**2).sum(0), np.float64)
        return float(np.sum(l1 * linear + l2 / 2 * square))
