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
import numpy as np

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
    return np.exp(np.minimum(x, MAX_LOG))


def expected(mean: Floats, var: Floats) -> Floats:
    """Mean of a log-normal."""
    return exp(mean + var / 2)


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Loadings of counts: what was observed by what would be with loadings of 1."""
    return numerator / np.maximum(denominator, np.finfo(np.float32).tiny)


def newton_sites(observed: Floats, rate: Floats, mean: Floats, limit: float) -> Sites:
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


def allocate(op: MatrixOperator, factors: Floats, w: Floats) -> _Shares:
    """Entries shared out among factors, on the host."""
    rows, columns, log_sum = op.allocate(factors, w.T)
    return _Shares(np.asarray(rows), np.asarray(columns), float(log_sum))


def column_sq_norm(op: MatrixOperator) -> Floats:
    """Sum of squares of every column."""
    total: Any = 0.0
    for _, x in op.dense_blocks():
        total = total + np.einsum("ij,ij->j", x, x, dtype=np.float64)
    return np.asarray(total)


def score_blocks(
    op: MatrixOperator, part: Callable[[Floats, slice], jax.Array]
) -> Floats:
    """Scores of all observations, from dense blocks of rows."""
    blocks = [np.asarray(part(x, rows), np.float64) for rows, x in op.dense_blocks()]
    return np.concatenate(blocks)
