"""Networks of genes, for networkx."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp

from .._adata.checks import check_key, check_unique_names
from .._adata.keys import side_key
from .._adata.schema import stored_table
from .._adata.tables import read_table
from .._adata.views import read_factors, select_factors
from .._core.arguments import checked
from .._core.docs import shared_docs

if TYPE_CHECKING:
    import networkx as nx
    from anndata import AnnData
    from spatialdata import SpatialData

    from .._adata.views import FactorSelection


@checked
@shared_docs
def coexpression_graph(
    adata: AnnData | SpatialData,
    key: str = "nmf",
    *,
    factors: FactorSelection | None = None,
    table_key: str | None = None,
) -> nx.Graph:
    """Return a network of :func:`nonneg.tl.coexpression_network` as a graph.

    For what networkx does with graphs: communities, centralities, files for Cytoscape
    or Gephi (:func:`networkx.write_graphml`).

    Parameters
    ----------
    %(key)s
    factors
        Factors whose genes to return, by name or number. `None`: all.
    %(table_key)s

    Returns
    -------
    Graph with the names of genes as nodes, which have `factor` and `share`, and edges
    with `weight`, the correlation. A gene of several factors has the one of its largest
    share.

    Raises
    ------
    KeyError
        If there is no factorization or no network under the key, or no such factor.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.quilt(12, 30)
    >>> nng.tl.coexpression_network(adata, key="truth", quantile=0.9, edges=1)
    >>> nng.get.coexpression_graph(adata, key="truth", factors=0).number_of_nodes()
    3
    """
    adata = read_table(adata, table_key)
    import networkx as nx

    nodes, matrix = read_network(adata, factors, key)
    graph = nx.Graph()
    columns = (nodes[name].to_numpy() for name in ("gene", "factor", "share"))
    for gene, factor, share in zip(*columns, strict=True):
        graph.add_node(gene, factor=factor, share=float(share))
    index = adata.var_names.get_indexer(pd.Index(nodes["gene"]))
    block = sp.triu(matrix[index][:, index]).tocoo()
    names = nodes["gene"].to_numpy()
    graph.add_weighted_edges_from(
        (names[i], names[j], float(weight))
        for i, j, weight in zip(block.row, block.col, block.data, strict=True)
    )
    return graph


def read_network(
    adata: AnnData, factors: FactorSelection | None, key: str
) -> tuple[pd.DataFrame, sp.csr_matrix]:
    """Nodes, each once, and the matrix of weights."""
    stored = read_factors(adata, key)
    check_unique_names(adata.var_names, "Genes of networks")
    hint = "Call `nonneg.tl.coexpression_network` first."
    name = side_key(stored.keys, "uns", "coexpression")
    check_key(adata, "uns", name, hint=hint)
    check_key(adata, "varp", name, hint=hint)
    chosen = [stored.names[k] for k in select_factors(stored.names, factors)]
    whole = stored_table(
        adata.uns[name],
        f"adata.uns[{name!r}]",
        "Call `nonneg.tl.coexpression_network`",
        text=["factor", "gene"],
        numbers=["share"],
    )
    shown = whole["factor"].isin(chosen) & whole["gene"].isin(adata.var_names)
    nodes = whole[shown]
    nodes = nodes.sort_values("share", ascending=False, kind="stable")
    nodes = nodes.drop_duplicates("gene").reset_index(drop=True)
    if np.size(nodes) == 0:
        msg = (
            f"The network under key={key!r} has no genes of {chosen}; it is of "
            f"{list(whole['factor'].unique())}. {hint}"
        )
        raise KeyError(msg)
    return nodes, sp.csr_matrix(adata.varp[name])
