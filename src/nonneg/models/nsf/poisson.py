"""Poisson counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import xlogy

from ..._core.typing import Floats
from .likelihood import (
    Likelihood,
    Sites,
    allocate,
    exp,
    expected,
    newton_sites,
    ratio,
    score_blocks,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...operators.protocol import MatrixOperator


class Poisson(Likelihood):
    """Counts with mean ``size * exp(f) @ W.T``; reads only what is stored."""

    def __init__(self, op: MatrixOperator, size: Floats) -> None:
        self.op = op
        self.size = size[:, None]
        log_size = np.log(size)
        # Of the saturated model, so that the bound is that on minus half the deviance.
        stats = op.stats()
        self._saturated = (
            float(op.entropy().sum())
            - stats.total
            - float(stats.row_sums @ log_size.astype(np.float64))
        )
        self._observed = np.empty(0)

    def restrict(self, op: MatrixOperator, rows: NDArray[np.intp]) -> Poisson:
        return Poisson(op, self.size[rows, 0])

    def loadings(self, mean: Floats, var: Floats, w: Floats) -> tuple[Floats, float]:
        shares = allocate(self.op, exp(mean), w)
        self._observed = shares.rows
        total = (self.size * expected(mean, var)).sum(0, dtype=np.float64)
        value = shares.log_sum - total @ w.sum(0, dtype=np.float64) - self._saturated
        self.parts = shares.columns, total
        return ratio(*self.parts).astype(w.dtype), float(value)

    def sites(self, mean: Floats, var: Floats, w: Floats, limit: float) -> Sites:
        rate = self.size * w.sum(0) * expected(mean, var)
        return newton_sites(self._observed, rate, mean, limit)

    def score(
        self, op: MatrixOperator, size: Floats, mean: Floats, var: Floats, w: Floats
    ) -> Floats:
        factors = (size[:, None] * expected(mean, var)).astype(w.dtype)
        return score_blocks(op, lambda x, rows: _poisson_score(x, factors[rows], w))


class PoissonMonteCarlo(Poisson):
    """The same, with the expected logarithm by draws instead of its bound.

    Draws come in pairs ``mean ± sd * z``. What a draw says of the variance follows
    from Stein's lemma, so that draws need no gradients.
    """

    def __init__(
        self, op: MatrixOperator, size: Floats, n_samples: int, rng: np.random.Generator
    ) -> None:
        super().__init__(op, size)
        self._n_samples, self._rng = n_samples, rng
        self._curvature = np.empty(0)

    def restrict(self, op: MatrixOperator, rows: NDArray[np.intp]) -> PoissonMonteCarlo:
        return PoissonMonteCarlo(op, self.size[rows, 0], self._n_samples, self._rng)

    def loadings(self, mean: Floats, var: Floats, w: Floats) -> tuple[Floats, float]:
        sd = np.sqrt(var)
        rows: Any = 0.0
        columns: Any = 0.0
        product: Any = 0.0
        log_sum = 0.0
        n_draws = 2 * self._n_samples
        for _ in range(self._n_samples):
            z = self._rng.standard_normal(mean.shape, dtype=np.float32)
            for sign in (1, -1):
                shares = allocate(self.op, exp(mean + sign * sd * z), w)
                rows = rows + shares.rows / n_draws
                columns = columns + shares.columns / n_draws
                product = product + sign * z * shares.rows / n_draws
                log_sum += shares.log_sum / n_draws
        self._observed = rows
        self._curvature = product / np.maximum(sd, 1e-6)
        total = (self.size * expected(mean, var)).sum(0, dtype=np.float64)
        value = log_sum - total @ w.sum(0, dtype=np.float64) - self._saturated
        self.parts = columns, total
        return ratio(*self.parts).astype(w.dtype), float(value)

    def sites(self, mean: Floats, var: Floats, w: Floats, limit: float) -> Sites:
        rate = self.size * w.sum(0) * expected(mean, var)
        precision = np.maximum(rate - self._curvature, rate / 10)
        step = np.minimum(self._observed - rate, limit * rate)
        return Sites(precision, step + precision * mean)


@jax.jit
def _poisson_score(x: jax.Array, factors: jax.Array, w: jax.Array) -> jax.Array:
    mean = factors @ w.T
    return (xlogy(x, mean + jnp.finfo(mean.dtype).tiny) - mean).sum(1)
