"""Counts with more scatter than Poisson's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, xlogy

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


_MAX_DISPERSION_STEP = 1.0

_DISPERSION_RANGE = (1e-6, 1e3)


class NegativeBinomial(Likelihood):
    """Counts with variance ``mean + dispersion * mean²``.

    A Poisson likelihood whose mean has gamma noise: its expected noise, entry by
    entry, reweights the exposures. All entries count, in blocks of rows.
    """

    def __init__(
        self, op: MatrixOperator, size: Floats, dispersion: Floats | float = 0.01
    ) -> None:
        self.op = op
        self.size = size[:, None]
        self.scatter = np.broadcast_to(
            np.asarray(dispersion, np.float32), op.shape[1:]
        ).copy()
        self._log_size = float(op.stats().row_sums @ np.log(size).astype(np.float64))
        self._observed = np.empty(0)

    def restrict(self, op: MatrixOperator, rows: NDArray[np.intp]) -> NegativeBinomial:
        return NegativeBinomial(op, self.size[rows, 0], self.scatter)

    def loadings(self, mean: Floats, var: Floats, w: Floats) -> tuple[Floats, float]:
        shares = allocate(self.op, exp(mean), w)
        self._observed = shares.rows
        factors = (self.size * expected(mean, var)).astype(w.dtype)
        total: Any = 0.0
        slope: Any = 0.0
        curvature: Any = 0.0
        value = 0.0
        for rows, x in self.op.dense_blocks():
            part = _nb_block(x, factors[rows], w, self.scatter)
            total = total + np.asarray(part[0], np.float64)
            value += float(part[1])
            slope = slope + np.asarray(part[2], np.float64)
            curvature = curvature + np.asarray(part[3], np.float64)
        step = slope / np.maximum(np.abs(curvature), 1e-6)
        step = np.clip(step, -_MAX_DISPERSION_STEP, _MAX_DISPERSION_STEP)
        self.scatter = np.clip(self.scatter * np.exp(step), *_DISPERSION_RANGE).astype(
            np.float32
        )
        self.parts = shares.columns, np.asarray(total)
        value += shares.log_sum + self._log_size
        return ratio(*self.parts).astype(w.dtype), value

    def sites(self, mean: Floats, var: Floats, w: Floats, limit: float) -> Sites:
        factors = (self.size * expected(mean, var)).astype(w.dtype)
        rate = np.empty_like(factors)
        for rows, x in self.op.dense_blocks():
            rate[rows] = factors[rows] * np.asarray(
                _nb_exposure(x, factors[rows], w, self.scatter)
            )
        return newton_sites(self._observed, rate, mean, limit)

    def score(
        self, op: MatrixOperator, size: Floats, mean: Floats, var: Floats, w: Floats
    ) -> Floats:
        factors = (size[:, None] * expected(mean, var)).astype(w.dtype)
        return score_blocks(
            op, lambda x, rows: _nb_score(x, factors[rows], w, self.scatter)
        )


def _nb_noise(
    x: jax.Array, factors: jax.Array, w: jax.Array, dispersion: jax.Array
) -> jax.Array:
    return (1 + dispersion * x) / (1 + dispersion * (factors @ w.T))


@jax.jit
def _nb_exposure(
    x: jax.Array, factors: jax.Array, w: jax.Array, dispersion: jax.Array
) -> jax.Array:
    return _nb_noise(x, factors, w, dispersion) @ w


@jax.jit
def _nb_block(
    x: jax.Array, factors: jax.Array, w: jax.Array, dispersion: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Exposures of loadings, value without ``x log mean``, derivatives of the latter.

    Derivatives are with respect to the logarithm of the dispersion of each gene.
    """
    mean = factors @ w.T

    def value(log_dispersion: jax.Array) -> jax.Array:
        phi = jnp.exp(log_dispersion)
        return (
            gammaln(x + 1 / phi)
            - gammaln(1 / phi)
            - gammaln(x + 1)
            + x * log_dispersion
            - (x + 1 / phi) * jnp.log1p(phi * mean)
        ).sum(0)

    def total(log_dispersion: jax.Array) -> jax.Array:
        return value(log_dispersion).sum()

    at = jnp.log(dispersion)
    slope = jax.grad(total)
    # Genes do not interact: the derivative along (1, …, 1) is the diagonal.
    first, second = jax.jvp(slope, (at,), (jnp.ones_like(at),))
    exposure = _nb_noise(x, factors, w, dispersion).T @ factors
    return exposure, total(at), first, second


@jax.jit
def _nb_score(
    x: jax.Array, factors: jax.Array, w: jax.Array, dispersion: jax.Array
) -> jax.Array:
    mean = factors @ w.T
    ratio = jnp.log1p(dispersion * mean) / dispersion
    log_mean = xlogy(x, mean + jnp.finfo(mean.dtype).tiny)
    return (log_mean - x * jnp.log1p(dispersion * mean) - ratio).sum(1)
