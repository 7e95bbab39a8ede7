"""Clusters of every data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._adata.tables import read_table
from .._core.arguments import checked
from .._core.docs import shared_docs
from ..get._cluster_composition import NO_CLUSTER, read_clusters
from ._colors import default_palette
from ._panels import new_figure

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray
    from spatialdata import SpatialData

_GREY = "0.85"
# Least entries in a column of the legend.
_LEGEND_ROWS = 8


@checked
@shared_docs
def cluster_composition(
    adata: AnnData | SpatialData,
    key: str = "inmf",
    *,
    cluster_key: str | None = None,
    batch_key: str | None = None,
    ax: Axes | None = None,
    table_key: str | None = None,
) -> Axes:
    """Show how large a part of each data set every cluster is.

    One bar per data set, with its number of cells at the end. Clusters that were not
    assigned (`-1`) or are missing are grey. Colours are those that scanpy stored in
    `adata.uns`, if any, and scanpy's otherwise.

    Parameters
    ----------
    %(key)s
    %(cluster_columns)s
    ax
        Axes to draw on.
    %(table_key)s

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        If there is no factorization under the key, or a column does not exist.
    ValueError
        If the factorization knows no data sets.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.batches((60, 40), 50, 3)
    >>> ax = nng.pl.cluster_composition(adata, key="truth", cluster_key="cell_type")
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['batch_0', 'batch_1']
    """
    adata = read_table(adata, table_key)
    clusters, batches = read_clusters(adata, key, cluster_key, batch_key)
    code = clusters.codes.copy()
    code[np.isin(code, np.flatnonzero(clusters.names == NO_CLUSTER))] = -1
    labels = [*clusters.names, "none"]
    colors = [*_colors(adata, clusters.key, clusters.names), _GREY]
    # Code -1 counts in the last place.
    sizes = np.zeros((len(batches.names) + 1, len(labels)), int)
    np.add.at(sizes, (batches.codes, code), 1)
    sizes = sizes[:-1]
    shares = sizes / np.maximum(sizes.sum(axis=1, keepdims=True), 1)
    shown = np.flatnonzero(sizes.any(axis=0))
    ncols = -(-len(shown) // max(_LEGEND_ROWS, len(sizes)))
    if ax is None:
        _, ax = new_figure(
            figsize=(4.4 + 0.5 * ncols, max(1.5, 0.9 + 0.27 * len(sizes))),
            layout="constrained",
        )
    place = np.arange(len(sizes))
    left = np.zeros(len(sizes))
    for i in shown:
        ax.barh(
            place,
            shares[:, i],
            left=left,
            height=0.8,
            color=colors[i],
            label=labels[i],
            ec="w",
            lw=0.4,
        )
        left += shares[:, i]
    for y, n in [(-0.75, "cells"), *enumerate(sizes.sum(axis=1))]:
        text = n if isinstance(n, str) else f"{n:,}"
        ax.text(1.01, y, text, va="center", fontsize="x-small", color="0.3")
    ax.set_yticks(place, batches.names, fontsize="small")
    ax.set(xlim=(0, 1), ylim=(len(sizes) - 0.5, -0.5), xlabel="share of cells")
    ax.tick_params(axis="x", labelsize="small")
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.legend(
        title=clusters.key,
        ncols=ncols,
        loc="center left",
        # Beyond the numbers of cells.
        bbox_to_anchor=(1.2, 0.5),
        fontsize="x-small",
        title_fontsize="small",
        frameon=False,
        handlelength=1,
        columnspacing=1,
    )
    return ax


def _colors(adata: AnnData, cluster_key: str, names: NDArray[Any]) -> list[str]:
    """Colours that scanpy stored, or those that it would take."""
    column = adata.obs[cluster_key].astype("category").cat.categories.astype(str)
    stored = adata.uns.get(f"{cluster_key}_colors", ())
    if len(stored) == len(column):
        known = dict(zip(column, stored, strict=True))
        return [str(known[name]) for name in names]
    palette = default_palette(len(column))
    return [palette[i] for i in column.get_indexer(pd.Index(names)).tolist()]
