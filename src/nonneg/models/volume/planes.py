"""Planes of voxels: which are missing, and which are too strong or too weak."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..._core.typing import Floats

# Of the gains' size against the jumps between planes, which fix them: small.
_SHRINKAGE = 1e-3
# The height of the curve is of no account, but must be some number.
_ANCHOR = 1e-9


def sum_by_plane(
    x: NDArray[Any], plane: NDArray[np.intp], n_planes: int
) -> NDArray[np.float64]:
    """Sums of the rows of each plane (n_planes, n_columns)."""
    total = np.zeros((n_planes, x.shape[1]))
    order = np.argsort(plane, kind="stable")
    present, first = np.unique(plane[order], return_index=True)
    for number, rows in zip(present, np.split(order, first[1:]), strict=True):
        total[number] = x[rows].sum(axis=0)
    return total


def missing_planes(
    missing: NDArray[np.bool_], plane: NDArray[np.intp], n_planes: int
) -> NDArray[np.bool_]:
    """(n_columns, n_planes): planes with rows, all of which are missing."""
    n_rows = np.bincount(plane, minlength=n_planes)
    n_missing = sum_by_plane(missing, plane, n_planes)
    return ((n_missing == n_rows[:, None]) & (n_rows[:, None] > 0)).T


def plane_gains(
    x: Floats, index: NDArray[np.intp], axis: int, period: float
) -> NDArray[np.float64]:
    """(n_columns, n_planes): factors of planes, 1 on average; NaN where missing.

    Between neighbouring planes, the logarithm of the ratio of sums, over the places that
    both have, is a difference of levels. Levels are a smooth curve plus the logarithm of
    gains: with the second differences of the curve penalised such that variation within
    ``period`` planes is left to the gains, both follow from one linear system.
    """
    n_planes = int(index[:, axis].max()) + 1
    jumps = _jumps(x, index, axis, n_planes)
    known = np.isfinite(jumps)
    step = np.diff(np.eye(n_planes), axis=0)
    bend = np.diff(np.eye(n_planes), n=2, axis=0)
    # At this frequency, the curve and the gains take a half each.
    stiffness = _SHRINKAGE / (2 * np.pi / period) ** 4
    curve = stiffness * bend.T @ bend + _ANCHOR * np.eye(n_planes)
    gains = np.zeros((x.shape[1], n_planes))
    patterns, which = np.unique(known, axis=0, return_inverse=True)
    for number, used in enumerate(patterns):
        chosen = which.ravel() == number
        d = step[used]
        # Unknowns: the curve, and the gains.
        a = np.block([[d, d]])
        normal = a.T @ a
        normal[:n_planes, :n_planes] += curve
        normal[n_planes:, n_planes:] += _SHRINKAGE * np.eye(n_planes)
        right = a.T @ jumps[chosen][:, used].T
        gains[chosen] = np.linalg.solve(normal, right)[n_planes:].T
    some = np.zeros((x.shape[1], n_planes), bool)
    some[:, :-1] |= known
    some[:, 1:] |= known
    return np.where(some, np.exp(gains), np.nan)


def _jumps(
    x: Floats, index: NDArray[np.intp], axis: int, n_planes: int
) -> NDArray[np.float64]:
    """(n_columns, n_planes - 1): logarithms of ratios between neighbouring planes."""
    within = np.delete(index, axis, axis=1)
    _, place = np.unique(within, axis=0, return_inverse=True)
    row = np.full((n_planes, int(place.max()) + 1), -1)
    row[index[:, axis], place.ravel()] = np.arange(len(index))
    jumps = np.full((x.shape[1], n_planes - 1), np.nan)
    for s in range(n_planes - 1):
        both = (row[s] >= 0) & (row[s + 1] >= 0)
        here, there = x[row[s, both]], x[row[s + 1, both]]
        shared = ~(np.isnan(here) | np.isnan(there))
        before = np.where(shared, here, 0).sum(axis=0, dtype=np.float64)
        after = np.where(shared, there, 0).sum(axis=0, dtype=np.float64)
        positive = (before > 0) & (after > 0)
        jumps[positive, s] = np.log(after[positive] / before[positive])
    return jumps
