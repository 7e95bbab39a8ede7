"""Patterns beside the regions that they fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap, to_rgba
from matplotlib.patches import Patch

from .._adata.anatomy import read_region_correlation
from .._adata.checks import check_key
from .._adata.coordinates import point_spacing, read_coordinates
from .._adata.grid import find_grid
from .._adata.labels import check_labelled, read_labels
from .._adata.regions import read_annotation, read_patterns
from .._adata.tables import read_table
from .._adata.views import select_factors
from .._core.arguments import checked
from .._core.docs import shared_docs
from ._colors import check_color_range, intensity_map
from ._panels import new_figure
from ._tissue import draw_spots

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from .._adata.grid import Grid
    from .._adata.views import FactorSelection

# Inches: the box of a map, and the room of names.
_MAP = 1.5
_TITLE = 0.42
# Points off their place by less, in parts of the spacing, are drawn as pixels.
_PERFECT = 0.02
# Of observations that are in none of the regions shown.
_TISSUE = "0.88"


@dataclass(frozen=True)
class _View:
    """Observations that share a pair of maps."""

    name: str
    rows: NDArray[np.intp]
    coords: NDArray[np.float64]
    """(n, 2)"""
    pixel: NDArray[np.intp] | None
    """(n, 2): column and row of an image; `None`: points."""
    spacing: tuple[float, float]
    low: NDArray[np.float64]
    """(2,): smallest coordinates of all that is shown in this direction."""
    high: NDArray[np.float64]
    shape: tuple[int, int]
    """Of the image."""

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom, top."""
        (left, top), (right, bottom) = self.low, self.high
        x, y = self.spacing[0] / 2, self.spacing[1] / 2
        return left - x, right + x, bottom + y, top - y

    def image(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values on pixels, NaN where there is no observation."""
        assert self.pixel is not None
        out = np.full(self.shape, np.nan)
        out[self.pixel[:, 1], self.pixel[:, 0]] = values
        return out


@checked
@shared_docs
def region_sets(
    adata: AnnData | SpatialData,
    key: str = "nmf",
    *,
    factors: FactorSelection | None = None,
    n_regions: int | None = None,
    spatial_key: str = "spatial",
    library_key: str | None = None,
    cmap: str | Colormap | None = None,
    vmax: str | float = "p99.5",
    table_key: str | None = None,
) -> list[Axes]:
    """Map patterns beside the set of regions that each fits best.

    A row per pattern: its map, on pixels with the outline of the set, and the regions of the set
    in colours on the tissue. A volume is shown in three planes, each through as much of
    the set as possible; other three-dimensional data are seen along their shortest axis.

    Parameters
    ----------
    %(key)s
    factors
        Patterns to show, by name or number; `None`: all.
    n_regions
        Show the best set of so many regions. `None`: the best one.
    spatial_key
        Coordinates in `obsm`.
    library_key
        Column of `obs` that names sections, which have maps of their own.
    cmap
        Colours of the pattern.
    vmax
        Value of the darkest colour, or a percentile such as `"p99.5"`.
    %(table_key)s

    Returns
    -------
    The Axes, row by row.

    Raises
    ------
    KeyError
        If :func:`nonneg.tl.region_correlation` was not called for the key, or patterns,
        regions, coordinates or sections do not exist any more.
    ValueError
        If `n_regions` is above the `max_regions` that were searched.

    See Also
    --------
    nonneg.get.region_sets : the same as a table

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> adata = nng.datasets.quilt(12, 30)
    >>> x, y = adata.obsm["spatial"].T
    >>> adata.obs["region"] = np.where(x < 6, "west", np.where(y < 6, "north", "south"))
    >>> nng.tl.region_correlation(adata, key="truth", null=None)
    >>> axes = nng.pl.region_sets(adata, "truth", factors=[0, 1])
    >>> len(axes)
    4
    """
    adata = read_table(adata, table_key)
    found = read_region_correlation(adata, key)
    patterns = read_patterns(adata, key)
    annotation = read_annotation(adata, str(found.params["region_key"]))
    chosen = select_factors([str(name) for name in found.factors], factors)
    rows = found.rows(n_regions)
    coords = read_coordinates(adata, spatial_key)
    known = annotation.codes >= 0
    insides, shown = [], []
    for k in chosen:
        names = found.names(rows[k])
        gone = [name for name in names if name not in annotation.names]
        if gone:
            msg = (
                f"adata.obs[{found.params['region_key']!r}] has no regions {gone} any "
                "more. Call `nonneg.tl.region_correlation` again."
            )
            raise KeyError(msg)
        region = np.full(adata.n_obs, np.nan)
        region[known] = -1
        for i, name in enumerate(names):
            members = annotation.members[annotation.names.index(name)]
            region[known & np.append(members, False)[annotation.codes]] = i
        insides.append(region)
        shown.append(_views(adata, coords, known, region, library_key))
    figure, axes = _figure(shown)
    panels: list[Axes] = []
    for k, row, views, region in zip(chosen, axes, shown, insides, strict=True):
        values = patterns.maps[:, k] * found.sets["sign"].iloc[rows[k]]
        low = min(0.0, float(np.nanmin(values)))
        high = _limit(values[known], vmax)
        check_color_range(low, high)
        colors = intensity_map(cmap, figure)
        names = found.names(rows[k])
        palette = [f"C{i % 10}" for i in range(max(len(names), 1))]
        for i, view in enumerate(views):
            left, right = row[2 * i], row[2 * i + 1]
            _draw(left, view, values, colors, (low, high))
            _outline(left, view, region)
            _draw_regions(right, view, region, palette)
            left.set_title(view.name, fontsize="x-small", pad=4)
            panels += [left, right]
        score = float(found.sets["score"].iloc[rows[k]])
        row[0].set_title(
            "\n".join(filter(None, [patterns.names[k], views[0].name])),
            fontsize="small",
            pad=4,
        )
        handles = [
            Patch(color=c, label=n) for c, n in zip(palette, names, strict=False)
        ]
        row[-1].legend(
            handles=handles,
            title=f"{score:.2f}",
            title_fontsize="small",
            fontsize="x-small",
            frameon=False,
            loc="center left",
            bbox_to_anchor=(1.02, 0.5),
            borderaxespad=0,
            handlelength=1,
            handleheight=1,
            alignment="left",
        )
    return panels


def _views(
    adata: AnnData,
    coords: NDArray[np.float64],
    known: NDArray[np.bool_],
    region: NDArray[np.float64],
    library_key: str | None,
) -> list[_View]:
    if library_key is not None:
        check_key(adata, "obs", library_key)
        labels = read_labels(adata, library_key)
        check_labelled(labels, f"adata.obs[{library_key!r}]")
        sections = [
            (str(name), np.flatnonzero(labels.codes == code))
            for code, name in enumerate(labels.names)
        ]
    else:
        sections = [("", np.arange(adata.n_obs))]
    views: list[_View] = []
    for name, rows in sections:
        place = coords[rows]
        grid = _pixels(place)
        axes = np.flatnonzero(np.ptp(place, axis=0) > 0).tolist()
        if len(axes) < 3:
            pair = axes if len(axes) == 2 else [0, 1]
            views.append(
                _view(name, rows, place, grid, pair=pair, some=np.arange(rows.size))
            )
        elif grid is None:
            order = np.argsort(-np.ptp(place, axis=0), kind="stable")
            pair, depth = sorted(order[:2].tolist()), int(order[2])
            front = np.argsort(place[:, depth], kind="stable")
            views.append(_view(name, rows, place, None, pair=pair, some=front))
        else:
            inside = region[rows] >= 0
            seen = inside if inside.any() else known[rows]
            # Coordinates are x, y, z. Sagittal planes have z along the page.
            for fixed, pair in ((2, [0, 1]), (1, [0, 2]), (0, [2, 1])):
                along = grid.position[:, fixed]
                plane = np.flatnonzero(along == np.bincount(along[seen]).argmax())
                value = float(place[plane, fixed].mean())
                title = f"{name} {'xyz'[fixed]} = {value:.3g}".strip()
                views.append(_view(title, rows, place, grid, pair=pair, some=plane))
    return views


def _pixels(place: NDArray[np.float64]) -> Grid | None:
    """The grid, if it is regular enough and full enough for an image."""
    grid = find_grid(place)
    if grid is None or grid.jitter > _PERFECT:
        return None
    box = np.prod(grid.position.max(axis=0) + 1.0)
    n_sites = len(np.unique(grid.position, axis=0))
    # Hexagonal arrays occupy every other place; volumes have corners.
    return grid if n_sites > 0.3 * box else None


def _view(
    name: str,
    rows: NDArray[np.intp],
    place: NDArray[np.float64],
    grid: Grid | None,
    *,
    pair: list[int],
    some: NDArray[np.intp],
) -> _View:
    """Some of the observations, seen along the other axes."""
    spacing = np.full(2, point_spacing(place))
    pixel, shape = None, (0, 0)
    if grid is not None:
        position = grid.position[:, pair]
        pixel = position[some]
        width, height = position.max(axis=0) + 1
        shape = int(height), int(width)
        known = grid.spacing[pair]
        spacing = np.where(np.isfinite(known), known, spacing)
    flat = place[:, pair]
    return _View(
        name,
        rows[some],
        flat[some],
        pixel,
        (float(spacing[0]), float(spacing[1])),
        flat.min(axis=0),
        flat.max(axis=0),
        shape,
    )


def _figure(shown: list[list[_View]]) -> tuple[Figure, NDArray[Any]]:
    """Rows of pairs of maps, as wide as what they show."""
    first = shown[0]
    sizes = np.array([[np.ptp(v.extent[:2]), np.ptp(v.extent[2:])] for v in first])
    scale = _MAP / sizes.max()
    widths = np.maximum(np.repeat(sizes[:, 0], 2) * scale, 0.4)
    high = max(float(sizes[:, 1].max() * scale), 0.6) + _TITLE
    figure, axes = new_figure(
        len(shown),
        2 * len(first),
        figsize=(float(widths.sum()) + 1.5, high * len(shown)),
        width_ratios=widths,
        layout="constrained",
        squeeze=False,
    )
    return figure, axes


def _limit(values: NDArray[np.float64], vmax: str | float) -> float:
    if not isinstance(vmax, str):
        return float(vmax)
    try:
        at = float(vmax.removeprefix("p"))
        top = float(np.nanpercentile(values, at))
    except ValueError:
        msg = f"vmax={vmax!r} must be a number, or a percentile such as 'p99'."
        raise ValueError(msg) from None
    return top if top > 0 else float(np.nanmax(values)) or 1.0


def _frame(ax: Axes, view: _View) -> None:
    left, right, bottom, top = view.extent
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    ax.set_axis_off()


def _draw(
    ax: Axes,
    view: _View,
    values: NDArray[np.float64],
    colors: Colormap,
    limits: tuple[float, float],
) -> None:
    if view.pixel is not None:
        ax.imshow(
            view.image(values[view.rows]),
            cmap=colors,
            vmin=limits[0],
            vmax=limits[1],
            extent=view.extent,
            interpolation="none",
        )
    else:
        spots = draw_spots(ax, view.coords, view.spacing[0], cmap=colors)
        spots.set_array(values[view.rows])
        spots.set_clim(*limits)
    _frame(ax, view)


def _outline(ax: Axes, view: _View, region: NDArray[np.float64]) -> None:
    """The edge of the set, where there are pixels."""
    inside = region[view.rows] >= 0
    if view.pixel is None or not inside.any():
        return
    color = plt.rcParams["text.color"]
    mask = np.nan_to_num(view.image(inside.astype(float))) > 0
    # Along the edges of pixels: every cell is drawn several times.
    fine = np.kron(np.pad(mask, 1), np.ones((4, 4)))
    left, right, bottom, top = view.extent
    dx, dy = view.spacing
    x = np.linspace(left - dx, right + dx, fine.shape[1] + 1)
    y = np.linspace(top - dy, bottom + dy, fine.shape[0] + 1)
    ax.contour(
        (x[:-1] + x[1:]) / 2,
        (y[:-1] + y[1:]) / 2,
        fine,
        levels=[0.5],
        colors=[color],
        linewidths=0.6,
    )


def _draw_regions(
    ax: Axes, view: _View, region: NDArray[np.float64], palette: list[str]
) -> None:
    codes = region[view.rows]
    colors = ListedColormap([_TISSUE, *palette])
    if view.pixel is not None:
        ax.imshow(
            view.image(codes),
            cmap=colors,
            vmin=-1.5,
            vmax=len(palette) - 0.5,
            extent=view.extent,
            interpolation="none",
        )
    else:
        shades = np.array([to_rgba(c) for c in (_TISSUE, *palette, "none")])
        index = np.where(np.isnan(codes), len(palette) + 1, codes + 1).astype(int)
        draw_spots(ax, view.coords, view.spacing[0], facecolors=shades[index])
    _frame(ax, view)
