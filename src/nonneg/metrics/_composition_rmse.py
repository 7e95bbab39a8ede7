"""Errors of compositions."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

import numpy as np

from .._core.arguments import checked
from .._core.validators import check_axis
from ._composition import read_compositions

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@overload
def composition_rmse(
    estimate: ArrayLike, truth: ArrayLike, *, axis: None = None
) -> float: ...
@overload
def composition_rmse(
    estimate: ArrayLike, truth: ArrayLike, *, axis: int
) -> NDArray[np.float64]: ...
@checked
def composition_rmse(
    estimate: ArrayLike, truth: ArrayLike, *, axis: int | None = None
) -> float | NDArray[np.float64]:
    r"""Root of the mean squared error of shares.

    .. math:: \sqrt{\frac{1}{nk} \sum_{ij} (\hat v_{ij} - v_{ij})^2}

    Parameters
    ----------
    estimate, truth
        Shares, shape `(n_obs, n_types)`. Rows with NaN in either are left out.
    axis
        Average over observations (`0`: one number per type), over types (`1`: one per
        observation that is left), or over all entries (`None`).

    Returns
    -------
    The error, or an array of errors.

    Raises
    ------
    ValueError
        If shapes differ, entries are negative, or no row is free of NaN.

    Examples
    --------
    >>> import nonneg as nng
    >>> nng.metrics.composition_rmse([[0.5, 0.5], [1, 0]], [[0.5, 0.5], [0.8, 0.2]])
    0.1414213562373095
    """
    check_axis(axis)
    found, true = read_compositions(estimate, truth)
    error = np.sqrt(np.square(found - true).mean(axis=axis))
    return float(error) if axis is None else np.asarray(error)
