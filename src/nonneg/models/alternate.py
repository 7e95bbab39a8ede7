"""One iteration of every factorization with a Frobenius loss.

The data enter only through ``(X Hᵀ, H Hᵀ)`` and ``(Xᵀ W, Wᵀ W)``, both taken
from a row block while it is at hand: one pass over the data per iteration,
whether they are in memory or streamed.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..kernels.hals import hals_update
from ..kernels.kkt import projected_gradient
from ..kernels.mu import mu_update
from ..kernels.nnls import nnls

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..kernels.operators import Matrix, MatrixOperator

type Rule = Literal["hals", "mu", "anls", "unconstrained"]


class Penalty(NamedTuple):
    """``l1 ‖F‖₁ + l2/2 ‖F‖²`` on one factor."""

    l1: float = 0.0
    l2: float = 0.0

    def value(self, factor: NDArray[np.floating[Any]]) -> float:
        """The penalty of a factor."""
        if not any(self):
            return 0.0
        return self.l1 * float(np.sum(factor, dtype=np.float64)) + (
            self.l2 / 2 * float(np.sum(np.square(factor), dtype=np.float64))
        )


@partial(jax.jit, static_argnames="rule")
def update_factor(
    factor: jax.Array, product: jax.Array, gram: jax.Array, penalty: Penalty, rule: Rule
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """New factor, its Gram matrix, and the residual of the old one."""
    l1, l2 = penalty
    gradient = factor @ gram - product + l1 + l2 * factor
    ridge = gram + l2 * jnp.eye(gram.shape[0], dtype=gram.dtype)
    match rule:
        case "hals":
            new = hals_update(factor, product, gram, l1, l2)
        case "mu":
            new = mu_update(factor, product, factor @ gram, l1, l2)
        case "anls":
            new = nnls(product - l1, ridge, start=factor)
        case "unconstrained":
            new = least_squares(product, ridge)
    if rule != "unconstrained":
        gradient = projected_gradient(factor, gradient)
    return new, new.T @ new, jnp.abs(gradient).sum()


def least_squares(product: jax.Array, gram: jax.Array) -> jax.Array:
    """Rows ``b G⁻¹``; components without data stay zero."""
    size = gram.shape[0]
    jitter = size * jnp.finfo(gram.dtype).eps * jnp.diagonal(gram).max()
    system = gram + jnp.where(jitter > 0, jitter, 1) * jnp.eye(size, dtype=gram.dtype)
    factor = jax.scipy.linalg.cho_factor(system, lower=True)
    return jax.scipy.linalg.cho_solve(factor, product.T).T


class Alternation(NamedTuple):
    """Factors after an iteration and the products that gave them."""

    W: Matrix
    H: Matrix
    fit: float
    """``‖X - W H‖²``."""
    residual: float
    alive: NDArray[np.bool_]
    """Components of which neither side is all zero."""


def alternate(
    op: MatrixOperator,
    w: Matrix,
    h: Matrix,
    *,
    sq_norm: float,
    rules: tuple[Rule, Rule],
    penalties: tuple[Penalty, Penalty] = (Penalty(), Penalty()),
) -> Alternation:
    """Update W block by block, then H, from one pass over the data.

    ``w`` is overwritten where the data come in several blocks.
    """
    h = jnp.asarray(h)
    gram_h = h @ h.T
    product_h: Any = 0.0
    gram_w: Any = 0.0
    residual = 0.0
    for rows, block in op.row_blocks():
        new, gram, violation = update_factor(
            jnp.asarray(w[rows] if len(w) > block.shape[0] else w),
            jnp.asarray(block.matmul(h.T)),
            gram_h,
            penalties[0],
            rules[0],
        )
        # Sums over many blocks keep float64 so that they do not lose digits.
        product_h = product_h + np.asarray(block.rmatmul(new), np.float64)
        gram_w = gram_w + np.asarray(gram, np.float64)
        residual += float(violation)
        if new.shape[0] == w.shape[0]:
            w = new
        else:
            w[rows] = np.asarray(new)
    new_h, gram_new_h, violation = update_factor(
        h.T,
        jnp.asarray(product_h, h.dtype),
        jnp.asarray(gram_w, h.dtype),
        penalties[1],
        rules[1],
    )
    # From products already at hand, in float64: no residual matrix, and no
    # loss of digits in the difference of large numbers.
    cross = np.vdot(product_h, np.asarray(new_h, np.float64))
    gram_new_h = np.asarray(gram_new_h, np.float64)
    fit = float(sq_norm - 2 * cross + np.vdot(gram_w, gram_new_h))
    return Alternation(
        W=w,
        H=new_h.T,
        fit=max(fit, 0.0),
        residual=residual + float(violation),
        alive=(np.diagonal(gram_w) > 0) & (np.diagonal(gram_new_h) > 0),
    )
