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

from ...kernels.hals import N_SWEEPS, hals_update
from ...kernels.kkt import projected_gradient
from ...kernels.mu import mu_update
from ...kernels.nnls import least_squares, nnls
from .penalty import Penalty

if TYPE_CHECKING:
    from jax.typing import ArrayLike
    from numpy.typing import NDArray

    from ...operators.protocol import Matrix, MatrixOperator


type Rule = Literal["hals", "mu", "anls", "unconstrained"]


def minimise(
    factor: jax.Array,
    product: jax.Array,
    gram: jax.Array,
    rule: Rule,
    *,
    l1: ArrayLike = 0.0,
    n_sweeps: int = N_SWEEPS,
) -> jax.Array:
    """Update F towards the minimum of ``1/2 tr(F G Fᵀ) - tr(F Pᵀ) + l1 ‖F‖₁``."""
    match rule:
        case "hals":
            return hals_update(factor, product - l1, gram, n_sweeps=n_sweeps)
        case "mu":
            return mu_update(factor, product, factor @ gram + l1)
        case "anls":
            return nnls(product - l1, gram, start=factor)
        case "unconstrained":
            return least_squares(product - l1, gram)


@partial(jax.jit, static_argnames="rule")
def update_factor(
    factor: jax.Array, product: jax.Array, gram: jax.Array, penalty: Penalty, rule: Rule
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """New factor, its Gram matrix, the residual of the old one, and its scale.

    The residual is the sum of absolute projected gradients, the scale that of the
    products: their ratio does not depend on the units of the data.
    """
    scale = jnp.abs(product).sum()
    # The quadratic penalty is part of the form that every rule minimises.
    gram = gram + jnp.diag(jnp.broadcast_to(penalty.l2, gram.shape[0]))
    gradient = factor @ gram - product + penalty.l1
    new = minimise(factor, product, gram, rule, l1=penalty.l1)
    if rule != "unconstrained":
        gradient = projected_gradient(factor, gradient)
    return new, new.T @ new, jnp.abs(gradient).sum(), scale


class Alternation(NamedTuple):
    """Factors after an iteration and the products that gave them."""

    W: Matrix
    H: Matrix
    fit: float
    """``‖X - W H‖²``."""
    residual: float
    """Projected gradients before, relative to the products; mean of both factors."""
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
    violation, scale, largest = 0.0, 0.0, 0
    for rows, block in op.row_blocks():
        product = block.matmul(h.T)
        largest = max(largest, product.shape[0])
        new, gram, *measures = _update_rows(
            w, rows, product, largest, gram_h, penalties[0], rules[0]
        )
        # Sums over many blocks keep float64 so that they do not lose digits.
        product_h = product_h + np.asarray(block.rmatmul(new), np.float64)
        gram_w = gram_w + np.asarray(gram, np.float64)
        violation += float(measures[0])
        scale += float(measures[1])
        if new.shape[0] == w.shape[0]:
            w = new
        else:
            w[rows] = np.asarray(new)
    new_h, gram_new_h, violation_h, scale_h = update_factor(
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
        residual=(_ratio(violation, scale) + _ratio(float(violation_h), float(scale_h)))
        / 2,
        alive=(np.diagonal(gram_w) > 0) & (np.diagonal(gram_new_h) > 0),
    )


def _update_rows(
    w: Matrix, rows: slice, product: Matrix, size: int, *args: Any
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Update the rows of W that belong to a block, padded to ``size``."""
    n_rows = product.shape[0]
    if n_rows == w.shape[0]:
        return update_factor(jnp.asarray(w), jnp.asarray(product), *args)
    # Rows of zeros make all blocks one shape, which compiles once; they stay zero.
    missing = ((0, size - n_rows), (0, 0))
    old, product = (np.pad(np.asarray(x), missing) for x in (w[rows], product))
    new, *others = update_factor(jnp.asarray(old), jnp.asarray(product), *args)
    return (new[:n_rows], *others)


def _ratio(violation: float, scale: float) -> float:
    return violation / scale if scale > 0 else 0.0
