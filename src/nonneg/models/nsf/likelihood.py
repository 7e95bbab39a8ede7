"""Likelihoods of counts and real values, as evidence on each factor.

A likelihood turns the present fit into new loadings and into Gaussian sites
``exp(h f - λ f² / 2)`` on every log factor (or factor, where there is no log). Both
come from a bound that separates the factors: entries are shared out among factors in
proportion to their part of the mean, which is the exact maximiser of the bound
``E log Σ w e^f >= Σ r (log w + E f - log r)``. So one pass over the stored entries
serves an iteration, and nothing of the size of the matrix is formed.

Likelihoods hold data only. What they learn of the noise is part of the state of a fit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import xlogy

from ..._core.namespace import namespace
from ..._core.typing import Floats

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ...operators.protocol import MatrixOperator


type Loss = Literal["kullback-leibler", "frobenius"]

# Its exponential to the third power is finite in single precision, summed as well.
MAX_LOG = 20.0


class Sites(NamedTuple):
    """Evidence on every factor of every observation."""

    precision: Any
    """λ, (n_obs, k)"""
    shift: Any
    """h, (n_obs, k)"""
    gram: Any = None
    """(k, k): by how much the mean of a factor takes from the shifts of the others; `None`:
    factors do not interact."""

    def given(self, mean: Any) -> Any:
        """Shifts of each factor, given the means of the others."""
        if self.gram is None:
            return self.shift
        xp = namespace(mean)
        others = self.gram - xp.diag(xp.diagonal(self.gram))
        return self.shift - mean @ others


class Evidence(NamedTuple):
    """What one pass over the data says at the present factors and loadings."""

    w: Any
    """(n_vars, k): new loadings."""
    value: Any
    """Expected log likelihood before."""
    noise: Any
    """What is known of the noise now."""
    observed: Any = ()
    """(n_obs, k): counts that each factor accounts for."""


class Local(NamedTuple):
    """A bound of the log likelihood that separates factors and observations.

    As means and variances move by x and y it changes by ``observed (x + (p - 1) y / 2) -
    rate (exp(p x + p y / 2) - 1) / p - excess (exp(p x + p y) - 1) / p + bonus y / 2``,
    and touches what it bounds where they have not moved. Of counts, p is 1 and there is
    no excess; of squares it is 2.
    """

    observed: Any
    """(n_obs, k)"""
    rate: Any
    excess: Any = 0.0
    bonus: Any = 0.0
    """What draws say of the curvature of the log likelihood."""
    power: int = 1

    def change(self, mean: Any, var: Any) -> Any:
        """As means and variances move."""
        p = self.power
        first = exp(p * (mean + var / 2)) - 1
        found = self.observed * (mean + (p - 1) * var / 2) - self.rate * first / p
        found = found + self.bonus * var / 2
        if p == 1:
            return found
        return found - self.excess * (exp(p * (mean + var)) - 1) / p

    @property
    def force(self) -> Any:
        """Derivative by the means."""
        return self.observed - self.rate - self.excess

    def slope(self, mean: Any) -> Any:
        """The same where they have moved."""
        growth = exp(self.power * mean)
        return self.observed - (self.rate + self.excess) * growth

    def precision(self, mean: Any, var: Any = 0.0) -> Any:
        """Of the sites that are stationary where means and variances have moved.

        Those of squares are at least half of what they are where all is as expected: with
        less, fits would end at factors of which nothing is known but that they are large.
        """
        p = self.power
        found = self.rate * exp(p * (mean + var / 2)) - self.bonus
        least: Any = 0.0
        if p > 1:
            excess = self.excess * exp(p * (mean + var))
            found = found + 2 * excess - (p - 1) * self.observed
            least = excess / 2
        return namespace(mean).maximum(found, least)

    def map(self, function: Callable[[Any], Any]) -> Local:
        """A function of each of its arrays."""
        observed, rate, excess, bonus = (
            function(x) if np.ndim(x) else x for x in self[:4]
        )
        return Local(observed, rate, excess, bonus, self.power)


class Observations(NamedTuple):
    """Rows of a matrix and their size factors."""

    op: MatrixOperator
    size: Any


class Likelihood(ABC):
    """What the model asks of its likelihood."""

    op: MatrixOperator
    log_link = True
    """Whether factors enter as exp(f)."""
    loss: Loss = "kullback-leibler"
    """Of the factorization that the fit starts from."""
    exact = True
    """Whether the bound of a fit is one number, and not an estimate by draws."""
    arrays: tuple[str, ...]
    """Names of attributes that are arrays or numbers."""
    center: Any
    """Of real factors: what is subtracted from every variable."""
    noise: Any = ()
    """What a fit starts from: dispersion or variance of every variable, or a key."""

    def __init_subclass__(cls) -> None:
        jax.tree_util.register_pytree_node(cls, Likelihood._flatten, cls._rebuild)

    def _flatten(self) -> tuple[list[Any], Any]:
        parts = ["op", *self.arrays]
        fixed = {name: x for name, x in vars(self).items() if name not in parts}
        return [getattr(self, name) for name in parts], tuple(fixed.items())

    @classmethod
    def _rebuild(cls, fixed: Any, parts: Any) -> Likelihood:
        built = object.__new__(cls)
        vars(built).update(fixed, **dict(zip(["op", *cls.arrays], parts, strict=True)))
        return built

    def place(self, put: Callable[[Any], Any]) -> Likelihood:
        """The same with its arrays where ``put`` moves them."""
        placed = copy(self)
        for name in self.arrays:
            setattr(placed, name, jax.tree.map(put, getattr(self, name)))
        return placed

    def of_priors(self, *, alike: bool) -> Likelihood:
        """The same for factors whose priors are alike, or not."""
        return self

    @abstractmethod
    def evidence(self, noise: Any, mean: Any, var: Any, w: Any) -> Evidence:
        """New loadings, and what sites need of the data."""

    @abstractmethod
    def local(self, evidence: Evidence, mean: Any, var: Any) -> Local | Sites:
        """What is said of each factor of each observation at the new loadings.

        Sites where factors are real: these are what they are wherever the factors are.
        """

    def drift(self, noise: Any) -> Any:
        """By how much what is estimated still changes in a step, relative to itself."""
        return 0.0

    @abstractmethod
    def score(
        self, noise: Any, others: Observations, mean: Any, var: Any, w: Any
    ) -> Any:
        """Log predictive density of each of some other observations, up to a constant.

        The sum over variables of what their density is in expectation over the factors,
        whose means and variances are given.
        """

    def scatter(
        self, mean: Any, var: Any, w: Any, others: Observations | None = None
    ) -> Any:
        """Scatter beyond what the likelihood says, of its own or other observations.

        (2, n_vars): sums that observations add to, whose ratio is the dispersion.
        `None`: the noise is part of what is fitted.
        """
        return None

    @abstractmethod
    def restrict(self, op: MatrixOperator, rows: NDArray[np.intp]) -> Likelihood:
        """The same for some rows, whose operator is given."""


def exp(x: Any) -> Any:
    """Exponential that stays finite."""
    xp = namespace(x)
    return xp.exp(xp.minimum(x, MAX_LOG))


def expected(mean: Any, var: Any) -> Any:
    """Mean of a log-normal."""
    return exp(mean + var / 2)


def count_loadings(numerator: Any, denominator: Any) -> Any:
    """Loadings of counts: what was observed by what would be with loadings of 1."""
    xp = namespace(numerator)
    return numerator / xp.maximum(denominator, np.finfo(np.float32).tiny)


class Shares(NamedTuple):
    """Entries shared out among factors: sums over variables, observations and both."""

    rows: Any
    columns: Any
    log_sum: Any


def allocate(op: MatrixOperator, factors: Any, w: Any) -> Shares:
    """Entries shared out among factors, where the factors are."""
    xp = namespace(factors)
    rows, columns, log_sum = op.allocate(factors, w.T)
    return Shares(xp.asarray(rows), xp.asarray(columns), xp.asarray(log_sum, float))


def column_sq_norm(op: MatrixOperator) -> Floats:
    """Sum of squares of every column."""
    total: Any = 0.0
    for _, x in op.dense_blocks():
        x = np.asarray(x)  # noqa: PLW2901
        total = total + np.einsum("ij,ij->j", x, x, dtype=np.float64)
    return np.asarray(total)


def score_blocks(
    op: MatrixOperator,
    factors: Any,
    spread: Any,
    part: Callable[[Any, Any, Any], jax.Array],
) -> Any:
    """Scores of all observations, from dense blocks of rows and their factors.

    ``spread`` are the variances of the factors.
    """
    xp = namespace(factors)
    blocks = [
        xp.asarray(part(x, factors[rows], spread[rows]))
        for rows, x in op.dense_blocks()
    ]
    return xp.concatenate(blocks).astype(float)


def sized_moments(mean: Any, var: Any, size: Any) -> tuple[Any, Any]:
    """Means and variances of factors, given those of their logarithms, times sizes."""
    xp = namespace(mean)
    factors = size * expected(mean, var)
    spread = factors**2 * xp.expm1(xp.minimum(var, MAX_LOG))
    # Squares of it are finite in single precision.
    return factors.astype(np.float32), xp.minimum(spread, 1e18).astype(np.float32)


def relative_variance(mean: jax.Array, spread: jax.Array, w: jax.Array) -> jax.Array:
    """Variances of rates, by the squares of their means; 0 of genes without loadings."""
    # It is the same at any scale of the loadings, whose squares may be zero.
    scale = w.max(1)
    scale = jnp.where(scale > 0, scale, 1)
    var = spread @ jnp.square(w / scale[:, None]).T
    return var / jnp.square(jnp.maximum(mean / scale, _LEAST))


def dispersion_of(scatter: Any) -> Any:
    """Of every variable; 0 of those that nothing is expected of."""
    xp = namespace(scatter)
    ratio = scatter[0] / xp.maximum(scatter[1], np.finfo(np.float32).tiny)
    ratio = xp.clip(ratio, 0, MAX_DISPERSION)
    return xp.where(scatter[1] > 0, ratio, 0).astype(np.float32)


# Its square is above zero in single precision.
_LEAST = 1e-15


# Shapes of negative binomial distributions are at least one by it.
MAX_DISPERSION = 1e3

# Stirling's series is exact in single precision from here on.
_SHIFT = 4


def count_log_ratio(x: jax.Array, mean: jax.Array, dispersion: jax.Array) -> jax.Array:
    """Log densities of counts with variance ``mean + dispersion * mean²``.

    Negative binomial, without ``x log(mean)`` and the factorial of the counts. The ratio
    of gamma functions is that of a shape which is larger by four, by Stirling's series, so
    that nothing is lost where the shape is large.
    """
    shape = jnp.clip(1 / dispersion, 1 / MAX_DISPERSION, 1e7)
    above = shape + _SHIFT
    ratio = (above + x - 0.5) * jnp.log1p(x / above) - x
    ratio += 1 / (12 * (above + x)) - 1 / (12 * above)
    ratio += 1 / (360 * above**3) - 1 / (360 * (above + x) ** 3)
    steps = [(shape + x + i) / (shape + i) for i in range(_SHIFT)]
    ratio += (
        x * jnp.log(above / shape)
        - jnp.log(steps[0] * steps[1])
        - jnp.log(steps[2] * steps[3])
    )
    return ratio - (x + shape) * jnp.log1p(mean / shape)


@jax.jit
def count_score(
    x: jax.Array,
    factors: jax.Array,
    spread: jax.Array,
    w: jax.Array,
    dispersion: jax.Array,
) -> jax.Array:
    """Log predictive densities of counts, whose rates have these moments, by row."""
    mean = factors @ w.T
    # A rate of these moments with a gamma distribution.
    of_rates = relative_variance(mean, spread, w)
    dispersion = dispersion + (1 + dispersion) * of_rates
    log_mean = xlogy(x, mean + jnp.finfo(mean.dtype).tiny)
    return sum_of_loaded(count_log_ratio(x, mean, dispersion) + log_mean, w)


def sum_of_loaded(density: jax.Array, w: jax.Array) -> jax.Array:
    """Sums over the genes that have loadings.

    Of those which were not seen where the factors were fitted, kernels tell nothing; but
    that they are seen elsewhere is so unlikely that all else would be lost to rounding.
    """
    return jnp.where((w != 0).any(1), density, 0).sum(1)
