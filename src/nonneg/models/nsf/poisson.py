"""Poisson counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from ..._core.namespace import namespace
from ..._core.typing import Floats
from .likelihood import (
    Evidence,
    Likelihood,
    Local,
    Observations,
    Shares,
    allocate,
    count_loadings,
    count_score,
    dispersion_of,
    exp,
    expected,
    score_blocks,
    sized_moments,
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
        new = count_loadings(shares.columns, total).astype(w.dtype)
        return Evidence(new, value, (), shares.rows)

    def local(self, evidence: Evidence, mean: Any, var: Any) -> Local:
        rate = self.size * evidence.w.sum(0) * expected(mean, var)
        return Local(evidence.observed, rate)

    def score(
        self, noise: Any, others: Observations, mean: Any, var: Any, w: Any
    ) -> Any:
        # Counts of a gene scatter more than the likelihood says: fields that are unsure
        # are no remedy for that.
        dispersion = dispersion_of(self.scatter(mean, var, w, others))
        moments = sized_moments(mean, var, others.size[:, None])
        return score_blocks(
            others.op,
            *moments,
            lambda x, *rows: count_score(x, *rows, w, dispersion),
        )

    def scatter(
        self, mean: Any, var: Any, w: Any, others: Observations | None = None
    ) -> Any:
        # Squares of all residuals, from products with what is stored.
        xp = namespace(mean)
        op, size = (
            (self.op, self.size)
            if others is None
            else (others.op, others.size[:, None])
        )
        factors, spread = sized_moments(mean, var, size)
        ones = xp.ones((len(factors), 1), w.dtype)
        squares = xp.asarray(op.square_rmatmul(ones), float)[:, 0]
        product = xp.asarray(op.rmatmul(factors), float)
        factors, w = factors.astype(float), w.astype(float)
        fitted = xp.einsum("jk,kl,jl->j", w, factors.T @ factors, w)
        unsure = w**2 @ spread.sum(0, dtype=float)
        residual = squares - 2 * (product * w).sum(1) + fitted
        return xp.stack([residual - w @ factors.sum(0) - unsure, fitted + unsure])


class Draws(NamedTuple):
    """What draws have said so far, newer ones weighing less."""

    n_steps: Any
    """The number of the next draw."""
    shares: Any
    """Averages of counts of factors, of loadings, and of the curvature."""
    anchor: Any = 1.0
    """The first of these when the window began."""
    window: Any = 0.0
    """Sum over the window of how counts of factors, as drawn, differ from these then, in
    units of their root."""
    squares: Any = 0.0
    """Sum of all their squares."""
    drift: Any = np.inf
    """By how much counts differed per step in the last window, relative to what they are,
    beyond what draws do by chance: zero where averages are what is expected."""


# Steps at first that count as much as the last; after them, weights fall.
_WARM_UP = 10

# With weights ``t ** -p``, p between 1/2 and 1, averages of draws at fits that move slowly
# converge almost surely.
_DECAY = 0.75

# Counts of a factor that do not matter.
_FEW = 1e-3

# Steps whose mean is compared with the average before.
_WINDOW = 10


class PoissonMonteCarlo(Poisson):
    """The same, with the expected logarithm by draws instead of its bound.

    Draws come in pairs ``mean ± sd * z``. What a draw says of the variance follows
    from Stein's lemma, so that draws need no gradients. Steps are those without draws,
    at averages over the draws of all steps: stochastic approximation of EM.
    """

    exact = False
    arrays: tuple[str, ...] = ("size", "saturated", "seed", "noise")

    def __init__(
        self, op: MatrixOperator, size: Floats, n_samples: int, seed: int
    ) -> None:
        super().__init__(op, size)
        self.n_samples, self.seed = n_samples, np.uint32(seed % 2**32)
        self.noise = Draws(np.zeros((), np.uint32), (0.0, 0.0, 0.0))

    def restrict(self, op: MatrixOperator, rows: NDArray[np.intp]) -> PoissonMonteCarlo:
        # Other rows, other draws.
        entropy = [int(self.seed), len(rows), int(rows[0]), int(rows[-1])]
        (seed,) = np.random.SeedSequence(entropy).generate_state(1).tolist()
        return PoissonMonteCarlo(op, self.size[rows, 0], self.n_samples, seed)

    def evidence(self, noise: Draws, mean: Any, var: Any, w: Any) -> Evidence:
        xp = namespace(mean)
        sd = xp.sqrt(var)
        shares = Shares(0.0, 0.0, 0.0)
        product: Any = 0.0
        n_draws = 2 * self.n_samples
        key = jax.random.fold_in(jax.random.key(self.seed), noise.n_steps)
        for draw in jax.random.split(key, self.n_samples):
            z = xp.asarray(jax.random.normal(draw, mean.shape, np.float32))
            for sign in (1, -1):
                own = allocate(self.op, exp(mean + sign * sd * z), w)
                shares = Shares(
                    *(x + y / n_draws for x, y in zip(shares, own, strict=True))
                )
                product = product + sign * z * own.rows / n_draws
        found = self._evidence(shares, mean, var, w)
        new = shares.rows, shares.columns, product / xp.maximum(sd, 1e-6)
        noise = _learn(noise, new)
        rows, columns, _ = noise.shares
        total = (self.size * expected(mean, var)).sum(0, dtype=np.float64)
        return found._replace(
            w=count_loadings(columns, total).astype(w.dtype), noise=noise, observed=rows
        )

    def local(self, evidence: Evidence, mean: Any, var: Any) -> Local:
        return (
            super().local(evidence, mean, var)._replace(bonus=evidence.noise.shares[2])
        )

    def drift(self, noise: Draws) -> Any:
        return noise.drift


def _learn(noise: Draws, new: tuple[Any, ...]) -> Draws:
    """Averages with new draws, and whether these still differ from what was known."""
    xp = namespace(new[0])
    t = noise.n_steps
    weight = xp.maximum(t.astype(np.float32) + 1 - _WARM_UP, 1) ** -_DECAY
    weight = weight.astype(np.float32)
    before = noise.shares
    shares = tuple(
        (x + weight * (y - x)).astype(y.dtype) for x, y in zip(before, new, strict=True)
    )
    n, tiny = _WINDOW, np.finfo(np.float32).tiny
    anchor = xp.where(t % n == 0, xp.where(t == 0, new[0], before[0]), noise.anchor)
    off = (new[0] - anchor) / xp.sqrt(xp.maximum(anchor, _FEW))
    window, squares = noise.window + off, noise.squares + _sum_of_squares(off)
    # The average varies as well, as much as a part of the draws.
    within = (squares - _sum_of_squares(window) / n) / (n - 1)
    chance = within * (1 / n + weight / (2 - weight))
    beyond = xp.maximum(_sum_of_squares(window) / n**2 - chance, 0)
    drift = xp.sqrt(beyond / (anchor.sum(dtype=np.float64) + tiny)) / n
    last = t % n == n - 1
    return Draws(
        t + np.uint32(1),
        shares,
        anchor,
        xp.where(last, 0, window).astype(anchor.dtype),
        xp.where(last, 0.0, squares),
        xp.where(last, drift, noise.drift),
    )


def _sum_of_squares(x: Any) -> Any:
    return namespace(x).square(x).sum(dtype=np.float64)
