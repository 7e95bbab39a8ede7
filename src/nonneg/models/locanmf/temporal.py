"""Time courses, given footprints."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy.linalg import cho_factor, cho_solve

from ...kernels.hals import hals_update

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .passes import Sums

# Of footprints with unit norm. Those that are nearly the same would otherwise have time
# courses that cancel: on real pixels thousands of times as large as the movie, and nearly
# twice as many components. With ten times as much, some searches end elsewhere.
_RIDGE = 1e-5


class Traces(NamedTuple):
    """Time courses in the basis of frames, and their products with each other."""

    basis: NDArray[np.float64]
    """(K, R): C Qᵀ."""
    gram: NDArray[np.float64]
    """(K, K): C Cᵀ."""
    full: NDArray[np.float64] | None = None
    """(K, n_frames): C, where it is more than what is in the basis."""

    def select(self, kept: NDArray[np.intp]) -> Traces:
        """Some of them."""
        return Traces(
            self.basis[kept],
            self.gram[np.ix_(kept, kept)],
            None if self.full is None else self.full[kept],
        )


def free_traces(basis: NDArray[np.float64]) -> Traces:
    """Of any sign: all that matters is in the basis."""
    return Traces(basis, basis @ basis.T)


def solve_free(sums: Sums) -> Traces:
    """The exact minimiser; footprints that are zero have none."""
    size = np.sqrt(np.diagonal(sums.square))
    alive = np.flatnonzero(size)
    solution = np.zeros_like(sums.product)
    if alive.size:
        unit = sums.square[np.ix_(alive, alive)] / np.outer(size[alive], size[alive])
        scaled = sums.product[alive] / size[alive, None]
        solution[alive] = _solve(unit, scaled) / size[alive, None]
    return free_traces(solution)


def _solve(
    unit: NDArray[np.float64], right: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Cholesky, with a ridge that grows where sums in single precision need it."""
    ridge = _RIDGE
    while True:
        try:
            factor = cho_factor(unit + ridge * np.eye(len(unit)))
        except np.linalg.LinAlgError:
            ridge *= 10
        else:
            return np.asarray(cho_solve(factor, right))


def solve_nonnegative(
    sums: Sums, basis: NDArray[np.float64], start: NDArray[np.float64]
) -> Traces:
    """Sweeps over time courses of all frames, each of them non-negative."""
    target = (sums.product @ basis).T
    full = hals_update(
        jnp.asarray(start.T, jnp.float32),
        jnp.asarray(target, jnp.float32),
        jnp.asarray(sums.square, jnp.float32),
    )
    return nonnegative_traces(np.asarray(full, np.float64).T, basis)


def nonnegative_traces(full: NDArray[np.float64], basis: NDArray[np.float64]) -> Traces:
    """Given in full."""
    return Traces(full @ basis.T, full @ full.T, full)
