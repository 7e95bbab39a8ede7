"""Non-negative factorizations of samples: their patterns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..._core.random import stream
from ..factor.start import (
    N_OVERSAMPLES,
    random_init,
    right_singular_vectors,
    split_by_sign,
)
from ..loop import drive
from .batch import LANES, BatchSolver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from ...operators.protocol import MatrixOperator
    from ..factor.start import Init
    from .batch import Found
    from .draws import Draws
    from .spectra import Spectrum


# Part of the data that one copy of the factors of a batch may take, and what it may take
# in any case. A step holds about six of them.
_SHARE = 1 / 24
_MIN_BYTES = 2**23

# Products with more columns at once are no faster on a CPU, nor on a GPU by much.
_MAX_COLUMNS = 1024

# A sketch pays where products with it take this much less, in operations.
_MUCH_FASTER = 8

# Purpose of random numbers.
_START = 2

# As patterns are kept: many of them, of which angles are wanted.
HALF = np.float16


def sketch_of(op: MatrixOperator, rank: int, seed: int) -> tuple[Any, Any] | None:
    """The data on their leading singular vectors, for fits of up to ``rank`` components.

    ``None`` where a product with it would not be much faster than with the data.
    """
    width = 2 * rank + N_OVERSAMPLES
    if _MUCH_FASTER * width > min(op.shape):
        return None
    v, _ = right_singular_vectors(op, width, stream(seed, "sketch"))
    v = np.asarray(v, op.dtype)
    return op.matmul(v), v


class Patterns(NamedTuple):
    """What was found in some samples."""

    sample: NDArray[np.intp]
    patterns: NDArray[Any]
    """(samples, k, size): patterns, the largest entry of each 1, or all 0 where one is
    dead."""
    n_iter: NDArray[np.intp]
    converged: NDArray[np.bool_]


@dataclass(frozen=True)
class Replicates:
    """Fits of one number of components to samples, by NMF with a Frobenius loss."""

    op: MatrixOperator
    draws: Draws
    sketch: tuple[Any, Any] | None = None
    """Of the data, see :class:`~nonneg.models.stability.batch.BatchSolver`."""
    init: Init = "nndsvda"
    tol: float = 1e-4
    max_iter: int = 200

    def batches(self, rank: int, samples: Sequence[int]) -> Iterator[list[int]]:
        """Samples that are fitted side by side."""
        n_obs, n_vars = self.op.shape
        itemsize = self.op.dtype.itemsize
        budget = max(_SHARE * n_obs * n_vars * itemsize, _MIN_BYTES)
        columns = min(budget / ((n_obs + n_vars) * itemsize), _MAX_COLUMNS)
        size = max(int(columns) // rank, LANES)
        size -= size % LANES
        for first in range(0, len(samples), size):
            yield list(samples[first : first + size])

    def fit(
        self,
        rank: int,
        samples: Sequence[int],
        spectra: Sequence[Spectrum] | None,
        callback: Callable[..., None] | None = None,
    ) -> Patterns:
        """Patterns of a batch, each sample fitted from its own weighted data.

        Raises :class:`KeyboardInterrupt` where that came in between.
        """
        views = [self.draws.view(self.op, sample) for sample in samples]
        solver = BatchSolver(self.op, views, self.sketch, self.tol, self.max_iter)
        factors = self._starts(rank, samples, spectra)
        state, trace = drive(solver, solver.init(factors), callback)
        if trace.interrupted:
            raise KeyboardInterrupt
        found = solver.finish(state)
        return Patterns(
            np.array(samples),
            np.stack([self._pattern(f, views[f.sample].scale) for f in found]),
            np.array([f.n_iter for f in found]),
            np.array([f.converged for f in found]),
        )

    def _starts(
        self, rank: int, samples: Sequence[int], spectra: Sequence[Spectrum] | None
    ) -> list[tuple[Any, Any]]:
        shape, dtype = self.op.shape, self.op.dtype
        if spectra is None:
            # Samples differ in nothing else then.
            means = self._means(samples)
            return [
                random_init(
                    shape,
                    rank,
                    total=float(means[i] * np.prod(shape)),
                    rng=self.draws.rng(sample, _START),
                    dtype=dtype,
                )
                for i, sample in enumerate(samples)
            ]
        vectors = [np.array(spectrum.V[:, :rank]) for spectrum in spectra]
        views = [self.draws.view(self.op, sample) for sample in samples]
        scaled = [
            v * view.scale[:, None] for v, view in zip(vectors, views, strict=True)
        ]
        images = np.asarray(self.op.matmul(np.concatenate(scaled, axis=1)))
        means = np.zeros(len(samples))
        if self.init == "nndsvda":
            means = self._means(samples)
        factors = []
        for i, (v, view) in enumerate(zip(vectors, views, strict=True)):
            # One component per row, as factors are held.
            w = np.array(images[:, i * rank : (i + 1) * rank].T, order="C")
            if view.row_scale is not None:
                w *= view.row_scale
            w_start, h_start = split_by_sign(w.T, v, spectra[i].singular[:rank], 0.0)
            # As in a copy of the sample, of which these are the scaled factors.
            _fill(w_start.T, means[i], view.row_scale)
            _fill(h_start, means[i], view.scale)
            factors.append((w_start, h_start))
        return factors

    def _means(self, samples: Sequence[int]) -> NDArray[np.float64]:
        """Mean of all entries of each sample."""
        views = [self.draws.view(self.op, sample) for sample in samples]
        columns = np.stack([view.scale**2 for view in views], axis=1)
        sums = np.asarray(self.op.matmul(columns), np.float64)
        rows = [view.row_scale for view in views]
        totals = [
            sums[:, i].sum() if scale is None else scale**2 @ sums[:, i]
            for i, scale in enumerate(rows)
        ]
        return np.array(totals) / np.prod(self.op.shape)

    def _pattern(self, found: Found, scale: NDArray[Any]) -> NDArray[Any]:
        if self.draws.resample != "obs":
            return kept_rows(found.W)
        return kept_rows(found.H / np.where(scale > 0, scale, 1))


def _fill(factor: NDArray[Any], value: float, scale: NDArray[Any] | None) -> None:
    """Replace zeros, in place."""
    values = np.full(factor.shape[1], value, factor.dtype)
    if scale is not None:
        values *= scale
    rows, columns = np.nonzero(factor == 0)
    factor[rows, columns] = values[columns]


def kept_rows(patterns: NDArray[Any]) -> NDArray[Any]:
    """Patterns as they are kept: the largest entry 1, in half precision."""
    largest = np.abs(patterns).max(axis=1, keepdims=True)
    return (patterns / np.where(largest > 0, largest, 1)).astype(HALF)
