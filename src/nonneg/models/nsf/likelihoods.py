"""Likelihoods of counts and real values, as evidence on each factor.

A likelihood turns the present fit into new loadings and into Gaussian sites
``exp(h f - λ f² / 2)`` on every log factor (or factor, where there is no log). Both
come from a bound that separates the factors: entries are shared out among factors in
proportion to their part of the mean, which is the exact maximiser of the bound
``E log Σ w e^f >= Σ r (log w + E f - log r)``. So one pass over the stored entries
serves an iteration, and nothing of the size of the matrix is formed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, xlogy

from ..._core.typing import Floats
from ...kernels.hals import hals_update

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ...operators.protocol import MatrixOperator


type Loss = Literal["kullback-leibler", "frobenius"]

# Its exponential to the third power is finite in single precision, summed as well.
_MAX_LOG = 20.0

_MAX_DISPERSION_STEP = 1.0

_DISPERSION_RANGE = (1e-6, 1e3)


class Sites(NamedTuple):
    """Evidence on every factor of every observation."""

    precision: Floats
    """λ, (n_obs, k)"""
    shift: Floats
    """h, (n_obs, k)"""


class Likelihood(ABC):
    """What the model asks of its likelihood."""

    op: MatrixOperator
    log_link = True
    """Whether factors enter as exp(f)."""
    loss: Loss = "kullback-leibler"
    """Of the factorization that the fit starts from."""
    parts: tuple[Floats, Floats]
    """Of counts: numerator and denominator of the last loadings, sums over rows."""
    center: Floats
    """Of real factors: what is subtracted from every variable."""
    rotation: Floats
    """Of real factors: what the last loadings were multiplied by."""
    scatter: Floats = np.empty(0)
    """What is learned of every variable's noise: dispersion, or variance."""

    @abstractmethod
    def loadings(self, mean: Floats, var: Floats, w: Floats) -> tuple[Floats, float]:
        """New loadings, and the expected log likelihood before."""

    @abstractmethod
    def sites(self, mean: Floats, var: Floats, w: Floats, limit: float) -> Sites:
        """Evidence at new loadings; ``limit`` bounds how far one step may go up."""

    @abstractmethod
    def score(
        self, op: MatrixOperator, size: Floats, mean: Floats, var: Floats, w: Floats
    ) -> Floats:
        """Log likelihood of each of some other observations, up to a constant."""

    @abstractmethod
    def restrict(self, op: MatrixOperator, rows: NDArray[np.intp]) -> Likelihood:
        """The same for some rows, whose operator is given."""


def exp(x: Floats) -> Floats:
    """Exponential that stays finite."""
    return np.exp(np.minimum(x, _MAX_LOG))


def expected(mean: Floats, var: Floats) -> Floats:
    """Mean of a log-normal."""
    return exp(mean + var / 2)


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Loadings of counts: what was observed by what would be with loadings of 1."""
    return numerator / np.maximum(denominator, np.finfo(np.float32).tiny)


def _newton(observed: Floats, rate: Floats, mean: Floats, limit: float) -> Sites:
    """Sites of counts ``observed`` expected at ``rate``, both on a log scale.

    The natural gradient of the bound. Where far more was observed than expected, the
    step is cut: the curvature at the present rate says too little.
    """
    step = np.minimum(observed - rate, limit * rate)
    return Sites(rate, step + rate * mean)


class _Shares(NamedTuple):
    rows: Any
    columns: Floats
    log_sum: float


def _allocate(op: MatrixOperator, factors: Floats, w: Floats) -> _Shares:
    rows, columns, log_sum = op.allocate(factors, w.T)
    return _Shares(np.asarray(rows), np.asarray(columns), float(log_sum))


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
        shares = _allocate(self.op, exp(mean), w)
        self._observed = shares.rows
        total = (self.size * expected(mean, var)).sum(0, dtype=np.float64)
        value = shares.log_sum - total @ w.sum(0, dtype=np.float64) - self._saturated
        self.parts = shares.columns, total
        return ratio(*self.parts).astype(w.dtype), float(value)

    def sites(self, mean: Floats, var: Floats, w: Floats, limit: float) -> Sites:
        rate = self.size * w.sum(0) * expected(mean, var)
        return _newton(self._observed, rate, mean, limit)

    def score(
        self, op: MatrixOperator, size: Floats, mean: Floats, var: Floats, w: Floats
    ) -> Floats:
        factors = (size[:, None] * expected(mean, var)).astype(w.dtype)
        return _score(op, lambda x, rows: _poisson_score(x, factors[rows], w))


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
                shares = _allocate(self.op, exp(mean + sign * sd * z), w)
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
        shares = _allocate(self.op, exp(mean), w)
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
        return _newton(self._observed, rate, mean, limit)

    def score(
        self, op: MatrixOperator, size: Floats, mean: Floats, var: Floats, w: Floats
    ) -> Floats:
        factors = (size[:, None] * expected(mean, var)).astype(w.dtype)
        return _score(op, lambda x, rows: _nb_score(x, factors[rows], w, self.scatter))


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


class Gaussian(Likelihood):
    """Real values with mean ``exp(f) @ W.T``, W >= 0, and a variance for every gene.

    Everything follows from Gram matrices and the products of the data with factors
    and loadings.
    """

    loss = "frobenius"

    def __init__(self, op: MatrixOperator, sq_norm: Floats) -> None:
        self.op = op
        self.sq_norm = sq_norm
        self.scatter = np.maximum(sq_norm / op.shape[0], 1e-12)

    def restrict(self, op: MatrixOperator, rows: NDArray[np.intp]) -> Gaussian:
        return Gaussian(op, column_sq_norm(op))

    def loadings(self, mean: Floats, var: Floats, w: Floats) -> tuple[Floats, float]:
        factors, gram = _moments(mean, var)
        product = np.asarray(self.op.rmatmul(factors.astype(w.dtype)))
        error = _residual(self.sq_norm, product, gram, w)
        value = _gaussian_value(error, self.scatter, self.op.shape[0])
        new = np.asarray(
            hals_update(
                jnp.asarray(w), jnp.asarray(product), jnp.asarray(gram, w.dtype)
            )
        )
        error = _residual(self.sq_norm, product, gram, new)
        self.scatter = np.maximum(
            error / self.op.shape[0], 1e-6 * self.sq_norm / self.op.shape[0] + 1e-12
        )
        return new, value

    def sites(self, mean: Floats, var: Floats, w: Floats, limit: float) -> Sites:
        weighted = (w / self.scatter[:, None]).astype(w.dtype)
        product = np.asarray(self.op.matmul(weighted))
        gram = (w.T @ weighted).astype(np.float64)
        factors = expected(mean, var).astype(np.float64)
        squared = factors**2 * exp(var)
        # The square of the mean, separated in proportion to its parts; what variances
        # add to it is separate already.
        first = product * factors
        second = (factors @ gram) * factors
        extra = np.diagonal(gram) * (squared - factors**2)
        precision = second + extra + np.diagonal(gram) * squared - first
        precision = np.maximum(precision, (second + extra) / 2)
        step = np.minimum(first - second - extra, limit * precision)
        return Sites(precision, step + precision * mean)

    def score(
        self, op: MatrixOperator, size: Floats, mean: Floats, var: Floats, w: Floats
    ) -> Floats:
        factors, center = expected(mean, var).astype(w.dtype), np.zeros(len(w))
        return _score(
            op,
            lambda x, rows: _gaussian_score(x, factors[rows], w, self.scatter, center),
        )


class LinearGaussian(Likelihood):
    """Real values with mean ``f @ W.T + center``, W of any sign.

    Loadings are kept orthogonal in the metric of the noise: then factors do not
    interact and all of them are updated at once, exactly. Factors have one prior in
    common, which a rotation leaves as it is.
    """

    log_link = False
    loss = "frobenius"

    def __init__(self, op: MatrixOperator, sq_norm: Floats, center: Floats) -> None:
        self.op, self.center = op, center
        n_obs = op.shape[0]
        total = op.stats().col_sums
        self.sq_norm = sq_norm - 2 * center * total + n_obs * center**2
        self.scatter = np.maximum(self.sq_norm / n_obs, 1e-12)
        self.floor = 1e-3 * self.scatter + 1e-12
        self.rotation = np.empty(0)

    def restrict(self, op: MatrixOperator, rows: NDArray[np.intp]) -> LinearGaussian:
        return LinearGaussian(op, column_sq_norm(op), self.center)

    def loadings(self, mean: Floats, var: Floats, w: Floats) -> tuple[Floats, float]:
        m = mean.astype(np.float64)
        gram = m.T @ m + np.diag(var.sum(0, dtype=np.float64))
        product = np.array(self.op.rmatmul(mean.astype(w.dtype)), np.float64)
        product -= np.outer(self.center, m.sum(0))
        error = _residual(self.sq_norm, product, gram, w)
        value = _gaussian_value(error, self.scatter, self.op.shape[0])
        new = np.linalg.solve(
            gram + 1e-9 * np.trace(gram) * np.eye(len(gram)), product.T
        ).T
        error = _residual(self.sq_norm, product, gram, new)
        self.scatter = np.maximum(error / self.op.shape[0], self.floor)
        # Rotate so that factors separate.
        _, _, rotation = np.linalg.svd(
            new / np.sqrt(self.scatter)[:, None], full_matrices=False
        )
        self.rotation = rotation.T
        return (new @ self.rotation).astype(w.dtype), value

    def sites(self, mean: Floats, var: Floats, w: Floats, limit: float) -> Sites:
        weighted = (w / self.scatter[:, None]).astype(w.dtype)
        shift = np.asarray(self.op.matmul(weighted)) - self.center @ weighted
        precision = np.broadcast_to((w * weighted).sum(0), shift.shape)
        return Sites(precision, shift)

    def score(
        self, op: MatrixOperator, size: Floats, mean: Floats, var: Floats, w: Floats
    ) -> Floats:
        factors = mean.astype(w.dtype)
        return _score(
            op,
            lambda x, rows: _gaussian_score(
                x, factors[rows], w, self.scatter, self.center
            ),
        )


def column_sq_norm(op: MatrixOperator) -> Floats:
    """Sum of squares of every column."""
    total: Any = 0.0
    for _, x in op.dense_blocks():
        total = total + np.einsum("ij,ij->j", x, x, dtype=np.float64)
    return np.asarray(total)


def _moments(mean: Floats, var: Floats) -> tuple[Floats, Floats]:
    """Expected factors, and the Gram matrix that includes their variances."""
    factors = expected(mean, var).astype(np.float64)
    extra = (factors**2 * np.expm1(np.minimum(var, _MAX_LOG))).sum(0)
    return factors, factors.T @ factors + np.diag(extra)


def _residual(sq_norm: Floats, product: Floats, gram: Floats, w: Floats) -> Floats:
    """Expected squared error of every gene."""
    w = w.astype(np.float64)
    fitted = np.einsum("jk,kl,jl->j", w, gram, w)
    return np.maximum(sq_norm - 2 * (product * w).sum(1) + fitted, 0)


def _gaussian_value(error: Floats, noise: Floats, n_obs: int) -> float:
    return float(-(error / noise + n_obs * np.log(2 * np.pi * noise)).sum() / 2)


def _score(op: MatrixOperator, part: Callable[[Floats, slice], jax.Array]) -> Floats:
    blocks = [np.asarray(part(x, rows), np.float64) for rows, x in op.dense_blocks()]
    return np.concatenate(blocks)


@jax.jit
def _poisson_score(x: jax.Array, factors: jax.Array, w: jax.Array) -> jax.Array:
    mean = factors @ w.T
    return (xlogy(x, mean + jnp.finfo(mean.dtype).tiny) - mean).sum(1)


@jax.jit
def _nb_score(
    x: jax.Array, factors: jax.Array, w: jax.Array, dispersion: jax.Array
) -> jax.Array:
    mean = factors @ w.T
    ratio = jnp.log1p(dispersion * mean) / dispersion
    log_mean = xlogy(x, mean + jnp.finfo(mean.dtype).tiny)
    return (log_mean - x * jnp.log1p(dispersion * mean) - ratio).sum(1)


@jax.jit
def _gaussian_score(
    x: jax.Array, factors: jax.Array, w: jax.Array, noise: jax.Array, center: jax.Array
) -> jax.Array:
    return -(jnp.square(x - center - factors @ w.T) / noise).sum(1) / 2
