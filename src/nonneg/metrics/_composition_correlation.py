"""Correlation of the shares of each type."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._core.arguments import checked
from ._composition import read_compositions

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@checked
def composition_correlation(
    estimate: ArrayLike, truth: ArrayLike
) -> NDArray[np.float64]:
    """Pearson correlation over observations, of each type.

    Parameters
    ----------
    estimate, truth
        Shares, shape `(n_obs, n_types)`. Rows with NaN in either are left out.

    Returns
    -------
    One number per type; NaN for types that do not vary in either.

    Raises
    ------
    ValueError
        If shapes differ, entries are negative, or no row is free of NaN.

    Examples
    --------
    >>> import nonneg as nng
    >>> estimate = [[0.1, 0.9], [0.4, 0.6], [0.7, 0.3]]
    >>> truth = [[0.2, 0.8], [0.4, 0.6], [0.6, 0.4]]
    >>> nng.metrics.composition_correlation(estimate, truth).round(6)
    array([1., 1.])
    """
    found, true = (x - x.mean(0) for x in read_compositions(estimate, truth))
    norm = np.sqrt((found**2).sum(0) * (true**2).sum(0))
    out = np.full(norm.size, np.nan)
    # Of a constant column, rounding may be left.
    varies = norm > 1e-12 * len(found)
    return np.divide((found * true).sum(0), norm, out=out, where=varies)
