"""One variable for each gene."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from .._adata.checks import check_key
from .._adata.labels import check_labelled, read_labels
from .._adata.volume import read_incomplete

if TYPE_CHECKING:
    from numpy.typing import NDArray


def average_experiments(
    adata: AnnData, gene_key: str = "gene", *, layer: str | None = None
) -> AnnData:
    """Average several experiments of one gene.

    Means are taken over the experiments that have a value, so that one fills the gaps of
    another. To keep them apart instead, give each the weight one over the square root of
    their number in a factorization.

    Parameters
    ----------
    adata
        Annotated data of observations x experiments: dense, in memory, NaN where entries
        are missing.
    gene_key
        Column of `adata.var` that names the gene of each experiment.
    layer
        Layer to average instead of `adata.X`.

    Returns
    -------
    New AnnData of observations x genes, in the order in which genes come first, with
    `.var['n_experiments']` and those columns of `adata.var` that are the same in all
    experiments of every gene. What belongs to observations is copied, layers and `varm`
    are not.

    Raises
    ------
    KeyError
        If the column or the layer does not exist.
    TypeError
        If the matrix is not a dense array in memory.
    ValueError
        If an experiment has no gene.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.atlas_expression((8, 8, 8), 6, 2)
    >>> adata.var["gene"] = ["a", "a", "b", "c", "c", "c"]
    >>> nng.pp.average_experiments(adata).var["n_experiments"].to_dict()
    {'a': 2, 'b': 1, 'c': 3}
    """
    check_key(adata, "var", gene_key)
    x, _ = read_incomplete(adata, layer)
    labels = read_labels(AnnData(obs=adata.var[[gene_key]]), gene_key)
    check_labelled(labels, f"adata.var[{gene_key!r}]")
    codes, first = _by_appearance(labels.codes)
    order = np.argsort(codes, kind="stable")
    start = np.searchsorted(codes[order], np.arange(first.size))
    observed = ~np.isnan(x[:, order])
    total = np.add.reduceat(np.where(observed, x[:, order], 0), start, axis=1)
    n_observed = np.add.reduceat(observed, start, axis=1, dtype=np.int32)
    mean = np.divide(
        total, n_observed, out=np.full_like(total, np.nan), where=n_observed > 0
    )
    names = labels.names[labels.codes[first]]
    var = adata.var.drop(columns=gene_key)
    same = [
        column
        for column in var
        if (var.groupby(codes)[column].nunique(dropna=False) == 1).all()
    ]
    kept = var[same].iloc[first].set_axis(pd.Index(names), axis=0)
    return AnnData(
        mean.astype(x.dtype),
        obs=adata.obs.copy(),
        var=kept.assign(n_experiments=np.bincount(codes)),
        obsm={key: deepcopy(value) for key, value in adata.obsm.items()},
        obsp={key: value.copy() for key, value in adata.obsp.items()},
        uns=deepcopy(dict(adata.uns)),
    )


def _by_appearance(
    codes: NDArray[np.intp],
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Codes in the order in which they come first, and where they do."""
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return rank[inverse.ravel()], np.sort(first)
