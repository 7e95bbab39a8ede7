"""One set of patterns from those of many samples, and what the data make of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy.optimize import linear_sum_assignment

from ..factor.penalty import Penalty
from ..nmf.project import solve
from .match import unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...operators.protocol import MatrixOperator
    from ...operators.stats import MatrixStats
    from .draws import Resample


class Consensus(NamedTuple):
    """What the samples have in common."""

    patterns: NDArray[np.float32]
    """(k, size), of unit 2-norm"""
    similarity: NDArray[np.float64]
    """(n, k): cosine of each pattern with the one that a sample has for it."""
    alone: NDArray[np.float64]
    """(k,): share of the samples whose pattern for it is far from all others."""


def consensus(
    patterns: NDArray[Any],
    between: NDArray[np.float64],
    alone: NDArray[np.bool_],
    *,
    signed: bool = False,
) -> Consensus:
    """The median over samples, matched to the one that is nearest to all others.

    ``between`` are the distances between samples.
    """
    n, k, size = patterns.shape
    medoid = unit(patterns[int(between.sum(axis=1).argmin())])
    order = np.empty((n, k), int)
    sign = np.ones((n, k))
    for p in range(n):
        cosines = unit(patterns[p]) @ medoid.T
        strength = np.abs(cosines) if signed else cosines
        # A row per pattern of the medoid.
        _, order[p] = linear_sum_assignment(strength.T, maximize=True)
        if signed:
            sign[p] = np.where(cosines[order[p], np.arange(k)] < 0, -1, 1)
    center = np.empty((k, size), np.float32)
    similarity = np.empty((n, k))
    for j in range(k):
        matched = unit(np.stack([patterns[p, order[p, j]] for p in range(n)]))
        matched = matched * sign[:, j, None].astype(matched.dtype)
        middle = unit(np.median(matched, axis=0)[None])[0]
        # Patterns that have nothing in common have a median of zero.
        center[j] = middle if middle.any() else medoid[j]
        similarity[:, j] = matched @ center[j]
    lonely = np.take_along_axis(alone, order, axis=1)
    return Consensus(center, similarity, lonely.mean(axis=0))


class Moments(NamedTuple):
    """Sums over the observations of every variable."""

    mean: NDArray[np.float64]
    sq_mean: NDArray[np.float64]

    @staticmethod
    def of(op: MatrixOperator, stats: MatrixStats) -> Moments:
        ones = np.ones((op.shape[0], 1), op.dtype)
        squares = np.asarray(op.square_rmatmul(ones), np.float64)[:, 0]
        return Moments(stats.col_sums / op.shape[0], squares / op.shape[0])


def refit(
    op: MatrixOperator,
    patterns: NDArray[Any],
    side: Resample,
    *,
    var_weights: NDArray[Any] | None = None,
    nonnegative: bool = True,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """W (n_obs, k) and H (k, n_vars) with the patterns as one of them, all data as they are.

    ``side`` is what was resampled: patterns are of the other one. Weights of variables
    matter where patterns are theirs.
    """
    if side != "obs":
        product = op.rmatmul(np.ascontiguousarray(patterns.T, op.dtype))
        gram = jnp.asarray(patterns @ patterns.T)
        h = solve(jnp.asarray(product), gram, Penalty(), nonnegative=nonnegative)
        return patterns.T, np.asarray(h).T
    weighted = patterns
    if var_weights is not None:
        weighted = patterns * np.asarray(var_weights, patterns.dtype)
    product = op.matmul(np.ascontiguousarray(weighted.T, op.dtype))
    gram = jnp.asarray(weighted @ patterns.T)
    w = solve(jnp.asarray(product), gram, Penalty(), nonnegative=nonnegative)
    return np.asarray(w), patterns


def reconstruction(
    op: MatrixOperator, moments: Moments, w: NDArray[Any], h: NDArray[Any]
) -> NDArray[np.float64]:
    """Correlation of every variable with its reconstruction W h, which is not formed.

    0 where either is constant.
    """
    n_obs = op.shape[0]
    h = np.asarray(h, np.float64)
    cross = np.asarray(op.rmatmul(np.ascontiguousarray(w, op.dtype)), np.float64)
    w = np.asarray(w, np.float64)
    mean = w.mean(axis=0) @ h
    covariance = (cross.T * h).sum(axis=0) / n_obs - moments.mean * mean
    of_fit = np.maximum(
        np.einsum("kj,kl,lj->j", h, w.T @ w / n_obs, h, optimize=True) - mean**2, 0
    )
    of_data = np.maximum(moments.sq_mean - moments.mean**2, 0)
    # Single precision: what is left of a constant is not zero.
    product = np.sqrt(of_fit * of_data)
    floor = np.finfo(op.dtype).eps * np.sqrt(moments.sq_mean * (of_fit + mean**2))
    flat = product <= floor
    return np.where(flat, 0.0, np.clip(covariance / np.where(flat, 1, product), -1, 1))
