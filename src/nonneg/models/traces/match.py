"""Components of two sessions that are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

if TYPE_CHECKING:
    from numpy.typing import NDArray


def cosines(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K, L) cosines of columns; absolute values where signs are arbitrary."""
    size = np.outer(np.linalg.norm(a, axis=0), np.linalg.norm(b, axis=0))
    out = np.divide(a.T @ b, size, out=np.zeros(size.shape), where=size > 0)
    return np.abs(out) if (a < 0).any() or (b < 0).any() else out


def match_within(
    similarity: NDArray[np.float64],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
) -> NDArray[np.intp]:
    """(K,): column that each row is matched with, of the same region; -1 for none."""
    found = np.full(rows.size, -1, np.intp)
    for region in np.unique(rows):
        left, right = np.flatnonzero(rows == region), np.flatnonzero(columns == region)
        i, j = linear_sum_assignment(similarity[np.ix_(left, right)], maximize=True)
        found[left[i]] = right[j]
    return found
