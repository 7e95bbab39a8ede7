"""How far clusters consist of cells of one kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from .._core.arguments import checked
from ._cells import encode

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@checked
def purity(clusters: ArrayLike, labels: ArrayLike) -> float:
    """Share of cells that have the most frequent label of their cluster.

    It rises with the number of clusters: compare clusterings of about the same size.

    Parameters
    ----------
    clusters
        Cluster of every cell, in any form: strings, numbers, a categorical.
    labels
        Known kind of every cell. Cells for which either is missing (NaN, `None`) are
        left out, and not counted in the denominator.

    Returns
    -------
    Between 0 and 1; 1 if every cluster has one label.

    Raises
    ------
    ValueError
        If the lengths differ, or no cell has both.

    Examples
    --------
    >>> import nonneg as nng
    >>> nng.metrics.purity([0, 0, 0, 1, 1], ["b", "b", "t", "t", None])
    0.75
    """
    cluster, _ = encode(clusters)
    label, _ = encode(labels)
    if cluster.size != label.size:
        msg = f"There are {cluster.size} clusters, but {label.size} labels, of cells."
        raise ValueError(msg)
    known = (cluster >= 0) & (label >= 0)
    if not known.any():
        msg = "No cell has both a cluster and a label."
        raise ValueError(msg)
    # Sparse: there may be as many clusters as cells.
    pairs = (cluster[known], label[known])
    counts = sp.coo_array((np.ones(pairs[0].size, np.intp), pairs)).tocsr()
    return float(counts.max(axis=1).sum() / known.sum())
