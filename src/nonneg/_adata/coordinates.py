"""Coordinates of observations: reading them, their spacing, grids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from .._core.text import counted
from .checks import as_numbers, check_key, check_some

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


def read_coordinates(
    adata: AnnData, spatial_key: str = "spatial", *, hint: str = ""
) -> NDArray[np.float64]:
    """Coordinates (n_obs, 2 or 3)."""
    if spatial_key not in adata.obsm:
        hint = " ".join(filter(None, (hint, _elsewhere(adata, spatial_key))))
    check_key(adata, "obsm", spatial_key, hint=hint)
    check_some(adata, "observations")
    where = f"adata.obsm[{spatial_key!r}]"
    coords = as_numbers(adata.obsm[spatial_key], where)
    if coords.ndim != 2 or coords.shape[1] not in {2, 3}:
        msg = f"{where} must have 2 or 3 columns, but its shape is {coords.shape}."
        raise ValueError(msg)
    check_places(coords, where)
    return coords


# Columns of obs with coordinates, as readers of spatial platforms name them.
_COLUMNS = (
    *(("x", "y"), ("X", "Y"), ("x_centroid", "y_centroid"), ("center_x", "center_y")),
    *(("CenterX_global_px", "CenterY_global_px"), ("imagecol", "imagerow")),
    ("pxl_col_in_fullres", "pxl_row_in_fullres"),
)


def _elsewhere(adata: AnnData, wanted: str) -> str:
    """Where coordinates may be instead."""
    found = [
        f"adata.obsm[{key!r}]"
        for key, values in adata.obsm.items()
        if "spatial" in str(key).lower()
        and isinstance(values, np.ndarray)
        and values.shape[1:] in {(2,), (3,)}
    ] + [
        f"adata.obs[[{x!r}, {y!r}]].to_numpy()"
        for x, y in _COLUMNS
        if x in adata.obs and y in adata.obs
    ]
    return f"Perhaps `adata.obsm[{wanted!r}] = {found[0]}`?" if found else ""


def check_places(coords: NDArray[np.float64], where: str) -> None:
    """Raise unless all are finite, and small enough for distances between them."""
    bad = ~(np.abs(coords) < np.finfo(np.float32).max).all(axis=1)
    if bad.any():
        msg = (
            f"{where} has {counted(int(bad.sum()), 'observation')} without finite coordinates, e.g. "
            f"{coords[bad][0].tolist()} in row {int(np.flatnonzero(bad)[0])}."
        )
        raise ValueError(msg)


def point_spacing(coords: NDArray[np.floating[Any]]) -> float:
    """Typical distance between neighbouring locations.

    In a lattice the third nearest neighbour is as far as the first, and among points
    at random it is as far as in a lattice of the same density.
    """
    sites = np.unique(coords, axis=0)
    along_line = np.sum(np.ptp(sites, axis=0) > 0) == 1
    n_neighbors = min(1 if along_line else 3, len(sites) - 1)
    if n_neighbors == 0:
        return 1.0
    distances, _ = cKDTree(sites).query(sites, k=n_neighbors + 1)
    return float(np.median(distances[:, -1]))


# Side of the box that layouts are scaled to.
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
    """Scale to the size of a box of side 4, however a section is turned.

    By the root mean square distance from the centre, which rotations do not change.
    """
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
    size = max(np.var(used[section == s], axis=0).sum() for s in range(len(names)))
    # Uniform in the box, each axis has a variance of its side squared by 12.
    scale = _BOX * float(np.sqrt(axes.sum() / 12 / size))
    return Transform(scale, axes, centers, names)
