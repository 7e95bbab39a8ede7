"""Coordinates of observations: reading them, their spacing, grids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from ._validators import check_key

if TYPE_CHECKING:
    from anndata import AnnData
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


def read_coordinates(
    adata: AnnData, spatial_key: str = "spatial", *, hint: str = ""
) -> NDArray[np.float64]:
    """Coordinates (n_obs, 2 or 3)."""
    check_key(adata, "obsm", spatial_key, hint=hint)
    coords = np.asarray(adata.obsm[spatial_key], np.float64)
    where = f"adata.obsm[{spatial_key!r}]"
    if coords.ndim != 2 or coords.shape[1] not in {2, 3}:
        msg = f"{where} must have 2 or 3 columns, but its shape is {coords.shape}."
        raise ValueError(msg)
    if not np.isfinite(coords).all():
        n_bad = int((~np.isfinite(coords)).any(axis=1).sum())
        msg = f"{where} has {n_bad} observations without finite coordinates."
        raise ValueError(msg)
    return coords


def point_spacing(coords: NDArray[np.floating[Any]]) -> float:
    """Typical distance between neighbouring locations.

    In a lattice the third nearest neighbour is as far as the first, and among points
    at random it is as far as in a lattice of the same density.
    """
    sites = np.unique(coords, axis=0)
    along_line = np.sum(np.ptp(sites, axis=0) > 0) == 1
    n_neighbors = min(2 if along_line else 3, len(sites) - 1)
    if n_neighbors == 0:
        return 1.0
    distances, _ = cKDTree(sites).query(sites, k=n_neighbors + 1)
    return float(np.median(distances[:, -1 - along_line]))


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


# --- the coordinates that a model works in ----------------------------------

# Area of the box that layouts are scaled to, per axis.
_BOX = 4.0


class Transform(NamedTuple):
    """How coordinates were scaled: each section centred, one scale for all."""

    scale: float
    axes: NDArray[np.bool_]
    """Axes along which anything varies; the others are ignored."""
    centers: NDArray[np.float64]
    """(n_sections, n_axes used)"""
    sections: NDArray[Any]
    """Names of the sections; one empty name where there are none."""

    def __call__(
        self, coords: NDArray[np.floating[Any]], section: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Scaled coordinates."""
        return (coords[:, self.axes] - self.centers[section]) * self.scale


def fit_transform(
    coords: NDArray[np.float64], section: NDArray[np.intp], names: NDArray[Any]
) -> Transform:
    """Scale to a box of side 4, in the geometric mean over axes."""
    spans = np.stack(
        [np.ptp(coords[section == s], axis=0) for s in range(len(names))]
    ).max(0)
    # A layout along a line that is slightly off is still a line.
    axes = spans > 1e-9 * max(spans.max(), np.abs(coords).max())
    if not axes.any():
        msg = (
            "All observations of each section are at a single location, which leaves a "
            "spatial model nothing to learn. Use `nonneg.tl.pnmf` instead."
        )
        raise ValueError(msg)
    used = coords[:, axes]
    centers = np.stack([used[section == s].mean(0) for s in range(len(names))])
    scale = _BOX / float(np.exp(np.log(spans[axes]).mean()))
    return Transform(scale, axes, centers, names)


def read_sections(
    adata: AnnData, library_key: str | None
) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """Section of every observation, and their names."""
    if library_key is None:
        return np.zeros(adata.n_obs, np.intp), np.array([""], object)
    check_key(adata, "obs", library_key)
    # Of a lazy AnnData, columns are not pandas.
    column = pd.Series(np.asarray(adata.obs[library_key], object))
    if column.isna().any():
        msg = (
            f"adata.obs[{library_key!r}] is missing for {int(column.isna().sum())} "
            "observations. Fill or remove them first."
        )
        raise ValueError(msg)
    labels = np.asarray(column.astype(str), object)
    names, section = np.unique(labels, return_inverse=True)
    return section.astype(np.intp), names
