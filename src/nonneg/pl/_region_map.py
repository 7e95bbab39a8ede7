"""Numbers of regions on the atlas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import distance_transform_edt
from scipy.ndimage import label as label_parts

from .._adata.checks import as_numbers
from .._adata.footprints import read_parcellation
from .._adata.tables import read_table
from .._core.arguments import checked
from .._core.docs import shared_docs
from ._colors import NO_DATA, check_color_range
from ._outlines import bare, check_image, draw_outlines, filled, scale_bar
from ._panels import figure_of

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.image import AxesImage
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from .._adata.footprints import Parcellation

# Width of a letter relative to its height; points of the largest and smallest numbers.
_LETTER, _LARGEST, _SMALLEST = 0.6, 7.0, 3.0


@checked
@shared_docs
def region_map(
    adata: AnnData | SpatialData,
    values: Mapping[str, float] | pd.Series[Any],
    *,
    label: str | None = None,
    region_key: str = "region",
    hemisphere_key: str | None = "hemisphere",
    cmap: str | Colormap = "viridis",
    vmin: float | None = None,
    vmax: float | None = None,
    annotate: bool = False,
    ax: Axes | None = None,
    table_key: str | None = None,
) -> Axes:
    """Draw one number per region on the atlas: accuracy, R², number of components.

    Parameters
    ----------
    adata
        Annotated data with pixels and regions.
    values
        A number for each region, by name: a series such as
        `adata.uns["locanmf"]["regions"]["rank"]`, or a mapping. Names are those of
        :func:`nonneg.tl.locanmf`, with the hemisphere; those without it are of both.
        Regions without a number are grey.
    label
        What the numbers are, for the colour bar. `None`: name of the series.
    region_key
        Column of `adata.obs` with regions.
    hemisphere_key
        Column of `adata.obs` with hemispheres.
    cmap
        Colours of numbers.
    vmin
        Number of the first colour; `None`: the smallest.
    vmax
        Number of the last colour; `None`: the largest.
    annotate
        Write the numbers into the regions, in both parts of those that have two. Regions
        that are too small for it have none.
    ax
        Axes to draw on.
    %(table_key)s

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        If values name regions that are not there, or there is no such column.
    ValueError
        If there is no finite number, or pixels are of a volume.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.widefield(
    ...     form="svd", shape=(40, 48), n_regions=2, n_frames=50
    ... )
    >>> ax = nng.pl.region_map(adata, {"region_1_left": 0.3, "region_2_right": 0.8})
    >>> len(ax.images)
    2
    """
    adata = read_table(adata, table_key)
    given = pd.Series(dict(values) if isinstance(values, Mapping) else values)
    of_each = as_numbers(given, "values")
    numbers = dict(zip(given.index.astype(str), of_each.tolist(), strict=True))
    parcels = read_parcellation(adata, region_key, hemisphere_key)
    check_image(parcels)
    known = set(parcels.names)
    both = {name.removesuffix("_left").removesuffix("_right") for name in known}
    unknown = [name for name in numbers if name not in known | both]
    if unknown:
        msg = f"There are no regions {unknown[:5]}; there are {parcels.names[:10]} …"
        raise KeyError(msg)
    of_regions = np.array(
        [
            numbers.get(
                name,
                numbers.get(name.removesuffix("_left").removesuffix("_right"), np.nan),
            )
            for name in parcels.names
        ]
    )
    if not np.isfinite(of_regions).any():
        msg = "values hold no finite number of a region."
        raise ValueError(msg)
    image = filled(parcels, np.append(of_regions, np.nan)[parcels.codes], np.nan)
    inside = filled(parcels, np.where(parcels.codes >= 0, 1.0, np.nan), np.nan)
    if ax is None:
        _, ax = plt.subplots(figsize=(4.4, 4), layout="constrained")
    ax.imshow(
        inside,
        cmap=ListedColormap([NO_DATA]),
        interpolation="none",
    )
    counts = bool((given == given.round()).all())
    low, high = np.nanmin(of_regions), np.nanmax(of_regions)
    if np.isclose(low, high, rtol=1e-9):
        # The same number everywhere, which rounding would take for a range.
        low, high = (
            low - 0.5 if counts else 0.9 * low,
            high + 0.5 if counts else 1.1 * high,
        )
    low, high = low if vmin is None else vmin, high if vmax is None else vmax
    check_color_range(low, high)
    drawn = ax.imshow(
        image,
        cmap=cmap,
        vmin=low,
        vmax=high,
        interpolation="none",
    )
    draw_outlines(ax, parcels, "white", 0.6)
    bare(ax)
    scale_bar(ax, parcels.volume)
    bar = figure_of(ax).colorbar(drawn, ax=ax, fraction=0.04, pad=0.02, shrink=0.6)
    if counts:
        bar.locator = MaxNLocator(integer=True)
        bar.update_ticks()
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize="x-small", length=0)
    name = label if label is not None else getattr(values, "name", None)
    if name:
        bar.set_label(str(name), fontsize="small")
    if annotate:
        _write_numbers(ax, drawn, parcels, of_regions)
    return ax


def _write_numbers(
    ax: Axes, drawn: AxesImage, parcels: Parcellation, of_regions: NDArray[np.float64]
) -> None:
    """Numbers in the widest place of each part of a region, as large as they fit."""
    figure = figure_of(ax)
    figure.draw_without_rendering()
    labels = filled(parcels, parcels.codes, -1)
    points = ax.get_window_extent().width / figure.dpi * 72 / labels.shape[1]
    for j in np.flatnonzero(np.isfinite(of_regions)):
        text = f"{of_regions[j]:.3g}"
        parts, n_parts = label_parts(labels == j)
        for part in range(1, n_parts + 1):
            depth = distance_transform_edt(parts == part)
            row, column = np.unravel_index(depth.argmax(), depth.shape)
            room = 2 * float(depth[row, column]) * points
            size = min(room / np.hypot(_LETTER * len(text), 1), _LARGEST)
            if size < _SMALLEST:
                continue
            shade = drawn.cmap(drawn.norm(of_regions[j]))
            ax.text(
                float(column), float(row), text,
                ha="center", va="center", fontsize=size,
                color="black" if np.mean(shade[:3]) > 0.5 else "white",
            )  # fmt: skip
