"""Maps of the correlation with a pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._adata.tables import read_table
from .._adata.traces import of_result, read_result
from .._adata.views import read_factors, read_side
from .._adata.volume import read_volume
from .._core.arguments import checked
from .._core.docs import shared_docs
from ._colors import NO_DATA
from ._panels import figure_of, new_panels

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from spatialdata import SpatialData

_HINT = "Call `nonneg.tl.seed_correlation` again."


@of_result("seed_correlation")
@checked
@shared_docs
def seed_correlation(
    adata: AnnData | SpatialData,
    key: str = "svd",
    *,
    ncols: int = 4,
    limit: float = 1.0,
    cmap: str | Colormap = "RdBu_r",
    table_key: str | None = None,
) -> list[Axes]:
    """Show maps of the correlation of seeds with all pixels.

    A cross marks the seed. Of volumes, the plane of the seed is shown.

    Parameters
    ----------
    %(key)s
    ncols
        Panels in a row.
    limit
        Colours go from minus this to this correlation.
    cmap
        Colours.
    %(table_key)s

    Returns
    -------
    Axes of the maps.

    Raises
    ------
    KeyError
        If :func:`nonneg.tl.seed_correlation` was not called for the key, or pixels do
        not know their place in the image.

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> adata = nng.datasets.quilt(12, 40)
    >>> adata.obs["voxel"] = np.arange(144)
    >>> adata.uns["volume"] = {
    ...     "shape": np.array([12, 12]),
    ...     "spacing": np.ones(2),
    ...     "origin": np.zeros(2),
    ... }
    >>> nng.tl.seed_correlation(adata, [(2, 2), (8, 8)], key="truth")
    >>> axes = nng.pl.seed_correlation(adata, "truth")
    >>> len(axes)
    2
    """
    adata = read_table(adata, table_key)
    if not 0 < limit < np.inf:
        msg = f"limit={limit!r} must be above 0 and finite."
        raise ValueError(msg)
    table = read_result(adata, key, "seed_correlation", {"seeds"}).table(
        "seeds", text=["seed"], numbers=["pixel"]
    )
    found = read_factors(adata, key)
    maps = read_side(adata, found, "obsm", "seed_correlation", len(table), hint=_HINT)
    volume = read_volume(adata)
    shape, index = volume.box.shape, volume.index
    height, width = shape[-2:]
    panels = new_panels(maps.shape[1], ncols, (2.4, 0.3 + 2.2 * height / width))
    picture = None
    rows = [
        _row(adata, name, int(pixel))
        for name, pixel in zip(table["seed"], table["pixel"], strict=True)
    ]
    for ax, values, row, seed in zip(panels, maps.T, rows, table["seed"], strict=True):
        at = index[row]
        plane = (index[:, :-2] == at[:-2]).all(axis=1)
        image = np.full((height, width), np.nan)
        image[tuple(index[plane, -2:].T)] = values[plane]
        ax.set_facecolor(NO_DATA)
        picture = ax.imshow(
            image, cmap=cmap, vmin=-limit, vmax=limit, interpolation="none"
        )
        ax.plot(at[-1], at[-2], "+", color="black", ms=9, mew=1.5)
        ax.set_title(f"seed {seed}", fontsize="small")
        ax.set_xticks([])
        ax.set_yticks([])
    assert picture is not None
    bar = figure_of(panels[0]).colorbar(
        picture,
        ax=panels,
        fraction=0.03,
        pad=0.02,
        shrink=0.8,
        ticks=[-limit, 0, limit],
    )
    bar.outline.set_visible(False)
    bar.set_label("correlation", fontsize="small")
    bar.ax.tick_params(labelsize="x-small", length=0)
    return panels


def _row(adata: AnnData, name: str, pixel: int) -> int:
    """Where a seed is now: observations may have been selected or sorted since."""
    found = np.flatnonzero(adata.obs_names == name)
    if pixel in found:
        return pixel
    if found.size == 1:
        return int(found[0])
    msg = (
        f"The seed {name!r} is not among the {adata.n_obs} pixels. Select pixels before "
        "`nonneg.tl.seed_correlation`, or call it again."
    )
    raise ValueError(msg)
