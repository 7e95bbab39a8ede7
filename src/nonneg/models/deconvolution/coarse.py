"""A first fit to locations that are added up."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from .fit import Budget, fit_mixture, raise_if_interrupted
from .problem import Mixture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .problem import Fit, Tuning

# Locations from which on it pays, and how many are one.
_MANY, _TOGETHER = 5000, 40

_ROUGH = Budget(tol=1e-1, max_iter=20, rounds=100)


def coarse_fit(
    mixture: Mixture,
    coords: NDArray[np.float64] | None,
    tuning: Tuning,
    dispersion: NDArray[np.float64],
) -> Fit | None:
    """Amounts of neighbours together, for each of them; ``None`` if there are few.

    Shallow locations tell little by themselves: from here, the fit has a few steps to
    go instead of many. Effects are found here, where no couplings are that they could
    make cheaper: over many locations these outweigh what is known of factors.
    """
    n = mixture.counts.shape[0]
    if coords is None or n < _MANY or not (tuning.graph_weight or tuning.effects):
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
    alone = replace(tuning, graph_weight=0.0, group_weight=0.0)
    found = fit_mixture(together, alone, dispersion=dispersion, budget=_ROUGH)
    raise_if_interrupted(found.trace)
    return found._replace(amounts=found.amounts[cell])


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
