"""How well genes are reconstructed, without a reconstruction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...operators.protocol import MatrixOperator

# Variance, relative to the mean square, below which a gene is constant.
_CONSTANT = 1e-9


def reconstruction_correlation(
    op: MatrixOperator,
    scores: NDArray[np.floating],
    loadings: NDArray[np.floating],
) -> NDArray[np.float64]:
    """(n_vars,): Pearson correlation of every column of X with that of ``scores loadingsᵀ``.

    From ``Xᵀ scores`` and the k x k covariance of scores; NaN where either is constant.
    """
    n = scores.shape[0]
    centred = scores.astype(np.float64)
    centred = centred - centred.mean(0)
    a = loadings.astype(np.float64)
    both = np.concatenate([centred, np.ones((n, 1))], 1).astype(op.dtype)
    product = np.asarray(op.rmatmul(both), np.float64)
    squares = np.asarray(op.square_rmatmul(both[:, -1:]), np.float64)[:, 0]
    mean = product[:, -1] / n
    variance = squares / n - mean**2
    variance = np.where(variance > _CONSTANT * squares / n, variance, 0)
    fitted = np.einsum("jk,kl,jl->j", a, centred.T @ centred / n, a)
    scale = np.sqrt(variance * np.maximum(fitted, 0))
    covariance = (product[:, :-1] * a).sum(1) / n
    out = np.full(len(a), np.nan)
    return np.divide(covariance, scale, out=out, where=scale > 0)
