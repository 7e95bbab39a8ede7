"""Least squares with weights of variables, and back from the scaled matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from ..factor.normalise import normalise
from ..factor.penalty import Penalty
from .problem import NMFResult
from .project import solve

if TYPE_CHECKING:
    from ...operators.weighted import WeightedOperator


def scaled_penalty(penalty: Penalty, scale: Any, rank: int) -> Penalty:
    """The penalty on loadings, as one on the loadings of the scaled matrix."""
    if penalty.is_zero:
        return penalty
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    ones = np.ones(rank, scale.dtype)
    return Penalty(
        penalty.l1 * np.outer(inverse, ones), penalty.l2 * np.outer(inverse**2, ones)
    )


def unweighted(
    result: NMFResult,
    op: WeightedOperator,
    penalty: Penalty = Penalty(),  # noqa: B008
) -> NMFResult:
    """Loadings of the variables as they are, from those of the scaled matrix.

    Variables of weight 0 had no say in the scores; they are regressed on them, with the
    penalty that loadings have.
    """
    scale = np.asarray(op.scale)
    weighs = scale > 0
    # As they were before they were given unit norm: the penalty is of that scale.
    w = result.W / np.where(result.scale > 0, result.scale, 1)
    h = result.H * result.scale[:, None] / np.where(weighs, scale, 1)
    if not weighs.all():
        product = np.asarray(op.op.rmatmul(np.ascontiguousarray(w)))[~weighs]
        gram = jnp.asarray(w.T @ w)
        h[:, ~weighs] = np.asarray(
            solve(jnp.asarray(product), gram, penalty, nonnegative=True)
        ).T
    return NMFResult(*normalise(w.astype(result.W.dtype), h), result.trace)
