"""Sections of the tissue, or an embedding, that factors are mapped on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .._adata.checks import as_numbers, check_key
from .._adata.coordinates import point_spacing, read_coordinates
from .._adata.grid import find_grid
from .._adata.labels import check_labelled, read_labels
from .._core.warnings import warn

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

# What is shown around a single location, in units of the spacing.
_AROUND = 4


# Points off their place by less, in parts of the spacing, are drawn as squares that
# touch.
_PERFECT = 0.02


@dataclass(frozen=True)
class Section:
    """Observations that share a map."""

    name: str | None
    """`None`: there is only one section."""
    maps: AnnData
    coords: NDArray[np.float64]
    picture: str | None
    """Name in uns of a picture of the tissue."""
    like: Section | None = None
    """A section that tells how one at a single location is drawn."""

    @cached_property
    def is_one_place(self) -> bool:
        return not np.ptp(self.coords, axis=0).any()

    @cached_property
    def spacing(self) -> float:
        if self.is_one_place and self.like is not None:
            return self.like.spacing
        return point_spacing(self.coords)

    @cached_property
    def extent(self) -> NDArray[np.float64]:
        if not self.is_one_place:
            return np.asarray(np.ptp(self.coords, axis=0))
        if self.like is not None:
            return self.like.extent
        return np.full(2, _AROUND * self.spacing)

    @cached_property
    def is_full_grid(self) -> bool:
        """Whether squares of the spacing fill the plane."""
        if self.is_one_place:
            return self.like is not None and self.like.is_full_grid
        grid = find_grid(self.coords)
        if grid is None or grid.jitter > _PERFECT:
            return False
        spacing = grid.spacing[np.isfinite(grid.spacing)]
        if np.ptp(spacing) > _PERFECT * spacing.max(initial=0):
            return False
        # Hexagonal arrays occupy every other place.
        n_sites = len(np.unique(grid.position, axis=0))
        return bool(n_sites > 0.6 * np.prod(grid.position.max(axis=0) + 1))


def tissue_sections(
    maps: AnnData, spatial_key: str, library_key: str | None
) -> list[Section]:
    """Sections of the tissue and their pictures."""
    hint = "Name another element as `spatial_key`, or an embedding as `basis`."
    coords = read_coordinates(maps, spatial_key, hint=hint)
    is_deep = coords.shape[1] > 2 and len(np.unique(coords[:, 2])) > 1
    if is_deep and library_key is None:
        warn(
            f"adata.obsm[{spatial_key!r}] has {coords.shape[1]} axes, of which the first "
            "two are drawn, one depth over the other. Give `library_key` for one panel a "
            "section; volumes have `nonneg.pl.volume_maps`."
        )
    # squidpy takes arrays only. These maps are ours, not the user's.
    maps.obsm[spatial_key] = coords
    coords = coords[:, :2]
    libraries = maps.uns.get(spatial_key, {})
    pictures = [name for name, entry in libraries.items() if entry.get("images")]
    if library_key is None:
        if len(pictures) > 1:
            msg = (
                f"adata.uns[{spatial_key!r}] holds pictures of several sections, "
                f"{pictures}. Name the column of adata.obs that tells them apart as "
                "`library_key`."
            )
            raise ValueError(msg)
        return [Section(None, maps, coords, next(iter(pictures), None))]
    labels = read_labels(maps, library_key)
    check_labelled(labels, f"adata.obs[{library_key!r}]")
    sections = []
    for code, name in enumerate(labels.names):
        rows = labels.codes == code
        picture = name if name in pictures else None
        # Not views, to which squidpy would write.
        sections.append(Section(name, maps[rows].copy(), coords[rows], picture))
    several = [section for section in sections if not section.is_one_place]
    largest = max(several, key=lambda section: section.maps.n_obs, default=None)
    return [replace(section, like=largest) for section in sections]


def embedded(maps: AnnData, basis: str) -> Section:
    """All observations on an embedding, by scanpy's rule for its name."""
    key = basis
    if basis not in maps.obsm:
        key = f"X_{basis}"
        check_key(maps, "obsm", key)
    points = as_numbers(maps.obsm[key], f"adata.obsm[{key!r}]")
    maps.obsm[key] = points
    return Section(None, maps, points[:, :2], None)
