"""One variable for each gene."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, cast

import numpy as np
import pandas as pd
from anndata import AnnData

from .._adata.checks import check_key
from .._adata.volume import read_incomplete
from .._core.arguments import checked
from .._core.text import counted


@checked
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
    table: Any = adata.var
    genes = table[gene_key]
    if genes.isna().any():
        msg = (
            f"adata.var[{gene_key!r}] is missing for {counted(int(genes.isna().sum()), 'variable')}. "
            "Fill or remove them first."
        )
        raise ValueError(msg)
    # Numbered in the order in which they come first.
    codes, names = pd.factorize(genes.astype(str))
    first = np.unique(codes, return_index=True)[1]
    order = np.argsort(codes, kind="stable")
    start = np.searchsorted(codes[order], np.arange(first.size))
    observed = ~np.isnan(x[:, order])
    total = np.add.reduceat(np.where(observed, x[:, order], 0), start, axis=1)
    n_observed = np.add.reduceat(observed, start, axis=1, dtype=np.int32)
    mean = np.divide(
        total, n_observed, out=np.full_like(total, np.nan), where=n_observed > 0
    )
    var = table.drop(columns=gene_key)
    n_values = var.groupby(codes).nunique(dropna=False)
    same = var.columns[(n_values <= 1).all()]
    kept = var[same].iloc[first].set_axis(names, axis=0)
    averaged = AnnData(
        mean.astype(x.dtype),
        obs=cast("pd.DataFrame", adata.obs.copy()),
        var=kept.assign(n_experiments=np.bincount(codes)),
        uns=deepcopy(dict(adata.uns)),
    )
    for name in ("obsm", "obsp"):
        getattr(averaged, name).update(deepcopy(dict(getattr(adata, name))))
    return averaged
