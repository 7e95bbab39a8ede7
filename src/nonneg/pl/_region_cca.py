"""Map of canonical correlations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import matplotlib.pyplot as plt
import numpy as np

from .._adata.tables import read_table
from .._adata.traces import of_result, read_result
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_one_of
from ._colors import NO_DATA
from ._panels import figure_of, new_figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from spatialdata import SpatialData

_CELL = 0.22
_LABELS = {
    "r": "top canonical correlation",
    "r_held_out": "canonical correlation, held out",
    "excess": "canonical correlation above shifted",
}


@of_result("region_cca")
@checked
@shared_docs
def region_cca(
    adata: AnnData | SpatialData,
    key: str = "locanmf",
    *,
    values: Literal["r", "r_held_out", "excess"] = "r_held_out",
    regions: Sequence[str] | None = None,
    order: Literal["stored", "cluster"] = "stored",
    alpha: float = 0.05,
    cmap: str | Colormap | None = None,
    ax: Axes | None = None,
    table_key: str | None = None,
) -> Axes:
    """Show the map of canonical correlations between regions.

    Dots mark pairs whose correlation is *not* significant after correction: a map
    without dots would be taken at face value, and independent regions are far from zero
    in-sample.

    Parameters
    ----------
    %(key)s
    values
        `"r_held_out"`: in stretches that weights were not fitted to. `"r"`: in-sample.
        `"excess"`: in-sample less the mean of circular shifts.
    regions
        Regions to show, in this order. `None`: all.
    order
        `"stored"`: as they are stored. `"cluster"`: neighbours are alike (average
        linkage).
    alpha
        Level of the adjusted p-value.
    cmap
        Colours. `None`: from -1 to 1 for held-out values, from 0 for others.
    ax
        Axes to draw on.
    %(table_key)s

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        If :func:`nonneg.tl.region_cca` was not called for the key, or there is no such
        region.

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> adata = nng.datasets.quilt(12, 400)
    >>> adata.var["time"] = np.arange(400) / 10
    >>> adata.uns["truth"]["region"] = np.array(["VISp", "VISp", "MOs", "RSP"])
    >>> nng.tl.region_cca(adata, key="truth", n_shifts=100)
    >>> ax = nng.pl.region_cca(adata, "truth")
    >>> len(ax.get_xticks())
    3
    """
    adata = read_table(adata, table_key)
    check_one_of(values, _LABELS, "values")
    check_one_of(order, ("stored", "cluster"), "order")
    found = read_result(adata, key, "region_cca", {"r", "r_held_out", "p_adjusted"})
    names = [str(name) for name in np.ravel(found["regions"])]
    chosen = list(range(len(names)))
    if regions is not None:
        unknown = [name for name in regions if name not in names]
        if unknown:
            msg = f"There are no regions {unknown}; there are {names[:10]} …"
            raise KeyError(msg)
        chosen = [names.index(name) for name in regions]
    if not chosen:
        msg = f"regions is empty; there are {names[:10]}."
        raise ValueError(msg)
    if values == "excess":
        matrix = np.asarray(found["r"]) - np.asarray(found["null_mean"])
    else:
        matrix = np.asarray(found[values], np.float64)
    if order == "cluster" and len(chosen) > 2:
        chosen = [chosen[i] for i in _clustered(matrix[np.ix_(chosen, chosen)])]
    shown = matrix[np.ix_(chosen, chosen)].copy()
    np.fill_diagonal(shown, np.nan)
    p = np.asarray(found["p_adjusted"], np.float64)[np.ix_(chosen, chosen)]
    if ax is None:
        longest = 0.085 * max(len(names[i]) for i in chosen)
        side = max(2.0, _CELL * len(chosen))
        _, ax = new_figure(
            figsize=(side + longest + 1.2, side + longest + 0.4), layout="constrained"
        )
    low = -1.0 if values == "r_held_out" else 0.0
    top = np.nanmax(shown, initial=0.1) if values == "excess" else 1.0
    colors = plt.get_cmap(cmap or ("RdBu_r" if low < 0 else "viridis"))
    ax.set_facecolor(NO_DATA)
    picture = ax.imshow(shown, cmap=colors, vmin=low, vmax=top, interpolation="none")
    i, j = np.nonzero(p > alpha)
    if i.size:
        value = picture.norm(shown[i, j])
        light = [sum(colors(v)[:3]) > 1.5 for v in np.nan_to_num(value)]
        ax.scatter(
            j,
            i,
            s=4,
            c=["black" if one else "white" for one in light],
            linewidths=0,
            label=f"not significant (p > {alpha:g})",
        )
        ax.set_title(f"• not significant, adjusted p > {alpha:g}", fontsize="small")
    place = np.arange(len(chosen))
    labels = [names[k] for k in chosen]
    ax.set_xticks(place, labels, rotation=90, fontsize="small")
    ax.set_yticks(place, labels, fontsize="small")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    bar = figure_of(ax).colorbar(picture, ax=ax, fraction=0.04, pad=0.02, shrink=0.7)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize="x-small", length=0)
    bar.set_label(_LABELS[values], fontsize="small")
    return ax


def _clustered(matrix: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[int]:
    """Order of the leaves of a tree."""
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
    from scipy.spatial.distance import squareform

    distance = 1 - np.nan_to_num((matrix + matrix.T) / 2)
    np.fill_diagonal(distance, 0)
    flat = squareform(np.maximum(distance, 0), checks=False)
    return leaves_list(optimal_leaf_ordering(linkage(flat, "average"), flat)).tolist()
