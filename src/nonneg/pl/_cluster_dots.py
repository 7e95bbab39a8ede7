"""Clusters and data sets as a table of dots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import PercentFormatter

from .._adata.labels import read_labels
from .._adata.tables import read_table
from .._core.arguments import checked
from .._core.docs import shared_docs
from ..get._cluster_composition import cluster_composition
from ._panels import figure_of, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from numpy.typing import NDArray
    from spatialdata import SpatialData

# Inches of a row and of a column, and area of the largest dot, which fits into both.
_CELL = 0.28
_LARGEST = 190.0
# Dots of the legend, as parts of the largest share.
_LEGEND = (0.1, 0.5, 1.0)


@checked
@shared_docs
def cluster_dots(
    adata: AnnData | SpatialData,
    key: str = "inmf",
    *,
    cluster_key: str | None = None,
    batch_key: str | None = None,
    group_key: str | None = None,
    cmap: str | Colormap = "viridis_r",
    ax: Axes | None = None,
    table_key: str | None = None,
) -> Axes:
    """Show which clusters every data set has, and which data sets a cluster is from.

    One row per cluster, one column per data set. The area of a dot is the share of the
    data set's cells; its colour is whose cells the cluster would be if all data sets
    had equally many. A kind of cell that all data sets have is a row of one colour; one
    that is of a single data set is one dark dot.

    Parameters
    ----------
    %(key)s
    %(cluster_columns)s
    group_key
        Column of `adata.obs` with classes of cells, such as neurons and glia: clusters
        are sorted by the class that most of their cells have, and classes set apart.
    cmap
        Colour map of shares of clusters.
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
        If the factorization knows no data sets, or no cell is of a cluster and a data
        set.

    See Also
    --------
    nonneg.get.cluster_composition : the numbers
    nonneg.pl.cluster_composition : one bar per data set

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.batches((60, 40), 50, 3)
    >>> ax = nng.pl.cluster_dots(adata, "truth", cluster_key="cell_type")
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['type_0', 'type_1', 'type_2']
    """
    adata = read_table(adata, table_key)
    of_batch, of_cluster = (
        cluster_composition(
            adata, key, cluster_key=cluster_key, batch_key=batch_key, normalize=by
        )
        for by in ("batch", "cluster")
    )
    if not of_batch.size or not of_batch.to_numpy().any():
        msg = "No cell is of both a cluster and a data set: there is nothing to show."
        raise ValueError(msg)
    names = of_batch.index.to_numpy()
    groups = np.full(len(names), "")
    if group_key is not None:
        groups = _leading_group(adata, str(of_batch.index.name), names, group_key)
    order = np.argsort(groups, kind="stable")
    groups = groups[order]
    of_batch, of_cluster = of_batch.iloc[order], of_cluster.iloc[order]
    # A gap before every new class.
    y = np.arange(len(order)) + 0.6 * np.cumsum(
        np.append(False, groups[1:] != groups[:-1])
    )
    if ax is None:
        _, ax = new_figure(
            figsize=(2.6 + _CELL * of_batch.shape[1], 1.6 + _CELL * float(y[-1])),
            layout="constrained",
        )
    _draw(ax, of_batch, of_cluster, y, cmap)
    for name in np.unique(groups[groups != ""]):
        where = y[groups == name].mean()
        ax.text(
            1.02,
            where,
            str(name),
            transform=ax.get_yaxis_transform(),
            va="center",
            fontsize="small",
        )
    return ax


def _draw(
    ax: Axes,
    of_batch: pd.DataFrame,
    of_cluster: pd.DataFrame,
    y: NDArray[np.float64],
    cmap: str | Colormap,
) -> None:
    largest = of_batch.to_numpy().max()
    rows, columns = np.nonzero(of_batch.to_numpy())
    dots = ax.scatter(
        columns,
        y[rows],
        s=_LARGEST * of_batch.to_numpy()[rows, columns] / largest,
        c=of_cluster.to_numpy()[rows, columns],
        cmap=cmap,
        vmin=0,
        vmax=1,
        linewidths=0,
    )
    ax.set_xticks(range(of_batch.shape[1]), of_batch.columns, rotation=90)
    ax.set_yticks(y, of_batch.index)
    ax.tick_params(length=0, labelsize="small")
    ax.set(
        xlim=(-0.7, of_batch.shape[1] - 0.3),
        ylim=(y[-1] + 0.7, -0.7),
        xlabel=of_batch.columns.name,
        ylabel=of_batch.index.name,
    )
    ax.spines[:].set_visible(False)
    ax.grid(color="0.93", lw=0.6)
    ax.set_axisbelow(True)
    bar = figure_of(ax).colorbar(dots, ax=ax, shrink=0.6, pad=0.12, aspect=15)
    bar.set_label("share of the cluster,\ndata sets alike", fontsize="x-small")
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    bar.ax.tick_params(labelsize="x-small")
    bar.outline.set_visible(False)
    handles = [
        ax.scatter([], [], s=_LARGEST * part, color="0.5", linewidths=0)
        for part in _LEGEND
    ]
    ax.legend(
        handles,
        [f"{largest * part:.1%}" for part in _LEGEND],
        title="share of the data set",
        ncols=len(handles),
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        fontsize="x-small",
        title_fontsize="x-small",
        frameon=False,
        columnspacing=0.8,
        handletextpad=0.3,
    )


def _leading_group(
    adata: AnnData, cluster_key: str, names: NDArray[np.object_], group_key: str
) -> NDArray[np.str_]:
    """The class that most cells of every cluster have."""
    clusters = read_labels(adata, cluster_key)
    groups = read_labels(adata, group_key)
    counts = np.zeros((len(clusters.names) + 1, len(groups.names) + 1), int)
    np.add.at(counts, (clusters.codes, groups.codes), 1)
    leading = groups.names[counts[:-1, :-1].argmax(axis=1)].astype(str)
    of = dict(zip(clusters.names, leading, strict=True))
    return np.array([of[name] for name in names])
