"""Missing entries from the nearest observed locations."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..._core.typing import Floats

# The other voxels of the 3 x 3 x 3 around one: so many may be missing without a search of
# its own. Half of them suffice across a missing plane.
_AROUND = 26
# Candidates, and columns, that are looked at together.
_CANDIDATES = 2**21
_COLUMNS = 64


def impute_nearest(x: Floats, coords: NDArray[np.float64], n_neighbors: int) -> Floats:
    """A copy without NaN: inverse-distance weighted means of observed neighbours.

    Every column has some entry. Neighbours are searched once for all columns, more than
    are needed; of these, each column takes the first that it has observed. Where it has
    too few among them, it searches on its own.
    """
    filled = x.copy()
    blocks = [slice(j, j + _COLUMNS) for j in range(0, x.shape[1], _COLUMNS)]
    missing = np.zeros(len(x), bool)
    for block in blocks:
        missing |= np.isnan(x[:, block]).any(axis=1)
    rows = np.flatnonzero(missing)
    if not rows.size:
        return filled
    n_near = min(n_neighbors + _AROUND, len(x) - 1) + 1
    # A location is its own nearest one, and missing where it is to be filled.
    distance, near = cKDTree(coords).query(coords[rows], k=n_near)
    place = np.zeros(len(x), np.intp)
    place[rows] = np.arange(rows.size)
    shared = _Candidates(near, 1 / np.maximum(distance, _smallest(distance)), place)
    for block in blocks:
        _fill(filled[:, block], coords, n_neighbors, shared)
    return filled


class _Candidates(NamedTuple):
    """Locations near those where something is missing, and what they count."""

    near: NDArray[np.intp]
    weight: NDArray[np.float64]
    place: NDArray[np.intp]
    """(n_obs,): row of a location in the other two."""


def _fill(
    x: Floats, coords: NDArray[np.float64], n_neighbors: int, shared: _Candidates
) -> None:
    """Fill some columns in place."""
    near, weight, place = shared
    missing = np.isnan(x)
    row, column = np.nonzero(missing)
    values = np.empty(row.size, x.dtype)
    unresolved = np.zeros(row.size, bool)
    step = max(_CANDIDATES // near.shape[1], 1)
    for start in range(0, row.size, step):
        part = slice(start, start + step)
        at = place[row[part]]
        candidates = x[near[at], column[part, None]]
        observed = ~np.isnan(candidates)
        n_found = np.cumsum(observed, axis=1, dtype=np.int32)
        used = observed & (n_found <= n_neighbors)
        w = np.where(used, weight[at], 0)
        total = w.sum(axis=1)
        mean = np.einsum("ij,ij->i", w, np.where(used, candidates, 0))
        values[part] = mean / np.where(total == 0, 1, total)
        unresolved[part] = n_found[:, -1] < n_neighbors
    for j in np.unique(column[unresolved]):
        known = np.flatnonzero(~missing[:, j])
        lost = unresolved & (column == j)
        values[lost] = _search(
            x[known, j], coords[known], coords[row[lost]], n_neighbors
        )
    x[row, column] = values


def _search(
    values: Floats,
    known: NDArray[np.float64],
    lost: NDArray[np.float64],
    n_neighbors: int,
) -> Floats:
    k = min(n_neighbors, len(known))
    distance, near = cKDTree(known).query(lost, k=np.arange(1, k + 1))
    weight = 1 / np.maximum(distance, _smallest(distance))
    return (weight * values[near]).sum(axis=1) / weight.sum(axis=1)


def _smallest(distance: NDArray[np.float64]) -> float:
    """What stands for no distance: locations may coincide."""
    positive = distance[(distance > 0) & np.isfinite(distance)]
    return 1e-6 * float(positive.min()) if positive.size else 1.0
