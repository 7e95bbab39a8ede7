"""Components that no observation uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from ..nmf.problem import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...operators.protocol import Matrix


_MAX_RESEEDS = 3


def revive(
    problem: Problem,
    w: Matrix,
    h: Matrix,
    dead: NDArray[np.intp],
    reseeds: dict[int, int],
) -> tuple[Matrix, Matrix]:
    """Point dead components at the worst explained observations.

    A component is dead when one of its sides is all zero: no update moves it
    again. Given up after a few attempts: then the data need fewer.
    """
    missing = problem.stats.row_sums - np.asarray(w @ np.asarray(h.sum(1)), np.float64)
    worst = np.argsort(-missing)[: dead.size]
    picks = np.zeros((w.shape[0], worst.size), problem.op.dtype)
    picks[worst, np.arange(worst.size)] = 1
    found = np.asarray(problem.op.rmatmul(picks)).T - np.asarray(w[worst] @ h)
    w, h = (np.array(factor) for factor in (w, h))
    for j, i, row in zip(dead.tolist(), worst.tolist(), found, strict=False):
        reseeds[j] = reseeds.get(j, 0) + 1
        if reseeds[j] <= _MAX_RESEEDS and missing[i] > 0:
            w[:, j], h[j] = 0, np.maximum(row, 0)
    return w, jnp.asarray(h)
