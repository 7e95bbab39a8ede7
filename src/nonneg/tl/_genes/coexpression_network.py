"""Networks of the genes that lead a factor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ..._adata.checks import check_unique_names
from ..._adata.read import Read, read_matrix, resolve_adata
from ..._adata.views import read_factors, select_factors
from ..._adata.write import write_beside
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ..._core.validators import check_one_of
from ...models.genes.coexpression import (
    SIMILARITIES,
    leading_genes,
    measured_correlation,
    strongest_edges,
)
from ...models.genes.importance import gene_importance
from ...operators.threads import computing

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._adata.views import Factors, FactorSelection


@checked
@shared_docs
def coexpression_network(
    adata: AnnData | SpatialData,
    key: str = "nmf",
    *,
    factors: FactorSelection | None = None,
    quantile: float = 0.9975,
    edges: float = 0.05,
    similarity: Literal["pearson", "osnmf", "measured"] = "pearson",
    layer: str | None = None,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    r"""Connect the leading genes of factors that are expressed together.

    Nodes are the genes in which a factor has the largest shares. Edges join the pairs
    of one factor's genes that go together best over the observations, with the
    correlation as their weight :cite:p:`Cahill2024`. Of reconstructions
    :math:`D a_i` it follows from the :math:`K \times K` covariance :math:`\Sigma` of
    the scores :math:`D`,

    .. math::

        \rho_{ij} = \frac{a_i^\top \Sigma a_j}
        {\sqrt{a_i^\top \Sigma a_i \; a_j^\top \Sigma a_j}} .

    Reconstructions of genes that one factor leads are nearly the same, so that this
    ranks how pure they are; `"measured"` asks the data themselves.

    Parameters
    ----------
    %(key)s
    factors
        Factors whose genes to connect, by name or number. `None`: all.
    quantile
        Genes with a share above this quantile of all genes are nodes; at least two.
        The default suits whole atlases: with 400 genes, try 0.95.
    edges
        Part of all pairs of a factor's genes to keep, those of the highest
        correlation; only positive ones. 1 keeps all that are positive.
    similarity
        `"pearson"`: of reconstructions, as above. `"osnmf"`: the same as the program of
        that paper has it, which takes from every observation the mean over the genes
        chosen, instead of from every gene its mean over observations; published
        networks were made with it. `"measured"`: Pearson correlation of the values
        themselves, noise included.
    layer
        Layer for `"measured"`. `None`: the one that was factorized.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets:

    `.varp['nmf_coexpression' | key + '_coexpression']` : :class:`scipy.sparse.csr_matrix` (shape `(n_vars, n_vars)`)
        Symmetric correlations of connected genes. A pair that several factors connect
        has the same correlation in each, except for `"osnmf"`, where it is the largest.
    `.uns['nmf_coexpression' | key + '_coexpression']` : :class:`pandas.DataFrame`
        Nodes: `factor`, `gene`, `share` of the factor in the gene, and `degree`.

    Raises
    ------
    KeyError
        If there is no factorization under the key, or no such factor or layer.
    ValueError
        If no factor has two genes, names of genes repeat, or an argument does not suit.

    See Also
    --------
    nonneg.get.coexpression_graph : the network for networkx
    nonneg.pl.coexpression_network : shows it

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.quilt(12, 30)
    >>> nng.tl.coexpression_network(adata, key="truth", quantile=0.9, edges=1)
    >>> adata.varp["truth_coexpression"].shape
    (30, 30)
    """
    for name, value in (("quantile", quantile), ("edges", edges)):
        if not 0 < value <= 1:
            msg = f"{name}={value!r} must be above 0 and at most 1."
            raise ValueError(msg)
    check_one_of(similarity, (*SIMILARITIES, "measured"), "similarity")
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    stored = read_factors(target, key)
    # Networks name their genes.
    check_unique_names(target.var_names, "Genes of networks")
    if stored.entry.varm_key is None:
        msg = (
            f"adata.uns[{key!r}] is of an element of obsm, whose columns are no genes. "
            "Factorize X or a layer."
        )
        raise ValueError(msg)
    chosen = select_factors(stored.names, factors)
    if not len(stored.scores):
        msg = "adata has no observations: there is nothing to correlate."
        raise ValueError(msg)
    size = np.nanmax(np.abs(stored.scores), axis=0)
    share = gene_importance(stored.loadings, size, 0).share
    genes = {k: leading_genes(share, k, quantile) for k in chosen}
    genes = {k: index for k, index in genes.items() if index.size > 1}
    if not genes:
        msg = f"No factor of {[stored.names[k] for k in chosen]} has two genes."
        raise ValueError(msg)
    network = np.zeros((0, 3))
    if similarity == "measured":
        correlate = _measured(target, stored, layer)
    else:
        known = np.isfinite(stored.scores).all(axis=1)

        def correlate(index: NDArray[np.intp]) -> NDArray[np.float64]:
            return SIMILARITIES[similarity](
                stored.scores[known], stored.loadings[index]
            )

    with computing():
        for index in genes.values():
            found = strongest_edges(correlate(index), edges)
            pairs = np.stack([index[found.first], index[found.second], found.weight], 1)
            network = np.concatenate([network, pairs])
    matrix = _symmetric(network, target.n_vars)
    degree = np.diff(matrix.indptr)
    nodes = pd.concat(
        [
            pd.DataFrame(
                {
                    "factor": stored.names[k],
                    "gene": target.var_names[index].to_numpy(object),
                    "share": share[index, k],
                    "degree": degree[index],
                }
            )
            for k, index in genes.items()
        ],
        ignore_index=True,
    )
    nodes.index = nodes.index.astype(str)
    write_beside(
        target,
        stored,
        {"varp": {"coexpression": matrix}, "uns": {"coexpression": nodes}},
    )
    return target if copy else None


def _measured(
    adata: AnnData, factors: Factors, layer: str | None
) -> Callable[[NDArray[np.intp]], NDArray[np.float64]]:
    layer = layer if layer is not None else factors.entry.params.get("layer")

    def correlate(index: NDArray[np.intp]) -> NDArray[np.float64]:
        mask = np.zeros(adata.n_vars, bool)
        mask[index] = True
        source = read_matrix(adata, Read(layer, mask_var=mask), on_cluster=False)
        # In the order of the variables, and back.
        order = np.argsort(np.argsort(index))
        return measured_correlation(source.op)[np.ix_(order, order)]

    return correlate


def _symmetric(pairs: NDArray[np.float64], n_vars: int) -> sp.csr_matrix:
    """Weights of pairs in both directions; of several, the largest."""
    pairs = pairs[np.argsort(-pairs[:, 2], kind="stable")]
    first, second = np.sort(pairs[:, :2].astype(np.intp), axis=1).T
    _, once = np.unique(first * n_vars + second, return_index=True)
    i, j, weight = first[once], second[once], pairs[once, 2].astype(np.float32)
    upper = sp.coo_matrix((weight, (i, j)), shape=(n_vars, n_vars))
    return sp.csr_matrix(upper + upper.T)
