"""Panels of maps, and what is drawn in each."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import PathCollection

from ._panels import figure_of, new_panels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from ._map_sections import Section

# Inches.
_MAP_SIZE = np.array([1.7, 2.4])
_SMALLEST_MAP = 0.4
_COLORBAR_WIDTH = 0.45
_TITLE_HEIGHT = 0.35

_TOLD_SQUIDPY: dict[str, type[Warning]] = {
    # anndata 0.13
    ".*obs_vector": FutureWarning,
    # matplotlib
    ".*set_(bad|under|over) function will be deprecated": PendingDeprecationWarning,
}


def make_panels(
    n_factors: int,
    sections: Sequence[Section],
    ncols: int,
    ax: Axes | None,
    *,
    paired: bool,
) -> list[Axes]:
    n_panels = n_factors * len(sections) * (1 + paired)
    if ax is not None:
        if n_panels == 1:
            return [ax]
        beneath = " with a gene beneath each" * paired
        msg = (
            f"ax is one Axes, but there are {n_panels} panels ({n_factors} factors"
            f"{beneath} in {len(sections)} sections). Choose a factor with `factors`, or "
            "leave ax out."
        )
        raise ValueError(msg)
    extent = np.max([section.extent for section in sections], axis=0)
    scale = np.min(_MAP_SIZE / np.maximum(extent, np.finfo(float).tiny))
    width, height = np.maximum(extent * scale, _SMALLEST_MAP)
    size = float(width + _COLORBAR_WIDTH), float(height + _TITLE_HEIGHT)
    if len(sections) > 1:
        n_groups = n_factors * (1 + paired)
        return new_panels(len(sections), ncols, size, n_groups=n_groups)
    if not paired:
        return new_panels(n_factors, ncols, size)
    ncols = min(ncols, n_factors)
    n_rows = 2 * -(-n_factors // ncols)
    panels = new_panels(ncols, ncols, size, n_groups=n_rows)
    n_missing = n_rows // 2 * ncols - n_factors
    if n_missing:
        # The last row of factors, and that of their genes, are shorter.
        end = len(panels)
        spare = {*range(end - n_missing, end)}
        spare |= {*range(end - ncols - n_missing, end - ncols)}
        for i in spare:
            panels[i].remove()
        panels = [panel for i, panel in enumerate(panels) if i not in spare]
    return panels


def panel_titles(
    maps: AnnData,
    places: Sequence[tuple[int, Section]],
    given: str | Sequence[str] | None,
) -> list[str]:
    if given is None:
        no_field = _without_space(maps)
        return [
            " | ".join(filter(None, (maps.var_names[i], section.name)))
            + (", not spatial" if no_field[i] else "")
            for i, section in places
        ]
    titles = [given] if isinstance(given, str) else list(given)
    if len(titles) != len(places):
        msg = f"title has {len(titles)} entries, but there are {len(places)} panels."
        raise ValueError(msg)
    return titles


def _without_space(maps: AnnData) -> NDArray[np.bool_]:
    """Factors beside those of a hybrid model that are spatial."""
    is_spatial = maps.var.get("is_spatial")
    if is_spatial is None or not is_spatial.eq(True).any():  # noqa: FBT003
        return np.zeros(maps.n_vars, bool)
    return is_spatial.eq(False).to_numpy()  # noqa: FBT003


def draw_points(section: Section, spatial_key: str, style: dict[str, Any]) -> None:
    defaults = {
        "shape": None,
        # Without a name squidpy logs that there is none.
        "library_id": [""],
        "marker": "s" if section.is_full_grid else "o",
        "linewidths": 0,
    }
    _spatial_scatter(section, spatial_key, **defaults | style)


def draw_picture(section: Section, spatial_key: str, style: dict[str, Any]) -> None:
    _spatial_scatter(section, spatial_key, **{"library_id": section.picture} | style)


def _spatial_scatter(section: Section, spatial_key: str, **style: Any) -> None:
    """As squidpy draws them, without what other packages tell squidpy.

    It calls what anndata and matplotlib deprecate, once in every panel.
    """
    import squidpy as sq

    with warnings.catch_warnings():
        for told, category in _TOLD_SQUIDPY.items():
            warnings.filterwarnings("ignore", told, category, module=r"squidpy\.")
        sq.pl.spatial_scatter(
            section.maps, spatial_key=spatial_key, colorbar=False, **style
        )


def draw_embedding(section: Section, basis: str, style: dict[str, Any]) -> None:
    import scanpy as sc

    if style["size"] is None:
        # scanpy's rule is for panels of 4 inches.
        panel = style["ax"]
        width = panel.get_window_extent().width / figure_of(panel).dpi
        style["size"] = 120_000 / section.maps.n_obs * (width / 4) ** 2
    sc.pl.embedding(section.maps, basis, show=False, colorbar_loc=None, **style)


def fill_panels(panels: Sequence[Axes], sections: Sequence[Section]) -> None:
    """Make points as large as the distance between them."""
    drawn = []
    for panel, section in zip(panels, sections, strict=True):
        points = panel.collections[-1]
        if isinstance(points, PathCollection):  # not spots on a picture
            place = np.asarray(points.get_offsets())
            margin = 0.7 * section.spacing
            centre = (place.min(axis=0) + place.max(axis=0)) / 2
            reach = section.extent / 2 + margin
            low, high = centre - reach, centre + reach
            panel.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]))
            drawn.append((panel, section, points))
    # The layout settles the scale.
    figure_of(panels[0]).draw_without_rendering()
    for panel, section, points in drawn:
        ends = panel.transData.transform(np.array([[0, 0], [section.spacing, 0]]))
        side = np.ptp(ends[:, 0]) * 72 / figure_of(panel).dpi
        if section.is_full_grid:
            # Neither rounding to pixels nor antialiasing may open seams.
            points.set_snap(False)
            side += 0.3
        points.set_sizes([side**2])
