"""What is factorized: pixels in a basis of frames, regions, distances to them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    type Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Movie:
    """``Y ≈ M Q``: all that depends on frames is in the orthonormal rows of Q."""

    data: NDArray[np.float32]
    """(n_pixels, R): M, scaled so that the mean energy of pixels is 1. Pixels of a
    region follow each other."""
    region: NDArray[np.intp]
    """(n_pixels,): -1 outside of all."""
    distance: NDArray[np.float32]
    """(n_pixels, n_regions): to the nearest pixel of each region, 0 inside."""
    basis: NDArray[np.float64]
    """(R, n_frames): Q."""
    scale: float
    """What the data were divided by."""
    region_size: float
    """Length of a region of mean size, in units of the distance."""

    @property
    def n_regions(self) -> int:
        """Number of regions."""
        return int(self.distance.shape[1])

    @cached_property
    def sq_norm(self) -> float:
        """Squared norm of the data."""
        return float(np.sum(self.energy))

    @cached_property
    def energy(self) -> NDArray[np.float64]:
        """(n_pixels,): sum of squares over frames."""
        return np.einsum("nr,nr->n", self.data, self.data, dtype=np.float64)

    @cached_property
    def variance(self) -> NDArray[np.float64]:
        """(n_pixels,): sum of squares over frames about the mean."""
        n_frames = self.basis.shape[1]
        mean = self.data @ self.basis.mean(axis=1)
        return np.maximum(self.energy - n_frames * np.square(mean), 0)

    def rows(self, region: int | np.integer[Any]) -> slice:
        """Pixels of a region."""
        inside = np.flatnonzero(self.region == region)
        return slice(int(inside[0]), int(inside[-1]) + 1)


# Of the energy: less than this is what rounding leaves of a variance.
_CONSTANT = 1e-6


def explained(
    left: NDArray[np.floating[Any]],
    variance: NDArray[np.float64],
    energy: NDArray[np.float64],
    kind: Literal["pooled", "mean"] = "pooled",
) -> float:
    """Share of the variance of pixels that is explained, of their squares ``left``.

    Of all of them together, or the mean of that of each. Pixels that do not vary have
    none; NaN if no pixel varies.
    """
    if kind == "pooled":
        varies = variance.sum() > _CONSTANT * energy.sum()
        return float(1 - left.sum() / variance.sum()) if varies else np.nan
    varying = variance > _CONSTANT * energy
    if not varying.any():
        return np.nan
    return float(1 - np.mean(left[varying] / variance[varying]))


def orthonormal_frames(
    u: Floats, traces: Floats
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """M and Q of ``U Vᵀ``, with orthonormal rows of Q, from ``traces`` V.

    In double precision: a Gram matrix of 10⁵ frames in single precision is not one.
    """
    q, r = np.linalg.qr(np.asarray(traces, np.float64))
    return np.asarray(u, np.float64) @ r.T, np.ascontiguousarray(q.T)


def make_movie(
    data: Floats,
    basis: NDArray[np.float64],
    region: NDArray[np.intp],
    distance: Floats,
    region_size: float,
) -> Movie:
    """A movie whose pixels are in the order of regions already."""
    scale = float(np.sqrt(np.mean(np.einsum("nr,nr->n", data, data, dtype=np.float64))))
    return Movie(
        np.ascontiguousarray(data / scale, np.float32),
        region,
        np.ascontiguousarray(distance, np.float32),
        basis,
        scale,
        region_size,
    )


def binned(movie: Movie, cell: NDArray[np.integer[Any]]) -> tuple[Movie, NDArray[Any]]:
    """Means over pixels of one cell of a coarse grid and one region.

    Also the position of every pixel among the means. No mean is over pixels of two
    regions, so that borders stay where they are.
    """
    together = np.stack([movie.region, cell], axis=1)
    _, group = np.unique(together, axis=0, return_inverse=True)
    group = np.ravel(group)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(group[order]) > 0])
    count = np.diff(np.r_[starts, group.size])[:, None]

    def mean(x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.add.reduceat(x[order], starts) / count.astype(np.float32)

    return (
        Movie(
            mean(movie.data),
            movie.region[order][starts],
            mean(movie.distance),
            movie.basis,
            movie.scale,
            movie.region_size,
        ),
        group,
    )
