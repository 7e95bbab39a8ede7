"""Explained part of a matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from .._adata.checks import as_numbers
from .._core.arguments import checked
from ._matrix import read_dense_or_csr

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

# Rows at a time that are turned to float64.
_ROWS = 4096


@checked
def r2(
    x: ArrayLike | sp.sparray | sp.spmatrix,
    scores: ArrayLike,
    loadings: ArrayLike,
    *,
    centered: bool = False,
) -> float:
    r"""Part of a matrix that a factorization explains.

    .. math:: 1 - \frac{\lVert X - W H \rVert^2}{\lVert X \rVert^2}

    with scores :math:`W` and transposed loadings :math:`H`. Neither the product nor a
    residual is formed; sums are taken in float64.

    Parameters
    ----------
    x
        The matrix that was factorized, observations x variables; dense or sparse.
    scores
        Scores, shape `(n_obs, k)`.
    loadings
        Loadings, shape `(n_vars, k)`. Variables with NaN loadings (outside the
        `mask_var` of the fit) are left out.
    centered
        Measure against the variables' means instead of zero, as in regression. NMF
        has no intercept, so that it explains the means too: without centring, 0 is
        "nothing explained" and a fitted factorization never falls below; with
        centring, 0 is "no better than the means", and the number may be negative.

    Returns
    -------
    1 for a perfect fit.

    Raises
    ------
    ValueError
        If shapes do not match, or there is nothing to explain.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.quilt(12, 30)
    >>> truth = adata.obsm["truth"], adata.varm["truth"]
    >>> round(nng.metrics.r2(adata.X, *truth), 1)
    0.9
    """
    matrix = read_dense_or_csr(x)
    is_sparse = sp.issparse(x)
    W = as_numbers(scores, "scores")
    L = as_numbers(loadings, "loadings")
    if matrix.shape != (W.shape[0], L.shape[0]) or W.shape[1:] != L.shape[1:]:
        msg = (
            f"x {matrix.shape}, scores {W.shape} and loadings {L.shape} must have "
            "shapes (n_obs, n_vars), (n_obs, k) and (n_vars, k)."
        )
        raise ValueError(msg)
    used = ~np.isnan(L).any(axis=1)
    if not used.all():
        matrix, L = matrix[:, used], L[used]
    XtW = np.zeros_like(L)
    sums = np.zeros(L.shape[0])
    sq_norm = 0.0
    for start in range(0, matrix.shape[0], _ROWS):
        rows = matrix[start : start + _ROWS].astype(np.float64)
        XtW += rows.T @ W[start : start + _ROWS]
        sums += np.asarray(rows.sum(axis=0)).ravel()
        sq_norm += float((rows.multiply(rows) if is_sparse else rows**2).sum())
    if not np.isfinite(sq_norm + np.vdot(W, W) + np.vdot(L, L)):
        msg = "x, scores or loadings hold entries that are NaN, infinite or too large."
        raise ValueError(msg)
    residual = sq_norm - 2 * np.vdot(XtW, L) + np.vdot(W.T @ W, L.T @ L)
    total = sq_norm - (np.sum(sums**2) / matrix.shape[0] if centered else 0.0)
    if not total > 0:
        msg = (
            "Every variable is constant: there is no variance to explain."
            if centered
            else "x is all zero: there is nothing to explain."
        )
        raise ValueError(msg)
    return float(1 - residual / total)
