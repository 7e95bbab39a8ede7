"""Scale and order of the factors of an integration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..._core.typing import Floats
from .problem import Model, State, Sums

if TYPE_CHECKING:
    from numpy.typing import NDArray


def normalise(model: Model, scores: Floats, sums: Sums) -> State:
    """Fix what the objective leaves open: one scale per factor, and their order."""
    model, norm, order = standardise(model, sums)
    scores = (scores * norm.astype(scores.dtype))[:, order]
    return State(model, scores, rescale(sums, norm, order))


def rescale(sums: Sums, norm: NDArray[np.float64], order: NDArray[np.intp]) -> Sums:
    """Sums over scores that were multiplied by the norms, in another order."""
    return Sums(
        (sums.gram * norm[:, None] * norm)[:, order][:, :, order],
        (sums.product * norm[:, None])[:, order],
    )


def standardise(
    model: Model, sums: Sums
) -> tuple[Model, NDArray[np.float64], NDArray[np.intp]]:
    """Loadings of unit norm by contribution, the norms taken, and the new order."""
    both = np.asarray(model.W + model.V.mean(0), np.float64)
    norm = np.linalg.norm(both, axis=1)
    divisor = np.where(norm > 0, norm, 1)
    contribution = np.einsum("dkk->k", sums.gram) * norm**2
    order = np.argsort(-contribution, kind="stable")
    w, v = (
        (np.asarray(x) / divisor[:, None]).astype(np.asarray(x).dtype) for x in model
    )
    return Model(w[order], v[:, order]), norm, order
