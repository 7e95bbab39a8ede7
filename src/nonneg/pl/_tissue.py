"""Sections of tissue, in the units of their coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import EllipseCollection

from .._adata.coordinates import point_spacing, read_coordinates
from .._adata.labels import check_labelled, read_labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

type Crop = tuple[float, float, float, float]


@dataclass(frozen=True)
class Tissue:
    """Locations that share a map, and the picture beneath them."""

    name: str | None
    """`None`: there is only one section."""
    rows: NDArray[np.intp]
    coords: NDArray[np.float64]
    """(n, 2), of these rows."""
    entry: Mapping[str, Any] | None
    """What squidpy keeps of a picture."""

    @cached_property
    def spacing(self) -> float:
        """Distance between locations."""
        return point_spacing(self.coords)

    @property
    def diameter(self) -> float:
        """Of a location: the true one on a picture, else what fills the plane."""
        if self.entry is not None:
            known = self.entry["scalefactors"].get("spot_diameter_fullres")
            if known:
                return float(known)
        return self.spacing

    def within(self, crop: Crop | None) -> Tissue:
        """The part inside (left, top, right, bottom)."""
        if crop is None:
            return self
        left, top, right, bottom = crop
        x, y = self.coords.T
        inside = (x >= left) & (x <= right) & (y >= top) & (y <= bottom)
        if not inside.any():
            msg = (
                f"crop_coord={tuple(crop)} (left, top, right, bottom) holds none of the "
                f"locations, which are in {tuple(np.ravel([self.coords.min(0), self.coords.max(0)]).tolist())}."
            )
            raise ValueError(msg)
        return Tissue(self.name, self.rows[inside], self.coords[inside], self.entry)


def read_tissue(
    adata: AnnData, spatial_key: str, library_key: str | None
) -> list[Tissue]:
    """Sections of the tissue."""
    coords = read_coordinates(adata, spatial_key)[:, :2]
    stored = adata.uns.get(spatial_key, {})
    libraries = stored if hasattr(stored, "items") else {}
    pictures = {
        str(name): entry
        for name, entry in libraries.items()
        if hasattr(entry, "get") and entry.get("images")
    }
    if library_key is None:
        if len(pictures) > 1:
            msg = (
                f"adata.uns[{spatial_key!r}] holds pictures of several sections, "
                f"{list(pictures)}. Name the column of adata.obs that tells them apart "
                "as `library_key`."
            )
            raise ValueError(msg)
        entry = next(iter(pictures.values()), None)
        return [Tissue(None, np.arange(adata.n_obs), coords, entry)]
    labels = read_labels(adata, library_key)
    check_labelled(labels, f"adata.obs[{library_key!r}]")
    return [
        Tissue(name, rows, coords[rows], pictures.get(name))
        for code, name in enumerate(labels.names)
        for rows in [np.flatnonzero(labels.codes == code)]
    ]


def map_size(
    sections: Sequence[Tissue], box: tuple[float, float]
) -> tuple[float, float]:
    """Inches of a map, of the largest section in a box."""
    extent = np.max([np.ptp(section.coords, axis=0) for section in sections], axis=0)
    room: NDArray[np.floating[Any]] = extent + max(each.diameter for each in sections)
    scale = np.min(np.asarray(box) / room)
    width, height = np.maximum(room * scale, 0.6)
    return float(width), float(height)


def frame(ax: Axes, section: Tissue, *, img: bool, img_alpha: float) -> None:
    """Limits around the locations, no axes, and the picture."""
    margin = 0.7 * max(section.diameter, section.spacing)
    low, high = section.coords.min(axis=0), section.coords.max(axis=0)
    if img and section.entry is not None:
        _draw_picture(ax, section.entry, img_alpha)
    ax.set(
        xlim=(low[0] - margin, high[0] + margin),
        ylim=(high[1] + margin, low[1] - margin),
        aspect="equal",
    )
    ax.set_axis_off()


def _draw_picture(ax: Axes, entry: Mapping[str, Any], alpha: float) -> None:
    images = entry["images"]
    name = "hires" if "hires" in images else next(iter(images))
    picture = np.asarray(images[name])
    scale = float(entry["scalefactors"][f"tissue_{name}_scalef"])
    height, width = np.asarray(picture.shape[:2]) / scale
    ax.imshow(picture, extent=(0, width, height, 0), alpha=alpha, zorder=0)


def draw_spots(
    ax: Axes, coords: NDArray[np.float64], diameter: float, **style: Any
) -> EllipseCollection:
    """Discs whose size is in units of the coordinates."""
    size = np.full(len(coords), diameter)
    spots = EllipseCollection(
        size,
        size,
        np.zeros(len(coords)),
        units="xy",
        offsets=coords,
        offset_transform=ax.transData,
        **({"linewidths": 0} | style),
    )
    ax.add_collection(spots, autolim=False)
    return spots
