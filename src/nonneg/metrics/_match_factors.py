"""Matching of the factors of two factorizations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from .._adata.checks import as_numbers
from .._core.arguments import checked
from .._core.validators import check_one_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class FactorMatch(NamedTuple):
    """Pairs of columns, in the order of the columns of the first array."""

    permutation: NDArray[np.intp]
    """Column of the second array in every pair."""
    similarity: NDArray[np.float64]
    """Similarity of every pair."""
    matched: NDArray[np.intp]
    """Column of the first array in every pair: all of them, unless it has more."""


@checked
def match_factors(
    a: ArrayLike,
    b: ArrayLike,
    *,
    metric: Literal["cosine", "pearson"] = "cosine",
) -> FactorMatch:
    """Pair the factors of two factorizations.

    Every factor gets at most one partner, such that the sum of similarities is
    largest (Hungarian algorithm). Works on loadings of the same variables or on scores
    of the same observations: to compare a fit with the truth, two starts, or two
    methods.

    Parameters
    ----------
    a, b
        Factors as columns, shapes `(n, k)` and `(n, l)`. Rows with NaN in either (such
        as variables outside `mask_var`) are left out.
    metric
        `"cosine"` similarity, or `"pearson"` correlation, which also ignores an offset.
        Columns of zeros (for `"pearson"`: constant columns) have similarity 0.

    Returns
    -------
    `permutation`, `similarity` and `matched`, each of length `min(k, l)`, such that
    `b[:, permutation]` resembles `a[:, matched]`. Where `b` has at least as many
    columns, `matched` is all columns of `a` in order.

    Raises
    ------
    ValueError
        If the numbers of rows differ or no row is free of NaN.

    Examples
    --------
    >>> import nonneg as nng
    >>> truth = nng.datasets.quilt(12, 30).obsm["truth"]
    >>> match = nng.metrics.match_factors(truth, 3 * truth[:, [2, 0, 3, 1]])
    >>> match.permutation.tolist(), match.similarity.round(6).tolist()
    ([1, 3, 0, 2], [1.0, 1.0, 1.0, 1.0])
    """
    check_one_of(metric, ("cosine", "pearson"), "metric")
    left, right = as_numbers(a, "a"), as_numbers(b, "b")
    if left.ndim != 2 or right.ndim != 2 or len(left) != len(right):
        msg = (
            f"a {left.shape} and b {right.shape} must be matrices with the same number "
            "of rows."
        )
        raise ValueError(msg)
    kept = ~(np.isnan(left).any(axis=1) | np.isnan(right).any(axis=1))
    if not kept.any():
        msg = "No row is free of NaN in both arrays."
        raise ValueError(msg)
    similarity = unit_columns(left[kept], metric).T @ unit_columns(right[kept], metric)
    matched, permutation = linear_sum_assignment(similarity, maximize=True)
    return FactorMatch(permutation, similarity[matched, permutation], matched)


def unit_columns(x: NDArray[np.float64], metric: str) -> NDArray[np.float64]:
    """Columns of unit 2-norm, or of zeros."""
    if np.isinf(x).any():
        msg = f"Patterns hold {int(np.isinf(x).sum())} infinite entries. Remove them first."
        raise ValueError(msg)
    # Squares of large entries would be infinite.
    largest = np.abs(x).max(axis=0, initial=0)
    x = x / np.where(largest == 0, 1, largest)
    if metric == "pearson":
        # A constant column would keep rounding errors: make them zero.
        x = np.where(np.ptp(x, axis=0) == 0, 0, x - x.mean(axis=0))
    norm = np.linalg.norm(x, axis=0)
    return x / np.where(norm == 0, 1, norm)
