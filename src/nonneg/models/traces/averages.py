"""Averages over trials."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.stats import binom

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Averages(NamedTuple):
    """Averages over the first axis, without missing values."""

    mean: NDArray[np.float64]
    sem: NDArray[np.float64]
    median: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def average(x: NDArray[np.float64], confidence: float) -> Averages:
    """Mean with its standard error, and median with an interval of order statistics.

    The interval holds whatever the distribution: between the two values of rank r from
    either end, the median lies with a probability of at least ``confidence``. NaN where
    trials are too few for it, or for a standard error.
    """
    known = np.isfinite(x)
    n = known.sum(axis=0)
    mean = _divide(np.where(known, x, 0).sum(axis=0), n)
    square = np.where(known, (x - mean) ** 2, 0).sum(axis=0)
    sem = np.sqrt(_divide(_divide(square, n - 1), n))
    # NaN are last.
    ordered = np.sort(x, axis=0)
    tail = (1 - confidence) / 2
    # P(fewer than r of n are below the median) = P(Binomial(n, 1/2) < r).
    rank = np.asarray(binom.ppf(tail, n, 0.5)).astype(np.intp)
    known_rank = (rank >= 1) & (n > 0)

    def at(position: NDArray[np.intp], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
        clipped = np.clip(position, 0, len(x) - 1)
        return np.where(valid, np.take_along_axis(ordered, clipped[None], 0)[0], np.nan)

    some = n > 0
    median = (at((n - 1) // 2, some) + at(n // 2, some)) / 2
    return Averages(
        mean, sem, median, at(rank - 1, known_rank), at(n - rank, known_rank)
    )


def _divide(x: NDArray[np.float64], n: NDArray[np.intp]) -> NDArray[np.float64]:
    return np.divide(x, n, out=np.full(np.shape(x), np.nan), where=n > 0)
