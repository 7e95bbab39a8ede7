"""Which starting factors become spatial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.neighbors import kneighbors_graph

if TYPE_CHECKING:
    from numpy.typing import NDArray


# Of squidpy's graph, which the order of starting factors refers to.
_N_NEIGHBORS = 6


def by_morans_i(coords: NDArray[np.float64] | None, section: NDArray[np.intp]) -> Any:
    """Order of factors: those that vary most smoothly first."""
    assert coords is not None

    def order(
        factors: NDArray[np.floating[Any]], rows: NDArray[np.intp]
    ) -> NDArray[np.intp]:
        from scanpy.metrics import morans_i
        from scipy.sparse import block_diag

        graphs, positions = [], []
        for s in np.unique(section[rows]):
            own = np.flatnonzero(section[rows] == s)
            n_neighbors = min(_N_NEIGHBORS, own.size - 1)
            if n_neighbors == 0:
                # A single spot says nothing of smoothness.
                continue
            positions.append(own)
            graphs.append(kneighbors_graph(coords[rows[own]], n_neighbors))
        if not graphs:
            return np.arange(factors.shape[1])
        index = np.concatenate(positions)
        graph = block_diag(graphs, format="csr")
        scores = morans_i(graph, np.ascontiguousarray(factors[index].T, np.float64))
        return np.argsort(-np.nan_to_num(scores), kind="stable")

    return order
