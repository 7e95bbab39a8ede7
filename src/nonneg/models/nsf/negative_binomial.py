"""Counts with more scatter than Poisson's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import gammaln

from ..._core.namespace import namespace
from ..._core.typing import Floats
from .likelihood import (
    MAX_DISPERSION,
    Evidence,
    Likelihood,
    Local,
    Observations,
    allocate,
    count_loadings,
    count_log_ratio,
    count_score,
    exp,
    expected,
    score_blocks,
    sized_moments,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ...operators.protocol import MatrixOperator


_MAX_DISPERSION_STEP = 1.0

_DISPERSION_RANGE = (1e-6, MAX_DISPERSION)


class NegativeBinomial(Likelihood):
    """Counts with variance ``mean + dispersion * mean²``.

    A Poisson likelihood whose mean has gamma noise: its expected noise, entry by
    entry, reweights the exposures. All entries count, in blocks of rows. Noise is the
    dispersion of every variable.
    """

    arrays = ("size", "noise", "constant")

    def __init__(
        self, op: MatrixOperator, size: Floats, dispersion: Floats | float = 0.01
    ) -> None:
        self.op = op
        self.size: Any = size[:, None]
        self.noise = np.broadcast_to(
            np.asarray(dispersion, np.float32), op.shape[1:]
        ).copy()
        # Of factorials of counts, and of size factors.
        self.constant = float(op.stats().row_sums @ np.log(size).astype(np.float64))
        for _, x in op.dense_blocks():
            counts = np.asarray(x)
            self.constant -= float(gammaln(counts[counts > 1] + 1.0).sum())

    def restrict(self, op: MatrixOperator, rows: NDArray[np.intp]) -> NegativeBinomial:
        return NegativeBinomial(op, self.size[rows, 0], self.noise)

    def evidence(self, noise: Any, mean: Any, var: Any, w: Any) -> Evidence:
        xp = namespace(mean)
        shares = allocate(self.op, exp(mean), w)
        factors = (self.size * expected(mean, var)).astype(w.dtype)
        found = self._sum(_nb_dispersion, factors, w, noise)
        value = found[0].sum() + shares.log_sum + self.constant
        step = found[1] / xp.maximum(xp.abs(found[2]), 1e-6)
        step = xp.clip(step, -_MAX_DISPERSION_STEP, _MAX_DISPERSION_STEP)
        new = xp.clip(noise * xp.exp(step), *_DISPERSION_RANGE).astype(np.float32)
        # Newton's step is kept where the bound does not fall.
        then, total, old_total = self._sum(_nb_loadings, factors, w, new, noise)
        better = then >= found[0]
        noise = xp.where(better, new, noise)
        total = xp.where(better[:, None], total, old_total)
        w = count_loadings(shares.columns, total).astype(w.dtype)
        return Evidence(w, value, noise, shares.rows)

    def _sum(self, function: Callable[..., Any], factors: Any, *args: Any) -> Any:
        """Sums over dense blocks of rows, in float64."""
        xp = namespace(factors)
        sums: Any = None
        for rows, x in self.op.dense_blocks():
            parts = function(x, factors[rows], *args)
            parts = [xp.asarray(part).astype(float) for part in parts]
            sums = (
                parts
                if sums is None
                else [a + b for a, b in zip(sums, parts, strict=True)]
            )
        return sums

    def local(self, evidence: Evidence, mean: Any, var: Any) -> Local:
        xp = namespace(mean)
        w, noise = evidence.w, evidence.noise
        factors = (self.size * expected(mean, var)).astype(w.dtype)
        rates = [
            factors[rows] * xp.asarray(_nb_sites(x, factors[rows], w, noise))
            for rows, x in self.op.dense_blocks()
        ]
        return Local(evidence.observed, xp.concatenate(rates))

    def score(
        self, noise: Any, others: Observations, mean: Any, var: Any, w: Any
    ) -> Any:
        moments = sized_moments(mean, var, others.size[:, None])
        return score_blocks(
            others.op, *moments, lambda x, *rows: count_score(x, *rows, w, noise)
        )


def _nb_noise(
    x: jax.Array, factors: jax.Array, w: jax.Array, dispersion: jax.Array
) -> jax.Array:
    return (1 + dispersion * x) / (1 + dispersion * (factors @ w.T))


@jax.jit
def _nb_sites(
    x: jax.Array, factors: jax.Array, w: jax.Array, dispersion: jax.Array
) -> jax.Array:
    """Exposures of factors."""
    return _nb_noise(x, factors, w, dispersion) @ w


@jax.jit
def _nb_dispersion(
    x: jax.Array, factors: jax.Array, w: jax.Array, dispersion: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Value of every gene, and its derivatives by the logarithm of the dispersion."""
    mean = factors @ w.T

    def value(log_dispersion: jax.Array) -> jax.Array:
        return count_log_ratio(x, mean, jnp.exp(log_dispersion)).sum(0)

    def slope(log_dispersion: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.jvp(value, (log_dispersion,), (one,))

    # Genes do not interact: derivatives along (1, …, 1) are those of each.
    at = jnp.log(dispersion)
    one = jnp.ones_like(at)
    (found, first), (_, second) = jax.jvp(slope, (at,), (one,))
    return found, first, second


@jax.jit
def _nb_loadings(
    x: jax.Array,
    factors: jax.Array,
    w: jax.Array,
    dispersion: jax.Array,
    old: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Value of every gene, and exposures of its loadings with either dispersion."""
    value = count_log_ratio(x, factors @ w.T, dispersion).sum(0)
    new, before = (
        _nb_noise(x, factors, w, own).T @ factors for own in (dispersion, old)
    )
    return value, new, before
