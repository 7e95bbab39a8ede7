"""Which factor a gene belongs to, and how much."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Importance(NamedTuple):
    """Of every gene; genes without a loading have NaN, -1 and 0."""

    share: NDArray[np.float64]
    """(n_vars, k): part that each factor has in the gene."""
    largest: NDArray[np.float64]
    """(n_vars,): the largest of these."""
    factor: NDArray[np.intp]
    """(n_vars,): the factor that has it."""
    n_factors: NDArray[np.intp]
    """(n_vars,): factors with more than a share."""


def gene_importance(
    loadings: NDArray[np.floating], size: NDArray[np.floating], min_share: float
) -> Importance:
    """Shares of factors in genes, of patterns that have one size.

    ``loadings`` (n_vars, k) are multiplied by ``size`` (k,), that of the patterns, as
    without a common size they cannot be compared between factors.
    """
    sized = np.abs(np.nan_to_num(loadings.astype(np.float64))) * size
    total = sized.sum(1, keepdims=True)
    share = np.divide(sized, total, out=np.full_like(sized, np.nan), where=total > 0)
    known = total[:, 0] > 0
    filled = np.where(known[:, None], share, 0)
    return Importance(
        share,
        np.where(known, filled.max(1), np.nan),
        np.where(known, filled.argmax(1), -1),
        (filled > min_share).sum(1),
    )
