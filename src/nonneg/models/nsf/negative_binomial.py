"""Counts with more scatter than Poisson's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln

from ..._core.namespace import namespace
from ..._core.typing import Floats
from .likelihood import (
    Evidence,
    Likelihood,
    Observations,
    Sites,
    allocate,
    count_loadings,
    count_score,
    exp,
    expected,
    log_moments,
    newton_sites,
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
    entry, reweights the exposures. All entries count, in blocks of rows. Noise is the
    dispersion of every variable.
    """

    arrays = ("size", "noise", "log_size")

    def __init__(
        self, op: MatrixOperator, size: Floats, dispersion: Floats | float = 0.01
    ) -> None:
        self.op = op
        self.size: Any = size[:, None]
        self.noise = np.broadcast_to(
            np.asarray(dispersion, np.float32), op.shape[1:]
        ).copy()
        self.log_size = float(op.stats().row_sums @ np.log(size).astype(np.float64))

    def restrict(self, op: MatrixOperator, rows: NDArray[np.intp]) -> NegativeBinomial:
        return NegativeBinomial(op, self.size[rows, 0], self.noise)

    def evidence(self, noise: Any, mean: Any, var: Any, w: Any) -> Evidence:
        xp = namespace(mean)
        shares = allocate(self.op, exp(mean), w)
        factors = (self.size * expected(mean, var)).astype(w.dtype)
        total: Any = 0.0
        slope: Any = 0.0
        curvature: Any = 0.0
        value = shares.log_sum + self.log_size
        for rows, x in self.op.dense_blocks():
            part = [
                xp.asarray(y).astype(float)
                for y in _nb_block(x, factors[rows], w, noise)
            ]
            total = total + part[0]
            value = value + part[1]
            slope = slope + part[2]
            curvature = curvature + part[3]
        step = slope / xp.maximum(xp.abs(curvature), 1e-6)
        step = xp.clip(step, -_MAX_DISPERSION_STEP, _MAX_DISPERSION_STEP)
        noise = xp.clip(noise * xp.exp(step), *_DISPERSION_RANGE).astype(np.float32)
        parts = shares.columns, total
        new = count_loadings(*parts).astype(w.dtype)
        return Evidence(new, value, noise, shares.rows, (), parts)

    def sites(self, evidence: Evidence, mean: Any, var: Any, limit: Any) -> Sites:
        xp = namespace(mean)
        w, noise = evidence.w, evidence.noise
        factors = (self.size * expected(mean, var)).astype(w.dtype)
        rates = [
            factors[rows] * xp.asarray(_nb_exposure(x, factors[rows], w, noise))
            for rows, x in self.op.dense_blocks()
        ]
        return newton_sites(evidence.observed, xp.concatenate(rates), mean, limit)

    def score(
        self, noise: Any, others: Observations, mean: Any, var: Any, w: Any
    ) -> Any:
        moments = log_moments(mean, var, others.size[:, None])
        return score_blocks(
            others.op, *moments, lambda x, *rows: count_score(x, *rows, w, noise)
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
