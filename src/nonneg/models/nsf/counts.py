"""What counts a model expects, given what it knows of their rates.

A rate is a sum of log-normals, of which only the moments have a closed form. It is taken
for a log-normal of the same mean and variance, which it is where one factor accounts for
it. Of that, a part with little variance is nearly gamma, and makes counts negative
binomial; the rest is integrated by Gauss-Hermite quadrature. So counts are a mixture of a
few negative binomials, whose distribution SciPy has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.stats import nbinom

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ..._core.typing import Floats

# Counts of a larger shape are Poisson, as far as double precision tells.
_MAX_SHAPE = 1e9

# Variance of a logarithm up to which a log-normal is taken for a gamma distribution of the
# same moments: intervals of 90 % then hold .90 to .91. Nodes are as close as that is wide.
_GAMMA = 0.1
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(12)

# Bytes of a block of float64 numbers; intervals need some thirty times as much.
_BLOCK = 2**21


class Rates(NamedTuple):
    """Means and variances of the rates of some entries."""

    mean: Floats
    var: Floats


def row_blocks(n_rows: int, n_columns: int) -> Iterator[slice]:
    """Rows that are worked on at a time."""
    step = max(_BLOCK // (8 * max(n_columns, 1)), 1)
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def rates(
    factors: Floats, factor_var: Floats, w: Floats, size: Floats | float = 1.0
) -> Rates:
    """Of all variables, from independent factors and size factors (n, 1)."""
    factors, w = np.asarray(factors, np.float64), np.asarray(w, np.float64)
    var = np.asarray(factor_var, np.float64) @ (w**2).T
    return Rates(size * (factors @ w.T), np.square(size) * var)


def interval(
    found: Rates, dispersion: Floats | float, level: float
) -> tuple[Floats, Floats]:
    """Equal-tailed intervals that hold counts with at least this probability."""
    tail = (1 - level) / 2
    mean, relative, phi = _flat(found, dispersion)
    var = mean + (phi + (1 + phi) * relative) * mean**2
    # Cantelli's inequality: beyond it there is less than a tail.
    bound = np.ceil(mean + np.sqrt(var / tail))
    bounds = []
    for probability in (1 - tail, tail):
        bound = _quantile(probability, bound, mean, relative, phi)
        bounds.append(bound.reshape(found.mean.shape))
    return bounds[1], bounds[0]


def part_inside(
    counts: NDArray[np.number[Any]],
    found: Rates,
    dispersion: Floats | float,
    level: float,
) -> Floats:
    """Part of the probability of each count that lies between the tails.

    Counts are discrete, so that intervals hold more than they promise: a rate of .01 has
    the interval [0, 0], and 99 % in it. Of what is counted, the part of its step in the
    distribution that is inside is taken, whose expectation is the level.
    """
    tail = (1 - level) / 2
    y = np.asarray(counts, np.float64).ravel()
    flat = _flat(found, dispersion)
    top, below = _cdf(y, *flat), np.zeros_like(y)
    some = y > 0
    below[some] = _cdf(y[some] - 1, *(x[some] for x in flat))
    inside = np.minimum(top, 1 - tail) - np.maximum(below, tail)
    # Far out in a tail the step is nothing, and so is the part of it.
    step = np.maximum(top - below, np.finfo(float).tiny)
    return np.clip(inside / step, 0, 1).reshape(found.mean.shape)


def _flat(found: Rates, dispersion: Floats | float) -> tuple[Floats, Floats, Floats]:
    """Means, relative variances of rates, and dispersions, one after the other."""
    mean = np.asarray(found.mean, np.float64).ravel()
    # A rate of zero has the interval [0, 0], and NaN stays NaN.
    mean = np.maximum(mean, np.finfo(np.float32).tiny)
    each = np.broadcast_to(np.asarray(dispersion, np.float64), found.mean.shape)
    return mean, np.asarray(found.var).ravel() / mean**2, each.ravel()


def _cdf(counts: Floats, mean: Floats, relative: Floats, dispersion: Floats) -> Floats:
    """Probabilities of at most so many counts."""
    log_var = np.log1p(relative)
    near = np.expm1(np.minimum(log_var, _GAMMA))
    # Of the negative binomial with the variance of the counts.
    n = 1 / np.maximum(dispersion + (1 + dispersion) * near, 1 / _MAX_SHAPE)
    far = np.maximum(log_var - _GAMMA, 0)
    found = np.asarray(nbinom.cdf(counts, n, n / (n + mean)))
    wide = np.flatnonzero(far > 0)
    if wide.size:
        y, shape, rest, center = (x[wide] for x in (counts, n, far, mean))
        total = np.zeros(wide.size)
        for node, weight in zip(_NODES, _WEIGHTS, strict=True):
            rate = center * np.exp(np.sqrt(rest) * node - rest / 2)
            total += weight * nbinom.cdf(y, shape, shape / (shape + rate))
        found[wide] = total / _WEIGHTS.sum()
    return found


def _quantile(
    probability: float,
    bound: Floats,
    mean: Floats,
    relative: Floats,
    dispersion: Floats,
) -> Floats:
    """Smallest counts, up to a bound, that are not exceeded with this probability."""
    low, high = np.full_like(bound, -1.0), bound.copy()
    while True:
        # The quantile is above low, and at most high: until no number is between them.
        middle = np.floor((low + high) / 2)
        left = np.flatnonzero((low < middle) & (middle < high))
        if not left.size:
            return high
        middle = middle[left]
        reached = (
            _cdf(middle, mean[left], relative[left], dispersion[left]) >= probability
        )
        high[left[reached]] = middle[reached]
        low[left[~reached]] = middle[~reached]
