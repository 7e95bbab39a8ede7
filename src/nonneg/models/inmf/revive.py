"""Factors that no cell uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..._core.typing import Floats
from .problem import Data, Model, Sums

if TYPE_CHECKING:
    from numpy.typing import NDArray


_MAX_RESEEDS = 3


def in_use(sums: Sums) -> NDArray[np.bool_]:
    """Factors that some cell uses."""
    used: NDArray[np.bool_] = np.einsum("dkk->k", sums.gram) > 0
    return used


def revive(
    data: Data, model: Model, scores: Floats, sums: Sums, reseeds: dict[int, int]
) -> Model:
    """Point factors that no cell uses at the worst explained cells.

    No update moves a factor whose scores are all zero. Given up after a few
    attempts: then the data need fewer.
    """
    used = np.einsum("dkk->k", sums.gram) > 0
    dead = [
        j for j in np.flatnonzero(~used).tolist() if reseeds.get(j, 0) < _MAX_RESEEDS
    ]
    if not dead:
        return model
    totals = (model.W + model.V).sum(2)
    worst: list[tuple[float, Floats]] = []
    for d, rows, op in data.blocks():
        scale = data.scale_of(rows)
        sums_of_rows = np.asarray(op.matmul(data.gene_scale[d][:, None])) * scale
        missing = sums_of_rows[:, 0] - scores[rows] @ totals[d]
        index = np.argsort(-missing)[: len(dead)]
        picks = np.zeros((op.shape[0], index.size), data.dtype)
        picks[index, np.arange(index.size)] = 1
        cells = np.asarray(op.rmatmul(picks * scale)).T * data.gene_scale[d]
        rest = np.maximum(cells - scores[rows][index] @ (model.W + model.V[d]), 0)
        worst += zip(missing[index].tolist(), rest, strict=True)
    worst.sort(key=lambda pair: -pair[0])
    w, v = (np.array(factor) for factor in model)
    for j, (missing, row) in zip(dead, worst, strict=False):
        reseeds[j] = reseeds.get(j, 0) + 1
        if missing > 0:
            w[j], v[:, j] = row, 0
    return Model(w, v)
