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

from ..._core.precision import partial_sums
from ...kernels.hals import N_SWEEPS, hals_update
from ...kernels.kkt import projected_gradient
from ...kernels.mu import mu_update
from ...kernels.nnls import least_squares, nnls
from .momentum import Momentum, move_on
from .penalty import Penalty

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax.typing import ArrayLike

    from ...operators.protocol import Matrix, MatrixOperator


# Part of the squared norm of the data, below which what is left is computed from
# residuals: as a difference of sums in float32 it would have errors above 1e-5.
NEAR_EXACT = 1e-3

type Rule = Literal["hals", "mu", "anls", "unconstrained"]


class _Quadratic(NamedTuple):
    """``1/2 tr(F G Fᵀ) - tr(F Pᵀ)`` with penalties, and the present F."""

    factor: jax.Array
    product: jax.Array
    gram: jax.Array
    l1: ArrayLike
    ridge: jax.Array | None
    n_sweeps: int


def _hals(of: _Quadratic) -> jax.Array:
    return hals_update(
        of.factor, of.product - of.l1, of.gram, ridge=of.ridge, n_sweeps=of.n_sweeps
    )


def _mu(of: _Quadratic) -> jax.Array:
    pull = of.l1 if of.ridge is None else of.l1 + of.ridge * of.factor
    return mu_update(of.factor, of.product, of.factor @ of.gram + pull)


def _anls(of: _Quadratic) -> jax.Array:
    return nnls(of.product - of.l1, of.gram, start=of.factor)


def _unconstrained(of: _Quadratic) -> jax.Array:
    return least_squares(of.product - of.l1, of.gram)


class _Update(NamedTuple):
    """How a rule moves a factor, and what it can do."""

    move: Callable[[_Quadratic], jax.Array]
    one_gram: bool = False
    """Whether all rows are solved with one Gram matrix."""
    nonnegative: bool = True


_RULES: dict[Rule, _Update] = {
    "hals": _Update(_hals),
    "mu": _Update(_mu),
    "anls": _Update(_anls, one_gram=True),
    "unconstrained": _Update(_unconstrained, one_gram=True, nonnegative=False),
}


def minimise(
    factor: jax.Array,
    product: jax.Array,
    gram: jax.Array,
    rule: Rule,
    *,
    l1: ArrayLike = 0.0,
    ridge: jax.Array | None = None,
    n_sweeps: int = N_SWEEPS,
) -> jax.Array:
    """Update F towards the minimum of ``1/2 tr(F G Fᵀ) - tr(F Pᵀ)`` and penalties.

    These are ``l1 ‖F‖₁`` and ``1/2 Σ ridge F²``, the latter where quadratic penalties
    differ between rows; others are part of G.
    """
    update = _RULES[rule]
    if ridge is not None and update.one_gram:
        msg = (
            f"Quadratic penalties that differ between rows need a Gram matrix for each "
            f"row, which {rule!r} does not have. Use 'hals' or 'mu'."
        )
        raise ValueError(msg)
    return update.move(_Quadratic(factor, product, gram, l1, ridge, n_sweeps))


@partial(jax.jit, static_argnames="rule")
def update_factor(
    factor: jax.Array, product: jax.Array, gram: jax.Array, penalty: Penalty, rule: Rule
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """New factor, its Gram matrix, the residual of the old one, and its scale.

    The residual is the sum of absolute projected gradients, the scale that of the
    products: their ratio does not depend on the units of the data.
    """
    scale = jnp.abs(product).sum()
    l1, l2 = penalty.weights(factor.dtype)
    ridge = None
    if l2.ndim == 2 or (l2.ndim == 1 and not _RULES[rule].one_gram):
        # Beside the Gram matrix, whose diagonal tells which components are dead.
        ridge = jnp.broadcast_to(l2, factor.shape)
    else:
        # The quadratic penalty is part of the form that every rule minimises.
        gram = gram + jnp.diag(jnp.broadcast_to(l2, gram.shape[0]))
    # Turned, as HALS has them: compiled in two thirds of the time.
    gradient = gram @ factor.T - (product - l1).T
    if ridge is not None:
        gradient = gradient + (ridge * factor).T
    new = minimise(factor, product, gram, rule, l1=l1, ridge=ridge)
    if _RULES[rule].nonnegative:
        gradient = projected_gradient(factor.T, gradient)
    return new, new.T @ new, jnp.abs(gradient).sum(), scale


class Alternation(NamedTuple):
    """Factors after an iteration and the products that gave them."""

    W: Matrix
    H: Matrix
    H_T: Matrix
    fit: Any
    """``‖X - W H‖²``."""
    residual: Any
    """Projected gradients before, relative to the products; mean of both factors."""
    alive: Any
    """Components of which neither side is all zero."""
    reached: Matrix
    """W before it was moved on; W itself where it was not."""


@jax.jit
def _turned(h: jax.Array) -> tuple[jax.Array, jax.Array]:
    """H.T and H H.T: single operations outside compiled functions cost more than these."""
    return h.T, h @ h.T


@partial(jax.jit, static_argnames="rule")
def _update_loadings(
    h_t: jax.Array, product: jax.Array, gram: jax.Array, penalty: Penalty, rule: Rule
) -> tuple[jax.Array, ...]:
    """What :func:`update_factor` returns, after new loadings (k, n_vars)."""
    product, gram = product.astype(h_t.dtype), gram.astype(h_t.dtype)
    new, *others = update_factor(h_t, product, gram, penalty, rule)
    return new.T, new, *others


@jax.jit
def _moved(new: jax.Array, last: jax.Array, share: Any) -> tuple[jax.Array, jax.Array]:
    """Rows that are moved on, and their Gram matrix."""
    moved = move_on(new, last, share)
    return moved, moved.T @ moved


def alternate(
    op: MatrixOperator,
    w: Matrix,
    h: Matrix,
    *,
    sq_norm: Any,
    rules: tuple[Rule, Rule],
    penalties: tuple[Penalty, Penalty] = (Penalty(), Penalty()),
    momentum: Momentum | None = None,
) -> Alternation:
    """Update W block by block, then H, from one pass over the data.

    With ``momentum``, W is moved on before H is updated. Where the data come in several
    blocks, scores on the host are overwritten: ``momentum.last``, or ``w`` without it.
    """
    old = reached = w
    h_t, gram_h = _turned(h)
    product_h: Any = 0.0
    gram_w: Any = 0.0
    violation: Any = 0.0
    scale: Any = 0.0
    largest = 0
    for rows, block in op.row_blocks():
        product = block.matmul(h_t)
        largest = max(largest, product.shape[0])
        new, gram, *measures = _update_rows(
            old, rows, product, largest, gram_h, penalties[0], rules[0]
        )
        whole = new.shape[0] == w.shape[0]
        moved = new
        if momentum is not None:
            last, share = momentum
            if w is old and not whole:
                # A step that is undone goes back to the old ones.
                w = np.empty_like(old)
                reached = np.empty_like(old) if last is old else last
            moved, gram = _moved(new, last if whole else last[rows], share)
        # Sums over many blocks keep float64 so that they do not lose digits.
        product_h = product_h + exact(block.rmatmul(moved))
        gram_w = gram_w + exact(gram)
        violation = violation + exact(measures[0])
        scale = scale + exact(measures[1])
        w = moved if whole else _put(w, rows, moved)
        # Not before W is there, for which what stands here now is read.
        reached = new if whole else _put(reached, rows, new)
    new_h, new_h_t, gram_new_h, violation_h, scale_h = _update_loadings(
        h_t, product_h, gram_w, penalties[1], rules[1]
    )
    # From products already at hand, in float64: no residual matrix, and no
    # loss of digits in the difference of large numbers.
    gram_new_h = exact(gram_new_h)
    cross = (product_h * exact(new_h_t)).sum()
    fit = sq_norm - 2 * cross + (gram_w * gram_new_h).sum()
    xp = jnp if isinstance(fit, jax.core.Tracer) else np
    if xp is np and fit < NEAR_EXACT * sq_norm:
        fit = squared_error(op, w, new_h)
    return Alternation(
        W=w,
        H=new_h,
        H_T=new_h_t,
        fit=xp.maximum(fit, 0.0),
        residual=(_ratio(violation, scale) + _ratio(exact(violation_h), exact(scale_h)))
        / 2,
        alive=(xp.diagonal(gram_w) > 0) & (xp.diagonal(gram_new_h) > 0),
        reached=reached,
    )


def _put(w: Any, rows: slice, new: Matrix) -> Any:
    w[rows] = np.asarray(new)
    return w


@jax.jit
def _squared_residuals(x: jax.Array, w: jax.Array, h: jax.Array) -> jax.Array:
    return partial_sums(jnp.square(x - w @ h))


def squared_error(op: MatrixOperator, w: Matrix, h: Matrix) -> float:
    """``‖X - W H‖²`` from residuals, some rows at a time.

    Exact also where hardly anything is left, for the price of another product.
    """
    h = jnp.asarray(h)
    return sum(
        float(exact(_squared_residuals(jnp.asarray(x), w[rows], h)).sum())
        for rows, x in op.dense_blocks()
    )


def exact(x: Any) -> Any:
    """In float64 on the host; as it is where it is traced."""
    return x if isinstance(x, jax.core.Tracer) else np.asarray(x, np.float64)


def _update_rows(
    w: Matrix,
    rows: slice,
    product: Matrix,
    size: int,
    *args: Any,
) -> tuple[jax.Array, ...]:
    """Update the rows of W that belong to a block, padded to ``size``."""
    gram, penalty, rule = args
    n_rows = product.shape[0]
    if n_rows == w.shape[0]:
        return update_factor(w, product, gram, penalty, rule)
    # Rows of zeros make all blocks one shape, which compiles once; they stay zero.
    n_missing = size - n_rows
    missing = ((0, n_missing), (0, 0))
    old, product = (np.pad(np.asarray(x), missing) for x in (w[rows], product))
    of_rows = penalty.rows(rows).pad(n_missing)
    new, *others = update_factor(old, product, gram, of_rows, rule)
    return (new[:n_rows], *others)


def _ratio(violation: Any, scale: Any) -> Any:
    xp = jnp if isinstance(scale, jax.core.Tracer) else np
    return xp.where(scale > 0, violation / xp.where(scale > 0, scale, 1), 0.0)
