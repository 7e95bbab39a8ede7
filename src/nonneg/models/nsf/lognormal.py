"""Log-normal distributions of factors: what is known of them between locations."""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr

from ..._core.typing import Floats
from .likelihood import expected

# Of a logarithm: it may be divided by, and changes nothing.
_NO_VARIANCE = 1e-12

# Of the second opinion: half of what is best where simulated edges are sharp, because real
# sections that are smooth lose by more. It was chosen after those of the documentation were seen.
_WEIGHT = 0.25

# Of a logarithm: squares of what has more are not finite in single precision.
_MAX_VARIANCE = 40.0


def moments(mean: Floats, var: Floats) -> tuple[Floats, Floats]:
    """Mean and variance of factors, given those of their logarithms."""
    factors = expected(mean, var)
    spread = np.expm1(np.minimum(var, _MAX_VARIANCE, dtype=np.float64))
    return factors, np.square(factors, dtype=np.float64) * spread


def log_moments(mean: Floats, var: Floats) -> tuple[Floats, Floats]:
    """Mean and variance of the logarithm, of a log-normal with this mean and variance."""
    mean = np.maximum(mean, np.finfo(np.float32).tiny)
    scale = np.log1p(var / mean / mean)
    return np.log(mean) - scale / 2, scale


def pool(mean: Floats, var: Floats, other: Floats) -> tuple[Floats, Floats]:
    """The log-normal with the moments of a mixture of two :cite:p:`Geweke2011`.

    The first has this mean and variance of the logarithm; the second is as wide, relative
    to its mean ``other``, which the factor itself has.
    """
    factors = expected(mean, var)
    relative = np.expm1(np.minimum(var, _MAX_VARIANCE))
    own, rest = 1 - _WEIGHT, _WEIGHT
    spread = relative * (own * factors**2 + rest * other**2)
    spread += own * rest * (other - factors) ** 2
    return log_moments(own * factors + rest * other, spread)


def at_most(mean: Floats, var: Floats, largest: Floats) -> tuple[Floats, Floats]:
    """The log-normal with the mean and variance of one that is cut at its largest value.

    Where a factor is absent on one side and strong on the other, its logarithm may be
    anything between, and the mean of so wide a log-normal is far above both. Searches do not
    cut: kernels that they would choose then are too rough on real sections.
    """
    sd = np.sqrt(np.maximum(var, _NO_VARIANCE))
    top = np.log(np.maximum(largest, np.finfo(np.float32).tiny))
    below = (top - mean) / sd
    cut = log_ndtr(-below)
    # Logarithms of the first two moments, in units of the largest value.
    first, second = (
        np.logaddexp(n * (mean - top) + n**2 * var / 2 + log_ndtr(below - n * sd), cut)
        for n in (1, 2)
    )
    left = np.maximum(second - 2 * first, 0)
    return first + top - left / 2, left
