"""How well data sets are mixed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.neighbors import NearestNeighbors

from .._core.arguments import checked
from .._core.random import as_seed, stream
from .._core.validators import check_positive_int
from ._cells import read_batches, read_embedding

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .._core.random import RNGLike


@checked
def alignment(
    x: ArrayLike,
    batches: ArrayLike,
    *,
    n_neighbors: int | None = None,
    rng: RNGLike = 0,
) -> float:
    r"""How well data sets are mixed in an embedding.

    Draws as many cells of every data set as the smallest has, and counts among the
    nearest neighbours of each those of its own data set:

    .. math:: 1 - \frac{\bar x - k / D}{k - k / D}

    with the mean count :math:`\bar x` among :math:`k` neighbours and :math:`D` data sets
    :cite:p:`Welch2019`. It says nothing about whether the right cells are mixed: see
    :func:`nonneg.metrics.agreement`.

    Parameters
    ----------
    x
        Embedding, cells x dimensions, such as aligned scores.
    batches
        Data set of every cell.
    n_neighbors
        Number of neighbours, the cell itself not counted. `None`: 1 % of all cells,
        but at least 10, and no more than there are.
    rng
        Seed of the draw, or a generator to take one from.

    Returns
    -------
    0 if no cell has a neighbour of another data set, 1 if they are mixed perfectly.
    Slightly above 1 by chance, and in small data, since a cell is not its own neighbour.

    Raises
    ------
    ValueError
        If there is one data set only, one has a single cell, labels are missing, entries
        are NaN, or there are too few cells for the neighbours asked for.

    See Also
    --------
    nonneg.metrics.agreement : what is left of the structure within data sets

    Examples
    --------
    >>> import numpy as np
    >>> import nonneg as nng
    >>> x = np.random.default_rng(0).random((400, 3))
    >>> batches = np.repeat(["a", "b"], 200)
    >>> nng.metrics.alignment(x, batches) > 0.9
    True
    >>> nng.metrics.alignment(x + 5 * (batches == "b")[:, None], batches)
    0.0
    """
    embedding = read_embedding(x, "x")
    batch, names = read_batches(batches, len(embedding))
    n_batches = len(names)
    if n_batches < 2:
        msg = f"There is one data set only, {names.tolist()}: nothing can be mixed."
        raise ValueError(msg)
    seed = as_seed(rng)
    smallest = int(np.bincount(batch).min())
    if smallest < 2:
        lonely = names[np.bincount(batch) < 2].tolist()
        msg = f"Data sets {lonely} have one cell each: there is nothing to count."
        raise ValueError(msg)
    drawn = np.concatenate(
        [
            stream(seed, b).permutation(np.flatnonzero(batch == b))[:smallest]
            for b in range(n_batches)
        ]
    )
    if n_neighbors is None:
        k = min(max(len(embedding) // 100, 10), drawn.size - 1)
    else:
        k = check_positive_int(n_neighbors, "n_neighbors")
    if k >= drawn.size:
        msg = (
            f"n_neighbors={k} must be below the {drawn.size} cells that are compared: "
            f"{smallest} of each data set, as many as the smallest has."
        )
        raise ValueError(msg)
    # Without an argument, neighbours of the fitted cells themselves, each left out of
    # its own list even if others are at the same place.
    finder = NearestNeighbors(n_neighbors=k).fit(embedding[drawn])
    neighbors = finder.kneighbors(return_distance=False)
    same = batch[drawn][neighbors] == batch[drawn][:, None]
    chance = k / n_batches
    return float(1 - (same.sum(axis=1).mean() - chance) / (k - chance))
