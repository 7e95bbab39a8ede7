"""Scores of new observations on fixed loadings."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from ..._core.typing import Floats
from ...kernels.mu import mu_update_kl
from ...kernels.nnls import least_squares, nnls
from ..factor.penalty import Penalty

if TYPE_CHECKING:
    from ...operators.protocol import MatrixOperator
    from .problem import Loss


def project(
    op: MatrixOperator,
    h: Floats,
    *,
    loss: Loss = "frobenius",
    nonnegative: bool = True,
    penalty: Penalty = Penalty(),  # noqa: B008
    tol: float = 1e-6,
    max_iter: int = 1000,
) -> Floats:
    """Minimise the loss over W (n_obs, rank), with H (rank, n_vars) fixed.

    Exact for the Frobenius loss; multiplicative updates, until no score of a
    block changes by more than ``tol`` of the largest, for Kullback-Leibler.
    """
    h = np.asarray(h, op.dtype)
    w = np.empty((op.shape[0], h.shape[0]), op.dtype)
    gram = jnp.asarray(h @ h.T)
    for rows, block in op.row_blocks():
        if loss == "frobenius":
            product = jnp.asarray(block.matmul(h.T))
            w[rows] = solve(product, gram, penalty, nonnegative=nonnegative)
        else:
            w[rows] = _project_kl(block, h, penalty, tol=tol, max_iter=max_iter)
    return w


@partial(jax.jit, static_argnames="nonnegative")
def solve(
    product: jax.Array, gram: jax.Array, penalty: Penalty, *, nonnegative: bool
) -> jax.Array:
    """Least squares, exactly, for many right-hand sides and one Gram matrix."""
    gram = gram + jnp.diag(jnp.broadcast_to(penalty.l2, gram.shape[0]))
    product = product - penalty.l1
    return nnls(product, gram) if nonnegative else least_squares(product, gram)


def _project_kl(
    op: MatrixOperator, h: Floats, penalty: Penalty, *, tol: float, max_iter: int
) -> jax.Array:
    sums = jnp.asarray(h.sum(1))
    w = jnp.ones((op.shape[0], h.shape[0]), op.dtype)
    l1, l2 = penalty.weights(op.dtype)
    for _ in range(max_iter):
        new = mu_update_kl(w, jnp.asarray(op.ratio_matmul(w, h)), sums, l1, l2)
        change = jnp.abs(new - w).max()
        w = new
        if change <= tol * w.max():
            break
    return w
