"""Footprints on frames that they were not fitted to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of the mean squared norm of footprints: keeps those that are alike apart.
_RIDGE = 1e-6


def transferred_r2(
    footprints: NDArray[np.float64],
    u: NDArray[np.float64],
    v: NDArray[np.float64],
    half: NDArray[np.bool_],
) -> float:
    """Share of the variance of one half of the pixels that the other half predicts.

    On frames V of the movie U V', time courses come from one half of the pixels by least
    squares, and are put on the footprints of the other; then the other way round.
    R x R and K x R products are all there is.
    """
    centred = v - v.mean(axis=0)
    covariance = centred.T @ centred
    left = total = 0.0
    for known in (half, ~half):
        a = footprints[known]
        gram = a.T @ a
        size = max(float(np.trace(gram)) / len(gram), np.finfo(float).tiny)
        gram += _RIDGE * size * np.eye(len(gram))
        traces = np.linalg.solve(gram, a.T @ u[known])
        held = u[~known]
        residual = held - footprints[~known] @ traces
        left += float(np.einsum("nr,nr->", residual @ covariance, residual))
        total += float(np.einsum("nr,nr->", held @ covariance, held))
    return 1 - left / total if total > 0 else float("nan")
