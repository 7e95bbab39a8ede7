"""Compositions of cell types over the tissue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.patches import Patch

from .._adata.compositions import read_compositions, select_types
from .._adata.tables import read_table
from .._adata.views import fitted_sections
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_one_of, check_positive_int
from .._core.warnings import warn
from ._colors import NO_DATA, type_colors
from ._panels import figure_of, new_panels
from ._tissue import draw_spots, frame, map_size, read_tissue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from .._adata.compositions import Compositions, Share, TypeSelection
    from ._colors import Palette
    from ._tissue import Crop, Tissue

# Locations beyond which pies are a few pixels wide.
_MOST_PIES = 5000
# Shares that are not seen.
_LEAST = 0.005
_OTHER_COLOR = "0.8"
# Of the distance between locations.
_PIE_SIZE = 0.92
_LEGEND_ROWS = 22


@checked
@shared_docs
def deconvolution(
    adata: AnnData | SpatialData,
    key: str = "deconv",
    *,
    share: Share = "cells",
    cell_types: TypeSelection | None = None,
    n_types: int = 20,
    kind: Literal["pies", "dominant"] | None = None,
    crop_coord: Crop | None = None,
    spatial_key: str = "spatial",
    library_key: str | None = None,
    palette: Palette | None = None,
    size: float = 1.0,
    img: bool = True,
    img_alpha: float = 1.0,
    title: str | Sequence[str] | None = None,
    ncols: int = 3,
    legend: bool = True,
    ax: Axes | None = None,
    table_key: str | None = None,
) -> list[Axes]:
    """Show what every location is made of.

    A pie per location: from the top clockwise, the type with the largest mean share
    first, in the order of the legend. Locations without counts are grey rings. Where
    `uns[spatial_key]` holds a picture of the tissue, pies are drawn on it in the true
    size of the spots.

    Parameters
    ----------
    %(key)s
    share
        Of `"cells"` or of `"rna"`.
    cell_types
        Types to show, by name or number; the rest of a pie is one grey part, "other".
        `None`: all.
    n_types
        Number of types to show at most, those with the largest mean shares; the
        others are one grey part, "other".
    kind
        `"pies"`; `"dominant"`: discs in the colour of the type with the largest
        share. `None`: pies, up to 5,000 locations in a section, and with a warning the
        dominant type beyond.
    crop_coord
        Part to show: left, top, right, bottom, in units of the coordinates, for data
        with one section.
    spatial_key
        Coordinates in `adata.obsm`.
    library_key
        Column of `adata.obs` that names the section of every location. Every section
        gets its own panel. `None`: the one of the fit, if it had one.
    palette
        Colours of the types: a mapping from names, or a sequence in the order of
        the types. `None`: `adata.uns` is looked up for `"<key>_colors"`, for those of
        the reference's column, and for those of a column with these categories, all
        as scanpy stores them; otherwise scanpy's palette.
    size
        Factor for the size of the pies.
    img, img_alpha
        Whether to draw the picture of the tissue, if there is one; its opacity.
    title
        Titles of the panels. `None`: names of sections, if there are several.
    ncols
        Panels per row.
    legend
        Whether there is a legend.
    ax
        Axes to draw on, for a single panel.
    %(table_key)s

    Returns
    -------
    One Axes per section.

    Raises
    ------
    KeyError
        If there is no deconvolution under the key, or no such type, column or
        coordinates.
    ValueError
        If the key is that of another method, or arguments do not suit.

    See Also
    --------
    nonneg.pl.factor_maps : a map per type
    nonneg.get.dominant_type : the type with the largest share

    Examples
    --------
    >>> import nonneg as nng
    >>> adata, _ = nng.datasets.spots(10, 60)
    >>> (ax,) = nng.pl.deconvolution(adata, "truth")
    >>> [text.get_text() for text in ax.figure.legends[0].get_texts()]
    ['type_2', 'type_3', 'type_1', 'type_4', 'type_0']
    """
    adata = read_table(adata, table_key)
    n_types = check_positive_int(n_types, "n_types")
    ncols = check_positive_int(ncols, "ncols")
    check_one_of(kind, ("pies", "dominant", None), "kind")
    found = read_compositions(adata, key, share)
    colors = type_colors(adata, key, found, palette)
    if library_key is None:
        library_key = fitted_sections(adata, found.entry)
    sections = read_tissue(adata, spatial_key, library_key)
    if crop_coord is not None and len(sections) > 1:
        msg = "crop_coord is for one section; select the rows of adata of a section."
        raise ValueError(msg)
    sections = [section.within(crop_coord) for section in sections]
    kind = kind or _choose(sections)
    names, shares = _shown(found, cell_types, n_types, lead=kind == "dominant")
    shades = [colors.get(name, _OTHER_COLOR) for name in names]
    titles = _titles(sections, title)
    panels = _make_panels(sections, ncols, ax)
    for panel, section, heading in zip(panels, sections, titles, strict=True):
        frame(panel, section, img=img, img_alpha=img_alpha)
        values = shares[section.rows]
        known = np.isfinite(values).all(axis=1)
        diameter = section.diameter * size
        if section.entry is None:
            diameter *= _PIE_SIZE
        if kind == "pies":
            draw_pies(panel, section.coords[known], values[known], shades, diameter)
        else:
            leading = np.array(shades, object)[values[known].argmax(axis=1)]
            draw_spots(panel, section.coords[known], diameter, facecolors=list(leading))
        if not known.all():
            style = {"facecolors": "none", "edgecolors": NO_DATA, "linewidths": 0.6}
            draw_spots(panel, section.coords[~known], 0.7 * diameter, **style)
        panel.set_title(heading, fontsize="medium")
    if legend:
        unknown = any(not found.known[section.rows].all() for section in sections)
        _add_legend(panels, names, shades, unknown=unknown, inside=ax is not None)
    return panels


def _shown(
    found: Compositions,
    selection: TypeSelection | None,
    n_types: int,
    *,
    lead: bool,
) -> tuple[list[str], NDArray[np.float64]]:
    """The types by their mean shares, and what is left.

    Where it is asked which type leads, all others together are as much as the largest
    of them.
    """
    names, shares, known = found.names, found.shares, found.known
    chosen = select_types(names, selection)
    if len(set(chosen)) < len(chosen):
        msg = f"cell_types={selection!r} names a type twice."
        raise ValueError(msg)
    mean = shares[known].mean(axis=0) if known.any() else np.zeros(len(names))
    chosen = sorted(chosen, key=lambda k: -mean[k])[:n_types]
    values = np.asarray(shares[:, chosen], np.float64)
    labels = [names[k] for k in chosen]
    if len(chosen) < len(names):
        others = np.delete(shares, chosen, axis=1)
        rest = others.max(axis=1) if lead else others.sum(axis=1)
        values = np.column_stack([values, rest])
        labels.append(_other(names, len(names) - len(chosen)))
    return labels, values


def _other(names: Sequence[str], n: int) -> str:
    label = f"other ({n})"
    return label if label not in names else f"other types ({n})"


def _choose(sections: Sequence[Tissue]) -> Literal["pies", "dominant"]:
    most = max(len(section.rows) for section in sections)
    if most <= _MOST_PIES:
        return "pies"
    warn(
        f"Pies of {most:,} locations would be too small to read: the type with the "
        "largest share is shown. Choose a part with `crop_coord`, or pass kind='pies' "
        "or kind='dominant'."
    )
    return "dominant"


def _titles(sections: Sequence[Tissue], given: str | Sequence[str] | None) -> list[str]:
    if given is None:
        return [section.name or "" for section in sections]
    titles = [given] if isinstance(given, str) else list(given)
    if len(titles) != len(sections):
        msg = f"title has {len(titles)} entries, but there are {len(sections)} panels."
        raise ValueError(msg)
    return titles


def _make_panels(sections: Sequence[Tissue], ncols: int, ax: Axes | None) -> list[Axes]:
    if ax is not None:
        if len(sections) == 1:
            return [ax]
        msg = f"ax is one Axes, but there are {len(sections)} sections. Leave ax out."
        raise ValueError(msg)
    box = (4.4, 4.4) if len(sections) == 1 else (2.6, 2.8)
    width, height = map_size(sections, box)
    # Room for the title, and for the legend once the figure is wider.
    panels = new_panels(len(sections), ncols, (width, height + 0.3))
    figure = figure_of(panels[0])
    figure.set_size_inches(figure.get_figwidth(), max(figure.get_figheight(), 1.6))
    return panels


def draw_pies(
    ax: Axes,
    coords: NDArray[np.float64],
    shares: NDArray[np.float64],
    colors: Sequence[Any],
    diameter: float,
) -> None:
    """Pies of all locations, one collection per type.

    Every part reaches from where it begins to the end of the pie, and later types are
    drawn over it: no seams open between them.
    """
    total = np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)
    end = np.cumsum(shares / total, axis=1)
    begin = np.clip(end - shares / total, 0, 1)
    n_points = 60 if len(coords) <= 1500 else 24
    step = np.linspace(0, 1, n_points)
    for k, color in enumerate(colors):
        rows = np.flatnonzero(end[:, k] - begin[:, k] > _LEAST)
        first = begin[rows, k, None]
        # What came before was too small to be drawn.
        first = np.where(first <= k * _LEAST, 0.0, first)
        angle = 2 * np.pi * (first + (1 - first) * step)
        edge = np.stack([np.sin(angle), -np.cos(angle)], axis=-1) * diameter / 2
        place = coords[rows, None]
        corners = np.concatenate([place, place + edge], axis=1)
        # As one array, which is read at once.
        parts = PolyCollection(corners, facecolors=[color], zorder=2)  # type: ignore[arg-type]
        parts.set(edgecolors="none", linewidths=0)
        ax.add_collection(parts, autolim=False)


def _add_legend(
    panels: Sequence[Axes],
    names: Sequence[str],
    colors: Sequence[Any],
    *,
    unknown: bool,
    inside: bool,
) -> None:
    handles = [
        Patch(facecolor=color, label=name)
        for name, color in zip(names, colors, strict=True)
    ]
    if unknown:
        handles.append(Patch(fill=False, edgecolor=NO_DATA, label="no counts"))
    figure = figure_of(panels[0])
    style: dict[str, Any] = {
        "fontsize": "small",
        "frameon": False,
        "handlelength": 1,
        "handleheight": 1,
        "columnspacing": 1,
        "labelspacing": 0.35,
    }
    if inside:
        panels[0].legend(
            handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), **style
        )
        return
    size = plt.rcParams["font.size"] * 0.833 * 1.5 / 72
    rows = max(int(figure.get_figheight() / size) - 1, 4)
    ncols = -(-len(handles) // min(rows, _LEGEND_ROWS))
    made = figure.legend(
        handles=handles, loc="outside right center", ncols=ncols, **style
    )
    # The legend does not take its room from the maps.
    figure.draw_without_rendering()
    width = made.get_window_extent().width / figure.dpi
    figure.set_size_inches(figure.get_figwidth() + width + 0.1, figure.get_figheight())
