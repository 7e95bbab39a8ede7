"""Scale and order of the factors of an integration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..._core.typing import Floats
from .problem import Loadings, SufficientStatistics

if TYPE_CHECKING:
    from numpy.typing import NDArray


def normalise(
    loadings: Loadings, scores: Floats, statistics: SufficientStatistics
) -> tuple[Loadings, Floats, SufficientStatistics]:
    """Fix what the objective leaves open: one scale per factor, and their order."""
    loadings, norm, order = standardise(loadings, statistics)
    scores = (scores * norm.astype(scores.dtype))[:, order]
    return loadings, scores, rescale(statistics, norm, order)


def rescale(
    statistics: SufficientStatistics,
    norm: NDArray[np.float64],
    order: NDArray[np.intp],
) -> SufficientStatistics:
    """Statistics of scores that were multiplied by the norms, in another order."""
    return SufficientStatistics(
        (statistics.gram * norm[:, None] * norm)[:, order][:, :, order],
        (statistics.product * norm[:, None])[:, order],
    )


def standardise(
    loadings: Loadings, statistics: SufficientStatistics
) -> tuple[Loadings, NDArray[np.float64], NDArray[np.intp]]:
    """Loadings of unit norm by contribution, the norms taken, and the new order."""
    both = np.asarray(loadings.W + loadings.V.mean(0), np.float64)
    norm = np.linalg.norm(both, axis=1)
    divisor = np.where(norm > 0, norm, 1)
    contribution = np.einsum("dkk->k", statistics.gram) * norm**2
    order = np.argsort(-contribution, kind="stable")
    w, v = (
        (np.asarray(x) / divisor[:, None]).astype(np.asarray(x).dtype) for x in loadings
    )
    return Loadings(w[order], v[:, order]), norm, order
