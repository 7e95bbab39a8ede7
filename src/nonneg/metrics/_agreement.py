"""What an alignment leaves of the structure within data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import scipy.sparse as sp
from sklearn.neighbors import NearestNeighbors

from .._core.arguments import checked
from .._core.validators import check_positive_int
from ._cells import read_batches, read_embedding

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray


@checked
def agreement(
    x: ArrayLike,
    references: Mapping[Any, ArrayLike],
    batches: ArrayLike,
    *,
    n_neighbors: int = 15,
) -> float:
    r"""How much of the structure within data sets is left after integration.

    For every cell, the Jaccard index of two sets of neighbours, both among cells of its
    own data set: those in the joint embedding, and those in an embedding of that data
    set alone, such as the scores of an NMF of its own with 40 factors
    :cite:p:`Welch2019`. It falls if an alignment distorts; that data sets are mixed at
    all is what :func:`nonneg.metrics.alignment` measures.

    Parameters
    ----------
    x
        Joint embedding, cells x dimensions, such as aligned scores.
    references
        For each data set, by name, the embedding of its cells in the order that they
        have in `x`. Dimensions may be different ones.
    batches
        Data set of every cell of `x`.
    n_neighbors
        Number of neighbours, the cell itself not counted.

    Returns
    -------
    Mean over all cells: 1 if all neighbours are kept. Neighbours at random give about
    `n_neighbors / (2 n - n_neighbors)` in a data set of `n` cells.

    Raises
    ------
    KeyError
        If a data set has no reference.
    ValueError
        If numbers of cells differ, labels are missing, entries are NaN, or a data set
        has too few cells for the neighbours asked for.

    See Also
    --------
    nonneg.metrics.alignment : how well data sets are mixed

    Examples
    --------
    >>> import numpy as np
    >>> import nonneg as nng
    >>> x = np.random.default_rng(0).random((100, 3))
    >>> batches = np.repeat(["a", "b"], 50)
    >>> references = {"a": 2 * x[:50] + 1, "b": x[50:, ::-1]}
    >>> nng.metrics.agreement(x, references, batches)
    1.0
    """
    embedding = read_embedding(x, "x")
    batch, names = read_batches(batches, len(embedding))
    k = check_positive_int(n_neighbors, "n_neighbors")
    absent = [name for name in names if name not in references]
    if absent:
        msg = f"No reference for data sets {absent}; there are {list(references)}."
        raise KeyError(msg)
    total = 0.0
    for b, name in enumerate(names):
        joint = embedding[batch == b]
        alone = read_embedding(references[name], f"references[{name!r}]")
        if len(alone) != len(joint):
            msg = (
                f"references[{name!r}] has {len(alone)} cells, but x has {len(joint)} "
                "of this data set."
            )
            raise ValueError(msg)
        if k >= len(joint):
            msg = (
                f"n_neighbors={k} must be below the number of cells of every data set; "
                f"{name!r} has {len(joint)}."
            )
            raise ValueError(msg)
        common = _neighbors(joint, k).multiply(_neighbors(alone, k)).sum(axis=1)
        total += float((common / (2 * k - common)).sum())
    return total / len(embedding)


def _neighbors(x: NDArray[Any], k: int) -> sp.csr_array:
    """1 where the column is one of the k nearest cells of the row."""
    # Without an argument, neighbours of the fitted cells themselves, each left out of
    # its own list even if others are at the same place.
    graph = NearestNeighbors(n_neighbors=k).fit(x).kneighbors_graph()
    return sp.csr_array(graph)
