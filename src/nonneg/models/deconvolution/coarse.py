"""A start from locations that are added up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from .fit import Budget, fit_mixture, raise_if_interrupted
from .problem import Mixture, Tuning

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Locations from which on it pays, and how many are one.
_MANY, _TOGETHER = 5000, 40

_ROUGH = Budget(tol=1e-1, max_iter=20, rounds=0)


def coarse_start(
    mixture: Mixture,
    coords: NDArray[np.float64] | None,
    tuning: Tuning,
    dispersion: NDArray[np.float64],
) -> NDArray[np.float64] | None:
    """Amounts of neighbours together, for each of them; ``None`` if there are few.

    Shallow locations tell little by themselves: from here, the fit has a few steps to
    go instead of many.
    """
    n = mixture.counts.shape[0]
    if coords is None or n < _MANY or not tuning.graph_weight:
        return None
    cell = _cells(coords, mixture.group)
    n_cells = int(cell.max()) + 1
    member = sp.csr_matrix(
        (np.ones(n, np.float32), (cell, np.arange(n))), shape=(n_cells, n)
    )
    together = Mixture(
        sp.csr_matrix(member @ mixture.counts),
        mixture.signatures,
        None,
        np.zeros(n_cells, np.intp),
    )
    alone = Tuning(gene_weights=tuning.gene_weights)
    found = fit_mixture(together, alone, dispersion=dispersion, budget=_ROUGH)
    raise_if_interrupted(found.trace)
    return found.amounts[cell]


def _cells(coords: NDArray[np.float64], group: NDArray[np.intp]) -> NDArray[np.intp]:
    """Boxes of neighbours in one group, halved until they are small."""
    label = np.zeros(len(coords), np.intp)
    todo = [np.flatnonzero(group == g) for g in np.unique(group)]
    n_done = 0
    while todo:
        inside = todo.pop()
        if inside.size <= _TOGETHER:
            label[inside] = n_done
            n_done += 1
            continue
        axis = int(np.argmax(np.ptp(coords[inside], axis=0)))
        order = inside[np.argsort(coords[inside, axis], kind="stable")]
        todo += [order[: order.size // 2], order[order.size // 2 :]]
    return label
