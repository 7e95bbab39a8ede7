"""Missing entries from the nearest observed locations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..._core.typing import Floats

# The other voxels of the 3 x 3 x 3 around one: so many may be missing without a search of
# its own. Half of them suffice across a missing plane.
_AROUND = 26
# Candidates that are looked at together.
_CANDIDATES = 2**21


def impute_nearest(x: Floats, coords: NDArray[np.float64], n_neighbors: int) -> Floats:
    """A copy without NaN: inverse-distance weighted means of observed neighbours.

    Every column has some entry. Neighbours are searched once for all columns, more than
    are needed; of these, each column takes the first that it has observed. Where it has
    too few among them, it searches on its own.
    """
    n_obs = len(x)
    n_near = min(n_neighbors + _AROUND, n_obs - 1) + 1
    tree = cKDTree(coords)
    filled = x.copy()
    missing = np.isnan(x)
    rows = np.flatnonzero(missing.any(axis=1))
    if not rows.size:
        return filled
    # A location is its own nearest one, and missing where it is to be filled.
    distance, near = tree.query(coords[rows], k=n_near)
    weight = 1 / np.maximum(distance, _smallest(distance))
    place = np.zeros(n_obs, np.intp)
    place[rows] = np.arange(rows.size)
    row, column = np.nonzero(missing)
    unresolved = np.zeros(row.size, bool)
    step = max(_CANDIDATES // n_near, 1)
    for start in range(0, row.size, step):
        part = slice(start, start + step)
        candidates = near[place[row[part]]]
        values = x[candidates, column[part, None]]
        observed = ~np.isnan(values)
        n_found = np.cumsum(observed, axis=1, dtype=np.int32)
        used = observed & (n_found <= n_neighbors)
        w = np.where(used, weight[place[row[part]]], 0)
        total = w.sum(axis=1)
        mean = np.einsum("ij,ij->i", w, np.where(used, values, 0))
        filled[row[part], column[part]] = mean / np.where(total == 0, 1, total)
        unresolved[part] = n_found[:, -1] < n_neighbors
    for j in np.unique(column[unresolved]):
        known = np.flatnonzero(~missing[:, j])
        lost = row[unresolved & (column == j)]
        filled[lost, j] = _search(x[known, j], coords[known], coords[lost], n_neighbors)
    return filled


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
