"""Regular grids of observations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray


# How far from its place an observation of a grid may lie, in parts of the spacing:
# spots of array technologies are off by about a tenth.
_TOLERANCE = 0.3


class Grid(NamedTuple):
    """Places of observations on a regular grid."""

    position: NDArray[np.intp]
    """(n_obs, n_dims): position along every axis, from 0."""
    spacing: NDArray[np.float64]
    """(n_dims,): distance of neighbouring positions; NaN for a single one."""
    jitter: float
    """Largest distance from the place, in parts of the spacing."""


def find_grid(coords: NDArray[np.floating[Any]]) -> Grid | None:
    """Find the regular grid, parallel to the axes, that holds all observations."""
    sites = np.unique(coords, axis=0)
    if len(sites) == 1:
        nearest = 1.0
    else:
        distances, _ = cKDTree(sites).query(sites, k=2)
        nearest = float(np.median(distances[:, 1]))
    axes = [_find_lattice(x, nearest) for x in coords.T]
    position, spacing, jitter = zip(*axes, strict=True)
    if max(jitter) > _TOLERANCE:
        return None
    return Grid(np.stack(position, axis=1), np.array(spacing), max(jitter))


def _find_lattice(
    x: NDArray[np.floating[Any]], nearest: float
) -> tuple[NDArray[np.intp], float, float]:
    """Position on an axis, spacing, and largest deviation in parts of it."""
    order = np.argsort(x)
    breaks = np.diff(x[order]) > _TOLERANCE * nearest
    line = np.empty(x.size, np.intp)
    line[order] = np.concatenate([[0], np.cumsum(breaks)])
    n_lines = int(line.max()) + 1
    centre = np.bincount(line, x) / np.bincount(line)
    if n_lines == 1:
        return line, np.nan, float(np.ptp(x) / nearest)
    gaps = np.diff(centre)
    # Lines may be missing: the small gaps are those of neighbouring lines.
    step = np.median(gaps[gaps < 1.5 * gaps.min()])
    position = np.concatenate([[0], np.cumsum(np.rint(gaps / step))]).astype(np.intp)
    spacing, origin = np.polyfit(position, centre, 1)
    place = origin + spacing * position[line]
    return position[line], float(spacing), float(np.max(np.abs(x - place)) / spacing)
