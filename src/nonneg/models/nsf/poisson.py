"""Poisson counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._core.namespace import namespace
from ..._core.typing import Floats
from .likelihood import (
    Evidence,
    Likelihood,
    Observations,
    Shares,
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


class Poisson(Likelihood):
    """Counts with mean ``size * exp(f) @ W.T``; reads only what is stored."""

    arrays: tuple[str, ...] = ("size", "saturated")

    def __init__(self, op: MatrixOperator, size: Floats) -> None:
        self.op = op
        self.size: Any = size[:, None]
        log_size = np.log(size)
        # Of the saturated model, so that the bound is that on minus half the deviance.
        stats = op.stats()
        self.saturated = (
            float(op.entropy().sum())
            - stats.total
            - float(stats.row_sums @ log_size.astype(np.float64))
        )

    def restrict(self, op: MatrixOperator, rows: NDArray[np.intp]) -> Poisson:
        return Poisson(op, self.size[rows, 0])

    def evidence(self, noise: Any, mean: Any, var: Any, w: Any) -> Evidence:
        shares = allocate(self.op, exp(mean), w)
        return self._evidence(shares, mean, var, w)

    def _evidence(self, shares: Shares, mean: Any, var: Any, w: Any) -> Evidence:
        total = (self.size * expected(mean, var)).sum(0, dtype=np.float64)
        fitted = total @ w.sum(0, dtype=np.float64)
        value = shares.log_sum - fitted - self.saturated
        parts = shares.columns, total
        new = count_loadings(*parts).astype(w.dtype)
        return Evidence(new, value, (), shares.rows, (), parts)

    def sites(self, evidence: Evidence, mean: Any, var: Any, limit: Any) -> Sites:
        rate = self.size * evidence.w.sum(0) * expected(mean, var)
        return newton_sites(evidence.observed, rate, mean, limit)

    def score(
        self, noise: Any, others: Observations, mean: Any, var: Any, w: Any
    ) -> Any:
        moments = log_moments(mean, var, others.size[:, None])
        excess: Any = 0.0
        for rows, x in others.op.dense_blocks():
            part = _excess_variance(x, *(y[rows] for y in moments), w)
            excess = excess + namespace(mean).asarray(part)
        # Counts of a gene scatter more than the likelihood says: fields that are unsure
        # are no remedy for that.
        dispersion = namespace(mean).maximum(excess[0] / excess[1], 0)
        return score_blocks(
            others.op,
            *moments,
            lambda x, *rows: count_score(x, *rows, w, dispersion),
        )


class PoissonMonteCarlo(Poisson):
    """The same, with the expected logarithm by draws instead of its bound.

    Draws come in pairs ``mean ± sd * z``. What a draw says of the variance follows
    from Stein's lemma, so that draws need no gradients. Noise is the number of the next.
    """

    exact = False
    arrays: tuple[str, ...] = ("size", "saturated", "seed", "noise")

    def __init__(
        self, op: MatrixOperator, size: Floats, n_samples: int, seed: int
    ) -> None:
        super().__init__(op, size)
        self.n_samples, self.seed = n_samples, np.uint32(seed % 2**32)
        self.noise = np.zeros((), np.uint32)

    def restrict(self, op: MatrixOperator, rows: NDArray[np.intp]) -> PoissonMonteCarlo:
        # Other rows, other draws.
        entropy = [int(self.seed), len(rows), int(rows[0]), int(rows[-1])]
        (seed,) = np.random.SeedSequence(entropy).generate_state(1).tolist()
        return PoissonMonteCarlo(op, self.size[rows, 0], self.n_samples, seed)

    def evidence(self, noise: Any, mean: Any, var: Any, w: Any) -> Evidence:
        xp = namespace(mean)
        sd = xp.sqrt(var)
        shares = Shares(0.0, 0.0, 0.0)
        product: Any = 0.0
        n_draws = 2 * self.n_samples
        key = jax.random.fold_in(jax.random.key(self.seed), noise)
        for draw in jax.random.split(key, self.n_samples):
            z = xp.asarray(jax.random.normal(draw, mean.shape, np.float32))
            for sign in (1, -1):
                own = allocate(self.op, exp(mean + sign * sd * z), w)
                shares = Shares(
                    *(x + y / n_draws for x, y in zip(shares, own, strict=True))
                )
                product = product + sign * z * own.rows / n_draws
        return self._evidence(shares, mean, var, w)._replace(
            noise=noise + np.uint32(1), curvature=product / xp.maximum(sd, 1e-6)
        )

    def sites(self, evidence: Evidence, mean: Any, var: Any, limit: Any) -> Sites:
        xp = namespace(mean)
        rate = self.size * evidence.w.sum(0) * expected(mean, var)
        precision = xp.maximum(rate - evidence.curvature, rate / 10)
        step = xp.minimum(evidence.observed - rate, limit * rate)
        return Sites(precision, step + precision * mean)


@jax.jit
def _excess_variance(
    x: jax.Array, factors: jax.Array, spread: jax.Array, w: jax.Array
) -> jax.Array:
    """Of genes, beyond what counting and factors explain; and what it is relative to."""
    mean = factors @ w.T
    var = spread @ (w**2).T
    residual = jnp.square(x - mean) - mean - var
    squares = jnp.square(mean) + var + jnp.finfo(mean.dtype).tiny
    return jnp.stack([residual.sum(0), squares.sum(0)])
