"""Factors of a volume, in projections or slices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import matplotlib.pyplot as plt
import numpy as np

from .._adata.tables import read_table
from .._adata.views import read_factors, select_factors
from .._adata.volume import PLANES, read_volume
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_one_of, check_positive_int
from ..get import image
from ._panels import figure_of, new_panels

if TYPE_CHECKING:
    from typing import Any

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from .._adata.views import FactorSelection
    from .._adata.volume import Box

# Inches that the longest side of a picture takes.
_SIDE = 1.5


@checked
@shared_docs
def volume_maps(
    adata: AnnData | SpatialData,
    key: str = "nmf",
    *,
    factors: FactorSelection | None = None,
    view: Literal["projections", "slices"] = "projections",
    plane: Literal["coronal", "horizontal", "sagittal"] = "coronal",
    n_slices: int = 6,
    cmap: str | Colormap = "magma",
    table_key: str | None = None,
) -> list[Axes]:
    """Show the factors of a volume from three sides, or in slices.

    A row per factor, each from 0 to its maximum. Projections show the largest value
    along the line of sight: where a pattern is, and nothing of what lies behind it.
    Slices are evenly spread over the planes that have observations, and show values as
    they are.

    Parameters
    ----------
    %(key)s
    factors
        Factors to show, by name or number. `None`: all.
    view
        `"projections"` on three planes, or `"slices"`.
    plane
        Plane of slices.
    n_slices
        Number of slices.
    cmap
        Colour map.
    %(table_key)s

    Returns
    -------
    The Axes, by rows.

    Raises
    ------
    KeyError
        If there is no factorization under the key, or observations are no voxels.
    ValueError
        If an argument does not suit.

    See Also
    --------
    nonneg.pl.factor_merge : three factors in one picture
    nonneg.pl.factor_maps : for sections

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.atlas_expression((12, 9, 8), 40, 3)
    >>> axes = nng.pl.volume_maps(adata, "truth", factors=[0, 1])
    >>> len(axes)
    6
    """
    adata = read_table(adata, table_key)
    check_one_of(view, ("projections", "slices"), "view")
    check_one_of(plane, tuple(PLANES), "plane")
    n_slices = check_positive_int(n_slices, "n_slices")
    found = read_factors(adata, key)
    chosen = select_factors(found.names, factors)
    volume = read_volume(adata)
    if len(volume.box.shape) != 3:
        msg = "This box has two axes: use `nonneg.pl.factor_maps`."
        raise ValueError(msg)
    rows = []
    for k in chosen:
        box = image(adata, found.scores[:, k])
        views = (
            [project(box, name) for name in PLANES]
            if view == "projections"
            else slices(box, plane, n_slices)
        )
        rows.append(views)
    titles = list(PLANES) if view == "projections" else None
    kinds = list(PLANES) if view == "projections" else [plane] * len(rows[0])
    ncols = len(rows[0])
    heights = max(extent(volume.box, kind)[0] for kind in kinds)
    widths = max(extent(volume.box, kind)[1] for kind in kinds)
    unit = _SIDE / max(heights, widths)
    panels = new_panels(
        ncols * len(rows), ncols, (widths * unit + 0.1, heights * unit + 0.12)
    )
    colors = plt.get_cmap(cmap).with_extremes(bad=(0, 0, 0, 0))
    for i, (k, views) in enumerate(zip(chosen, rows, strict=True)):
        top = max(float(np.nanmax(found.scores[:, k])), 1e-30)
        for j, (picture, kind) in enumerate(zip(views, kinds, strict=True)):
            ax = panels[i * ncols + j]
            show(ax, picture / top, volume.box, kind, colors)
            if i == 0 and titles:
                ax.set_title(titles[j], fontsize="small")
        panels[i * ncols].set_ylabel(found.names[k], fontsize="small")
    bar = figure_of(panels[0]).colorbar(
        panels[0].images[0],
        ax=panels,
        fraction=0.02,
        pad=0.01,
        aspect=16,
        shrink=min(1.0, 1.5 / len(rows) + 0.3),
        ticks=[0, 1],
    )
    bar.set_label("weight, of the factor's maximum", fontsize="small")
    bar.ax.tick_params(labelsize="x-small", length=0)
    bar.outline.set_visible(False)
    return panels


def project(box: NDArray[np.floating[Any]], plane: str) -> NDArray[np.floating[Any]]:
    """The largest value along the line of sight; NaN where it meets no voxel."""
    axis = PLANES[plane]
    filled = np.where(np.isnan(box), -np.inf, box).max(axis)
    return oriented(np.where(np.isinf(filled), np.nan, filled), plane)


def slices(
    box: NDArray[np.floating[Any]], plane: str, n_slices: int
) -> list[NDArray[np.floating[Any]]]:
    """Planes spread evenly over those that have voxels."""
    axis = PLANES[plane]
    others = tuple(i for i in range(3) if i != axis)
    known = np.flatnonzero(np.isfinite(box).any(axis=others))
    steps = (np.arange(n_slices) + 0.5) / n_slices * known.size
    at = known[np.unique(steps.astype(int))]
    return [oriented(np.take(box, i, axis), plane) for i in at]


def oriented(picture: NDArray[Any], plane: str) -> NDArray[Any]:
    """With y downwards, or z where it is not seen."""
    return np.swapaxes(picture, 0, 1) if plane == "sagittal" else picture


def extent(box: Box, plane: str) -> tuple[float, float]:
    """Height and width of a picture."""
    lengths = np.delete(box.extent, PLANES[plane])
    height, width = lengths[::-1] if plane == "sagittal" else lengths
    return float(height), float(width)


def show(
    ax: Axes,
    picture: NDArray[Any],
    box: Box,
    plane: str,
    cmap: Colormap | None = None,
) -> None:
    """Draw one picture in the proportions of the box."""
    height, width = extent(box, plane)
    ax.imshow(
        picture,
        cmap=cmap,
        vmin=0,
        vmax=1,
        interpolation="none",
        extent=(0, width, height, 0),
    )
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
