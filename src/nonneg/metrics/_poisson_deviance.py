"""Poisson deviance of a fitted mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np
import scipy.sparse as sp
from scipy.special import kl_div

from .._adata.checks import as_numbers
from .._core.arguments import checked
from .._core.validators import check_axis
from ._matrix import check_counts, read_dense_or_csr

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# A mean of zero where something was counted would be infinitely wrong.
_FLOOR = 1e-12


@overload
def poisson_deviance(
    y: ArrayLike | sp.sparray | sp.spmatrix, mu: ArrayLike, *, axis: None = None
) -> float: ...
@overload
def poisson_deviance(
    y: ArrayLike | sp.sparray | sp.spmatrix, mu: ArrayLike, *, axis: int
) -> NDArray[np.float64]: ...
@checked
def poisson_deviance(
    y: ArrayLike | sp.sparray | sp.spmatrix,
    mu: ArrayLike,
    *,
    axis: int | None = None,
) -> float | NDArray[np.float64]:
    r"""Mean Poisson deviance of counts from a fitted mean.

    .. math:: \frac{2}{NJ} \sum_{ij} y_{ij} \log \frac{y_{ij}}{\mu_{ij}} - y_{ij} + \mu_{ij}

    How far the fitted means are from the counts, in units in which the true mean of
    counts that are not too small scores about 1. For model choice, take counts that
    were not used in the fit. It is smallest, on average, at the true mean. The score
    printed under this name in :cite:t:`Townes2023` leaves out entries without counts
    and is not comparable.

    Parameters
    ----------
    y
        Counts, observations x variables; dense or sparse. Sparse counts stay sparse.
    mu
        Fitted means, a dense array of the same shape. Means below 1e-12 count as
        1e-12.
    axis
        Average over observations (`0`: one number per variable), over variables
        (`1`: one per observation), or over all entries (`None`).

    Returns
    -------
    The mean deviance, or an array of mean deviances.

    Raises
    ------
    ValueError
        If shapes differ, or entries are negative or NaN.
    TypeError
        If `mu` is sparse.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.quilt(12, 30, dispersion=0)
    >>> mu = 0.2 + adata.obsm["truth"] @ adata.varm["truth"].T
    >>> round(nng.metrics.poisson_deviance(adata.X, mu), 1)
    0.8
    """
    check_axis(axis)
    if sp.issparse(mu):
        msg = "mu must be dense: a fitted mean of zero is a claim about every entry."
        raise TypeError(msg)
    means = as_numbers(mu, "mu")
    counts = read_dense_or_csr(y)
    is_sparse = sp.issparse(y)
    if counts.shape != means.shape:
        msg = f"y has shape {counts.shape}, but mu has shape {means.shape}."
        raise ValueError(msg)
    check_counts(counts.data if is_sparse else counts, "y")
    check_counts(means, "mu")
    if is_sparse:
        deviance = _sparse_deviance(counts, means, axis)
    else:
        terms = kl_div(counts, np.maximum(means, _FLOOR), dtype=np.float64)
        deviance = np.asarray(2 * terms.mean(axis=axis))
    return deviance.item() if axis is None else deviance


def _sparse_deviance(y: Any, mu: NDArray[Any], axis: int | None) -> NDArray[np.float64]:
    """Every entry contributes its mean; stored counts contribute the rest."""
    rows = np.repeat(np.arange(y.shape[0]), np.diff(y.indptr))
    fitted = np.maximum(mu[rows, y.indices], _FLOOR).astype(np.float64)
    stored = kl_div(y.data, fitted) - fitted
    if axis is None:
        total = stored.sum() + mu.sum(dtype=np.float64)
        return np.asarray(2 * total / mu.size)
    place = y.indices if axis % 2 == 0 else rows
    n_kept = mu.shape[1 - axis % 2]
    total = np.bincount(place, stored, minlength=n_kept)
    return np.asarray(
        2 * (total + mu.sum(axis=axis, dtype=np.float64)) / mu.shape[axis]
    )
