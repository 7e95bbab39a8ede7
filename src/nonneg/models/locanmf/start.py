"""Where components of a region start: a semi-NMF of its own pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .passes import HostFootprints, Penalties
from .problem import Movie
from .temporal import free_traces, solve_free

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Pixels with little energy have no direction to speak of.
_DARK = 0.3
# Share of the pixels whose mean is an extreme direction: one alone may be noise.
_NEAREST = 0.01
_N_PASSES = 8


def start_region(
    data: NDArray[np.float32], rank: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Footprints (n_pixels, rank) and time courses (rank, R) of one region's pixels.

    Pixels are non-negative sums of time courses, and lie in the cone of these. Where
    some pixels show one component alone, the edges of the cone are the time courses:
    they are found as pixels that are as different from each other as possible
    :cite:p:`Araujo2001`. Singular vectors, with which the article starts, lie anywhere
    in the cone, and so do the time courses that it ends with.
    """
    traces = extreme_directions(data, rank)
    alone = Movie(
        data,
        np.zeros(len(data), np.intp),
        np.zeros((len(data), 1), np.float32),
        np.empty((0, 0)),
        1.0,
        1.0,
    )
    footprints = HostFootprints(
        alone, np.zeros(rank, np.intp), np.zeros((len(data), rank), np.float32)
    )
    found, nothing = free_traces(traces), Penalties(np.zeros(rank))
    for _ in range(_N_PASSES):
        found = solve_free(
            footprints.sweep(
                found.basis, found.gram, nothing, n_sweeps=4, everywhere=True
            )
        )
    return footprints.a, found.basis


def extreme_directions(data: NDArray[np.float32], rank: int) -> NDArray[np.float64]:
    """Time courses (rank, R) at the edges of the cone that pixels lie in."""
    gram = data.T.astype(np.float64) @ data
    axes = np.linalg.eigh(gram)[1][:, ::-1][:, :rank]
    points = data @ axes
    if rank == 1:
        return np.where(points.sum() < 0, -1.0, 1.0) * axes.T
    size = np.linalg.norm(points, axis=1)
    bright = size >= np.quantile(size, _DARK)
    points = points[bright] / np.maximum(size[bright, None], 1e-30)
    left = points - np.outer(points @ (mean := _unit(points.mean(axis=0))), mean)
    n_nearest = max(1, round(_NEAREST * len(points)))
    directions = []
    for _ in range(rank):
        farthest = points[np.argmax(np.einsum("nr,nr->n", left, left))]
        nearest = np.argsort(-(points @ farthest))[:n_nearest]
        directions.append(_unit(points[nearest].mean(axis=0)))
        span = np.linalg.qr(np.array(directions).T)[0]
        left = points - (points @ span) @ span.T
    return np.array(directions) @ axes.T


def _unit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x / max(float(np.linalg.norm(x)), 1e-30)
