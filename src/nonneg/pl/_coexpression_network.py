"""Networks of genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import networkx as nx
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.patheffects import withStroke

from .._adata.tables import read_table
from .._adata.views import select_factors
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_positive_int
from ..get import coexpression_graph
from ._panels import figure_of, fit_titles, new_panels

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from spatialdata import SpatialData

    from .._adata.views import FactorSelection

# Widths of edges, in points, of no and of full correlation.
_THIN, _THICK = 0.3, 2.5


@checked
@shared_docs
def coexpression_network(
    adata: AnnData | SpatialData,
    key: str = "nmf",
    *,
    factors: FactorSelection | None = None,
    isolated: bool = False,
    ncols: int = 3,
    cmap: str | Colormap = "viridis",
    ax: Axes | None = None,
    table_key: str | None = None,
) -> list[Axes]:
    """Show the networks of :func:`nonneg.tl.coexpression_network`.

    A panel per factor with its leading genes. Colour is the share of the factor in the
    gene, width of an edge the correlation. Places follow the number of edges between
    genes (Kamada and Kawai), and mean nothing else.

    Parameters
    ----------
    %(key)s
    factors
        Factors to show, by name or number. `None`: all that have a network.
    isolated
        Show genes without an edge as well.
    ncols
        Panels per row.
    cmap
        Colour map of shares.
    ax
        Axes to draw on, for a single factor.
    %(table_key)s

    Returns
    -------
    One Axes per factor.

    Raises
    ------
    KeyError
        If there is no factorization or no network under the key, or no such factor.
    ValueError
        If `ax` is given for several factors.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.quilt(12, 30)
    >>> nng.tl.coexpression_network(adata, key="truth", quantile=0.8, edges=1)
    >>> axes = nng.pl.coexpression_network(adata, "truth", factors=[0, 1])
    >>> [ax.get_title() for ax in axes]
    ['truth_0', 'truth_1']
    """
    adata = read_table(adata, table_key)
    ncols = check_positive_int(ncols, "ncols")
    whole = coexpression_graph(adata, key=key, factors=factors)
    known = list(dict.fromkeys(nx.get_node_attributes(whole, "factor").values()))
    if factors is None:
        names = sorted(known, key=lambda name: int(name.rpartition("_")[2]))
    else:
        table = [f"{key}_{k}" for k in range(adata.obsm[_scores(adata, key)].shape[1])]
        chosen = select_factors(table, factors)
        names = [table[k] for k in chosen if table[k] in known]
    if ax is not None and len(names) > 1:
        msg = f"ax is one Axes, but {len(names)} factors have networks. Choose one."
        raise ValueError(msg)
    panels = [ax] if ax is not None else new_panels(len(names), ncols, (2.6, 2.5))
    for panel, name in zip(panels, names, strict=True):
        _draw(
            panel,
            coexpression_graph(adata, key=key, factors=name),
            cmap,
            isolated=isolated,
        )
        panel.set_title(name, fontsize="medium")
    bar = figure_of(panels[0]).colorbar(
        panels[0].collections[-1],
        ax=panels,
        fraction=0.03,
        pad=0.02,
        aspect=18,
        shrink=0.7,
    )
    bar.set_label("share of the factor in the gene", fontsize="small")
    bar.ax.tick_params(labelsize="x-small", length=0)
    bar.outline.set_visible(False)
    if ax is None:
        fit_titles(panels)
    return panels


def _scores(adata: AnnData, key: str) -> str:
    return str(adata.uns[key]["obsm_key"])


def _draw(ax: Axes, graph: nx.Graph, cmap: str | Colormap, *, isolated: bool) -> None:
    if not isolated:
        graph = graph.subgraph([gene for gene, d in graph.degree() if d]).copy()
    genes = list(graph)
    place = nx.kamada_kawai_layout(graph, weight=None)
    xy = np.array([place[gene] for gene in genes]).reshape(-1, 2)
    lines = [(place[a], place[b]) for a, b in graph.edges]
    weights = np.array([w for *_, w in graph.edges(data="weight")])
    ax.add_collection(
        LineCollection(
            lines,
            linewidths=_THIN + (_THICK - _THIN) * weights,
            colors="0.6",
            zorder=1,
        )
    )
    # Behind names, the colour of the figure: edges go through them.
    ground = figure_of(ax).get_facecolor()
    share = [graph.nodes[gene]["share"] for gene in genes]
    ax.scatter(
        xy[:, 0],
        xy[:, 1],
        c=share,
        s=45,
        cmap=cmap,
        vmin=0,
        vmax=1,
        edgecolors="white",
        linewidths=0.6,
        zorder=2,
    )
    for gene, (x, y) in zip(genes, xy, strict=True):
        ax.annotate(
            gene,
            (x, y),
            xytext=(0, 5),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=6.5,
            fontstyle="italic",
            zorder=3,
            path_effects=[withStroke(linewidth=1.5, foreground=ground)],
        )
    if not genes:
        ax.text(0.5, 0.5, "no edges", transform=ax.transAxes, ha="center", color="0.5")
    ax.margins(0.18)
    ax.axis("off")
