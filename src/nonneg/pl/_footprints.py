"""Footprints on the atlas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb

from .._adata.footprints import read_components, read_parcellation
from .._adata.labels import as_text
from .._adata.tables import read_table
from .._adata.views import select_factors
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.text import counted
from ._colors import strong_palette
from ._outlines import bare, check_image, draw_outlines, filled, scale_bar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from .._adata.views import FactorSelection


@checked
@shared_docs
def footprints(
    adata: AnnData | SpatialData,
    key: str = "locanmf",
    *,
    components: FactorSelection | None = None,
    regions: Sequence[str] | None = None,
    region_key: str = "region",
    hemisphere_key: str | None = "hemisphere",
    ax: Axes | None = None,
    table_key: str | None = None,
) -> Axes:
    """Show all footprints in one image, coloured by region.

    The colour of a pixel is the mean of those of the components there, and its strength
    their largest value. Lines are the borders of regions.

    Parameters
    ----------
    %(key)s
    components
        Components to show, by name or number; `None`: all.
    regions
        Regions whose components are shown; `None`: all.
    region_key
        Column of `adata.obs` with regions, for the borders.
    hemisphere_key
        Column of `adata.obs` with hemispheres.
    ax
        Axes to draw on.
    %(table_key)s

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        If there is no such factorization, component, region or column.
    ValueError
        If components have no regions, there is none to show, or pixels are of a volume.

    See Also
    --------
    nonneg.pl.region_map : numbers of regions

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.widefield(
    ...     form="svd", shape=(40, 48), n_regions=2, n_frames=50
    ... )
    >>> ax = nng.pl.footprints(adata, "truth")
    >>> ax.get_title()
    '6 components of 4 regions'
    """
    adata = read_table(adata, table_key)
    found, entry = read_components(adata, key)
    parcels = read_parcellation(adata, region_key, hemisphere_key)
    check_image(parcels)
    of_components = as_text(entry.region)
    chosen = choose_components(found.names, of_components, components, regions)
    a = np.maximum(found.scores[:, chosen], 0)
    colors = region_colors(of_components)
    of_chosen = np.array([colors[name] for name in of_components[chosen]])
    if ax is None:
        _, ax = plt.subplots(figsize=(4, 4), layout="constrained")
    ax.imshow(coloured(parcels, a, of_chosen), interpolation="none")
    draw_outlines(ax, parcels, "0.55", 0.5)
    bare(ax)
    scale_bar(ax, parcels.volume)
    n_regions = len(set(of_components[chosen]))
    ax.set_title(
        f"{counted(len(chosen), 'component')} of {counted(n_regions, 'region')}",
        fontsize="medium",
    )
    return ax


def choose_components(
    names: Sequence[str],
    of_components: NDArray[Any],
    components: FactorSelection | None,
    regions: Sequence[str] | None,
) -> list[int]:
    chosen = select_factors(names, components)
    if regions is None:
        return _not_empty(chosen)
    known = list(dict.fromkeys(of_components))
    unknown = [name for name in regions if name not in known]
    if unknown:
        msg = f"There are no components of {unknown}; there are some of {known}."
        raise KeyError(msg)
    return _not_empty([k for k in chosen if of_components[k] in set(regions)])


def _not_empty(chosen: list[int]) -> list[int]:
    if not chosen:
        msg = "There is no component to show: components and regions leave none."
        raise ValueError(msg)
    return chosen


def region_colors(of_components: NDArray[Any]) -> dict[str, tuple[float, float, float]]:
    """A colour for each region; those of two hemispheres have the same."""
    bases = {
        name: str(name).removesuffix("_left").removesuffix("_right")
        for name in dict.fromkeys(of_components)
    }
    palette = strong_palette(len(set(bases.values())))
    color = dict(zip(dict.fromkeys(bases.values()), palette, strict=True))
    return {name: to_rgb(color[base]) for name, base in bases.items()}


def coloured(
    parcels: Any, a: NDArray[Any], colors: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Image of footprints: mean colours, as strong as the largest value."""
    total = a.sum(axis=1, keepdims=True)
    mean = (a @ colors.reshape(-1, 3)) / np.maximum(total, 1e-30)
    strength = a.max(axis=1, initial=0, keepdims=True).clip(max=1)
    return filled(parcels, np.hstack([mean, strength]), 0.0).clip(0, 1)
