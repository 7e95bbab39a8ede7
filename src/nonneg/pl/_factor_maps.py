"""Maps of factors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.collections import PathCollection
from matplotlib.colors import PowerNorm, to_rgba
from matplotlib.ticker import MaxNLocator

from .._adata.checks import as_numbers, check_key
from .._adata.coordinates import point_spacing, read_coordinates
from .._adata.grid import find_grid
from .._adata.labels import check_labelled, read_labels
from .._adata.read import Read, read_matrix
from .._adata.tables import of_table
from .._adata.views import fitted_sections, read_factors, select_factors
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_one_of, check_positive_int
from .._core.warnings import warn
from ..get import factors as get_factors
from ..get import top_genes as get_top_genes
from ..operators.gather import to_csr
from ._colors import NO_DATA, intensity_map
from ._panels import figure_of, fit_titles, new_panels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from numpy.typing import NDArray

    from .._adata.views import FactorSelection, Normalize

# Inches.
_MAP_SIZE = np.array([1.7, 2.4])
_SMALLEST_MAP = 0.4
_COLORBAR_WIDTH = 0.45
_TITLE_HEIGHT = 0.35
# What is shown around a single location, in units of the spacing.
_AROUND = 4
# Points off their place by less, in parts of the spacing, are drawn as squares that
# touch.
_PERFECT = 0.02


@dataclass(frozen=True)
class _Section:
    """Observations that share a map."""

    name: str | None
    """`None`: there is only one section."""
    maps: AnnData
    coords: NDArray[np.float64]
    picture: str | None
    """Name in uns of a picture of the tissue."""
    like: _Section | None = None
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


@of_table
@checked
@shared_docs
def factor_maps(
    adata: AnnData,
    key: str = "nmf",
    *,
    factors: FactorSelection | None = None,
    normalize: Normalize | None = None,
    spatial_key: str = "spatial",
    library_key: str | None = None,
    basis: str | None = None,
    ncols: int = 4,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | str = "p99.5",
    share_scale: bool = False,
    scale: Literal["linear", "sqrt"] = "linear",
    top_gene: Literal["loading", "specificity"] | None = None,
    size: float | None = None,
    colorbar: bool = True,
    ax: Axes | None = None,
    **kwargs: Any,
) -> list[Axes]:
    """Map every factor over the tissue.

    One panel per factor (and section), drawn by :func:`squidpy.pl.spatial_scatter`,
    or by :func:`scanpy.pl.embedding` on an embedding. Colours start at zero and end
    at a high percentile, so that a few extreme spots do not hide the rest; the colour
    bar shows with a tip that there are such. Panels with the same range share a bar: the
    sections of a factor, or all with `share_scale`. Points are as large as the distance
    between them: squares on a perfect grid, discs elsewhere. Where
    `uns[spatial_key]` holds a picture of the tissue, spots are drawn on it in their
    true size. Observations without a score, such as empty spots after
    :func:`nonneg.tl.deconvolve`, are grey.

    Parameters
    ----------
    %(key)s
    factors
        Factors to show, by name (`"nmf_3"`) or number; `None`: all.
    normalize
        As in :func:`nonneg.get.factors`, e.g. `"lda"` for compositions.
    spatial_key
        Coordinates in `adata.obsm`; of three axes, the first two are drawn. For volumes,
        see :func:`nonneg.pl.volume_maps`.
    library_key
        Column of `adata.obs` that names the section of every observation. Every section
        gets its own panel, with the same colour range for a factor in all of them.
        `None`: the one of the fit, if it had one.
    basis
        Embedding to draw on instead of the tissue, such as `"umap"`.
    ncols
        Panels per row. With several sections, each factor has rows of its own.
    cmap
        Colour map. `None`: `magma_r` (`magma` on a dark figure), or `RdBu_r` around
        zero where scores are negative.
    vmin, vmax
        Colour range, the same for all panels, or a percentile of each factor such as
        `"p99"` for `vmax`. `vmin=None`: 0, or `-vmax` where scores are negative.
    share_scale
        One colour range for all factors, so that maps can be compared, instead of one
        for each. Genes keep their own.
    scale
        `"sqrt"`: colours follow square roots of the scores, so that low values can be
        told apart beside a few high ones; the colour bar has the scores themselves.
    top_gene
        Beneath every factor, map the values of its leading gene, by
        `"loading"` or by `"specificity"` (see :func:`nonneg.get.top_genes`), from the
        matrix of the fit. `None`: factors only.
    size
        Area of a point in square points. `None`: from the distance between points.
        With a picture of the tissue: a factor for the true size.
    colorbar
        Whether panels have a colour bar.
    ax
        Axes to draw on, for a single panel.
    kwargs
        Passed to :func:`squidpy.pl.spatial_scatter` or :func:`scanpy.pl.embedding`,
        e.g. `title`, `img=False`, `crop_coord`, `scalebar_dx`, `alpha`.

    Returns
    -------
    One Axes per panel: factor by factor, and within a factor section by section. With
    `top_gene`, in the order of the rows: factors, and then their genes.

    Raises
    ------
    KeyError
        If the factorization, a factor, the coordinates or the sections do not exist.
    TypeError
        If an argument of squidpy or scanpy has no meaning for several panels.
    ValueError
        If `ax` is given for several panels, or arguments are not valid.

    See Also
    --------
    nonneg.get.image : the map as an array

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.quilt(12, 30)
    >>> axes = nng.pl.factor_maps(adata, "truth")
    >>> [ax.get_title() for ax in axes]
    ['truth_0', 'truth_1', 'truth_2', 'truth_3']
    >>> axes = nng.pl.factor_maps(
    ...     adata, "truth", factors=[0, 1], top_gene="loading", scale="sqrt"
    ... )
    >>> [ax.get_title() for ax in axes]
    ['truth_0', 'truth_1', 'gene_5', 'gene_3']
    """
    check_one_of(scale, ("linear", "sqrt"), "scale")
    check_one_of(top_gene, ("loading", "specificity", None), "top_gene")
    ncols = check_positive_int(ncols, "ncols")
    _check_passed(kwargs)
    maps = get_factors(adata, key, normalize=normalize)
    chosen = select_factors(list(maps.var_names), factors)
    genes: list[int] = []
    if top_gene is not None:
        maps, genes = _with_genes(adata, key, maps, chosen, top_gene)
    if basis is None:
        if library_key is None:
            library_key = fitted_sections(adata, read_factors(adata, key).entry)
        sections = _split(maps, spatial_key, library_key)
    else:
        basis_key = _find_basis(maps, basis)
        points = as_numbers(maps.obsm[basis_key], f"adata.obsm[{basis_key!r}]")
        maps.obsm[basis_key] = points
        coords = points[:, :2]
        sections = [_Section(None, maps, coords, None)]
    scores = np.asarray(maps.X)
    ranges = _ranges(scores, chosen, genes, vmin, vmax, share_scale=share_scale)
    for i, (low, high) in ranges.items():
        _check_range(maps.var_names[i], low, high, scale, given=vmin is not None)
    # Rows of panels: one value in all sections, or several factors and then their genes.
    at_a_time = ncols if len(sections) == 1 else 1
    places = [
        (i, section)
        for start in range(0, len(chosen), at_a_time)
        for shown in (chosen, genes)
        for i in shown[start : start + at_a_time]
        for section in sections
    ]
    titles = _titles(maps, places, kwargs.pop("title", None))
    panels = _make_panels(len(chosen), sections, ncols, ax, paired=bool(genes))
    for panel, (i, section), title in zip(panels, places, titles, strict=True):
        low, high = ranges[i]
        style: dict[str, Any] = {
            "color": maps.var_names[i],
            "cmap": _color_map(cmap, low, panel),
            **_limits(low, high, scale),
            "size": size,
            "title": title,
            "frameon": False,
            "na_color": to_rgba(NO_DATA),
            "ax": panel,
            **kwargs,
        }
        if basis is not None:
            _draw_embedding(section, basis, style)
        elif section.picture is not None and style.get("img", True) is not False:
            _draw_picture(section, spatial_key, style)
        else:
            _draw_points(section, spatial_key, style)
        panel.title.set_fontsize("medium")
    if colorbar:
        _add_colorbars(panels, [i for i, _ in places], ranges, scores, genes)
    if ax is None:
        fit_titles(panels)
    if basis is None and size is None:
        _fill(panels, [section for _, section in places])
    return panels


# Of squidpy and scanpy, which would act on one panel of several.
_NOT_TAKEN = {
    "color": "choose `factors` instead",
    "save": "use `axes[0].figure.savefig`",
    "show": "figures are never shown, but returned",
    "figsize": "use `axes[0].figure.set_size_inches`, or draw one factor on an `ax`",
    "return_ax": "Axes are always returned",
}


def _check_passed(kwargs: Mapping[str, Any]) -> None:
    for name, instead in _NOT_TAKEN.items():
        if name in kwargs:
            msg = f"pl.factor_maps does not take {name}={kwargs[name]!r}: {instead}."
            raise TypeError(msg)


def _find_basis(maps: AnnData, basis: str) -> str:
    """Key of an embedding, by scanpy's rule."""
    if basis in maps.obsm:
        return basis
    check_key(maps, "obsm", f"X_{basis}")
    return f"X_{basis}"


def _split(maps: AnnData, spatial_key: str, library_key: str | None) -> list[_Section]:
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
        return [_Section(None, maps, coords, next(iter(pictures), None))]
    labels = read_labels(maps, library_key)
    check_labelled(labels, f"adata.obs[{library_key!r}]")
    sections = []
    for code, name in enumerate(labels.names):
        rows = labels.codes == code
        picture = name if name in pictures else None
        # Not views, to which squidpy would write.
        sections.append(_Section(name, maps[rows].copy(), coords[rows], picture))
    several = [section for section in sections if not section.is_one_place]
    largest = max(several, key=lambda section: section.maps.n_obs, default=None)
    return [replace(section, like=largest) for section in sections]


def _titles(
    maps: AnnData,
    places: Sequence[tuple[int, _Section]],
    given: str | Sequence[str] | None,
) -> list[str]:
    if given is None:
        return [
            " | ".join(filter(None, (maps.var_names[i], section.name)))
            for i, section in places
        ]
    titles = [given] if isinstance(given, str) else list(given)
    if len(titles) != len(places):
        msg = f"title has {len(titles)} entries, but there are {len(places)} panels."
        raise ValueError(msg)
    return titles


def _make_panels(
    n_factors: int,
    sections: Sequence[_Section],
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


def _with_genes(
    adata: AnnData,
    key: str,
    maps: AnnData,
    chosen: Sequence[int],
    by: Literal["loading", "specificity"],
) -> tuple[AnnData, list[int]]:
    """Maps with columns for the leading genes, and their positions."""
    params = read_factors(adata, key).entry.params
    if params.get("obsm") is not None:
        msg = (
            f"key={key!r} was fitted to adata.obsm[{params['obsm']!r}], whose columns are "
            "no genes. Leave top_gene out."
        )
        raise ValueError(msg)
    leading = get_top_genes(adata, 1, key=key, method=by).set_index("factor")["gene"]
    names = [str(maps.var_names[i]) for i in chosen]
    if empty := [name for name in names if name not in leading.index]:
        msg = f"{empty[0]!r} has no gene with a positive loading. Choose other factors."
        raise ValueError(msg)
    genes = list(dict.fromkeys(leading[names]))
    layer = params.get("layer")
    source = read_matrix(adata, Read(layer, mask_var=genes), on_cluster=False)
    assert source.mask is not None
    values = to_csr(source.op).toarray()
    columns = adata.var_names[source.mask].tolist()
    both = AnnData(
        np.hstack([np.asarray(maps.X), values]),
        obs=cast("pd.DataFrame", maps.obs),
        var=pd.DataFrame(index=[*maps.var_names, *columns]),
        uns=dict(maps.uns),
    )
    both.obsm.update(maps.obsm)
    return both, [maps.n_vars + columns.index(leading[name]) for name in names]


def _limits(low: float, high: float, scale: str) -> dict[str, Any]:
    """Colour range, as arguments."""
    if scale == "sqrt":
        return {"norm": PowerNorm(0.5, vmin=low, vmax=high)}
    return {"vmin": low, "vmax": high}


def _ranges(
    scores: NDArray[np.floating[Any]],
    chosen: Sequence[int],
    genes: Sequence[int],
    vmin: float | None,
    vmax: float | str,
    *,
    share_scale: bool,
) -> dict[int, tuple[float, float]]:
    """Colour range of every factor and gene."""
    ranges = {i: _color_range(scores[:, i], vmin, vmax) for i in chosen}
    if share_scale:
        low = min(low for low, _ in ranges.values())
        high = max(high for _, high in ranges.values())
        ranges = dict.fromkeys(chosen, (low, high))
    # Numbers that are given are those of scores.
    of_genes = vmax if isinstance(vmax, str) else "p99.5"
    return ranges | {i: _color_range(scores[:, i], None, of_genes) for i in genes}


def _check_range(
    name: str, low: float, high: float, scale: str, *, given: bool
) -> None:
    """Raise unless colours go up, and where they are of square roots, from zero."""
    if not low <= high:
        msg = (
            f"Colours of {name!r} would go from vmin={low:g} to vmax={high:g}. Give a "
            "lower vmin, or a higher vmax."
        )
        raise ValueError(msg)
    if scale == "sqrt" and low < 0:
        what = f"vmin={low:g}" if given else f"{name!r} has negative ones"
        msg = f"scale='sqrt' needs values of at least 0, but {what}."
        raise ValueError(msg)


def _color_range(
    scores: NDArray[np.floating[Any]], vmin: float | None, vmax: float | str
) -> tuple[float, float]:
    signed = np.nanmin(scores) < 0
    if isinstance(vmax, str):
        sizes = np.abs(scores)
        # Of a factor that is present in very few places the percentile is zero, and of
        # one that is nowhere the largest score is.
        vmax = _percentile(sizes, vmax) or float(np.nanmax(sizes)) or 1.0
    if vmin is None:
        vmin = -vmax if signed else 0.0
    return vmin, vmax


def _percentile(values: NDArray[np.floating[Any]], given: str) -> float:
    try:
        return float(np.nanpercentile(values, float(given.removeprefix("p"))))
    except ValueError:
        msg = f"vmax={given!r} must be a number, or a percentile such as 'p99'."
        raise ValueError(msg) from None


def _color_map(given: str | Colormap | None, low: float, panel: Axes) -> Colormap:
    # A copy: squidpy sets the colour of missing values on it.
    if low < 0:
        return plt.get_cmap(given or "RdBu_r").copy()
    return intensity_map(given, figure_of(panel)).copy()


def _draw_points(section: _Section, spatial_key: str, style: dict[str, Any]) -> None:
    import squidpy as sq

    defaults = {
        "shape": None,
        # Without a name squidpy logs that there is none.
        "library_id": [""],
        "marker": "s" if section.is_full_grid else "o",
        "linewidths": 0,
    }
    sq.pl.spatial_scatter(
        section.maps, spatial_key=spatial_key, colorbar=False, **defaults | style
    )


def _draw_picture(section: _Section, spatial_key: str, style: dict[str, Any]) -> None:
    import squidpy as sq

    sq.pl.spatial_scatter(
        section.maps,
        spatial_key=spatial_key,
        colorbar=False,
        **{"library_id": section.picture} | style,
    )


def _draw_embedding(section: _Section, basis: str, style: dict[str, Any]) -> None:
    import scanpy as sc

    if style["size"] is None:
        # scanpy's rule is for panels of 4 inches.
        panel = style["ax"]
        width = panel.get_window_extent().width / figure_of(panel).dpi
        style["size"] = 120_000 / section.maps.n_obs * (width / 4) ** 2
    sc.pl.embedding(section.maps, basis, show=False, colorbar_loc=None, **style)


def _add_colorbars(
    panels: Sequence[Axes],
    factors: Sequence[int],
    ranges: Mapping[int, tuple[float, float]],
    scores: NDArray[np.floating[Any]],
    genes: Sequence[int],
) -> None:
    """Draw a bar for all panels if they have one range, and one per factor if not."""
    one_range = not genes and len({ranges[i] for i in factors}) == 1
    shared: dict[int, list[int]] = {}
    for place, i in enumerate(factors):
        shared.setdefault(factors[0] if one_range else i, []).append(place)
    for first, places in shared.items():
        low, high = ranges[first]
        drawn = scores[:, [factors[place] for place in places]]
        outside = 2 * (np.nanmin(drawn) < low) + (np.nanmax(drawn) > high)
        with_bar = [panels[place] for place in places]
        single = len(places) == 1
        bar = figure_of(panels[0]).colorbar(
            with_bar[0].collections[-1],
            ax=with_bar[0] if single else with_bar,
            extend=("neither", "max", "min", "both")[outside],
            fraction=0.08 if single else 0.03,
            pad=0.02,
            aspect=12,
            shrink=0.6,
            ticks=MaxNLocator(3, min_n_ticks=2),
        )
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize="x-small", length=0, pad=2)
        name = "expression" if first in genes else "score"
        bar.set_label(name, fontsize="x-small", labelpad=2)


def _fill(panels: Sequence[Axes], sections: Sequence[_Section]) -> None:
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
