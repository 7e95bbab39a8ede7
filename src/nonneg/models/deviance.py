"""How much more a variable varies than Poisson noise around a constant share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import xlogy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..operators.protocol import MatrixOperator
    from ..operators.stats import MatrixStats


def column_deviance(
    op: MatrixOperator, stats: MatrixStats, groups: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Poisson deviance of every column from its constant share of the row sums.

    ``2 Σᵢ yᵢⱼ log((yᵢⱼ / sᵢ) / (Σ yⱼ / Σ s))`` with s the row sums; the share is
    one per group of rows. Two products with narrow matrices, so that it streams.
    """
    n_groups = int(groups.max()) + 1
    # Relative to their mean: logarithms near zero keep float32 products accurate.
    size = stats.row_sums / stats.row_sums.mean()
    log_size = np.log(size, where=size > 0, out=np.zeros_like(size))
    membership = np.zeros((op.shape[0], n_groups + 1), op.dtype)
    membership[np.arange(op.shape[0]), groups] = 1
    membership[:, -1] = log_size
    products = np.asarray(op.rmatmul(membership), np.float64)
    sums, weighted = products[:, :-1], products[:, -1]
    # Added up in float64 there: the difference below magnifies rounding.
    found = sums.sum(1)
    sums = sums * (stats.col_sums / np.where(found > 0, found, 1))[:, None]
    total = np.bincount(groups, size, minlength=n_groups)
    null = xlogy(sums, sums / np.where(total > 0, total, 1)).sum(1)
    return np.maximum(2 * (op.entropy() - weighted - null), 0)
