"""Non-negative least squares with many right-hand sides and one Gram matrix."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# Rows solved side by side: bounds the memory for their k x k systems.
_BATCH = 4096
_PATIENCE = 3


class _Pivot(NamedTuple):
    passive: Bool[Array, " k"]
    x: Float[Array, " k"]
    infeasible: Bool[Array, " k"]
    fewest: Int[Array, ""]
    patience: Int[Array, ""]
    n_steps: Int[Array, ""]


def nnls(
    product: Float[Array, "p k"],
    gram: Float[Array, "k k"],
    start: Float[Array, "p k"] | None = None,
) -> Float[Array, "p k"]:
    """Exact minimiser of ``1/2 x G xᵀ - b xᵀ`` over ``x >= 0`` for every row b.

    Block principal pivoting :cite:p:`Kim2011`: exchange every variable that
    violates the optimality conditions, and fall back to one at a time where
    that cycles. ``start`` guesses which variables are positive; it changes the
    time, not the result.
    """
    scale, gram = unit_diagonal(gram)
    passive = jnp.zeros(product.shape, bool) if start is None else start > 0
    solve = partial(_nnls_row, gram=gram)
    return scale * jax.lax.map(solve, (product * scale, passive), batch_size=_BATCH)


def least_squares(
    product: Float[Array, "p k"], gram: Float[Array, "k k"]
) -> Float[Array, "p k"]:
    """Minimise ``1/2 x G xᵀ - b xᵀ`` for every row b, of any sign.

    Components without data stay zero.
    """
    scale, gram = unit_diagonal(gram)
    factor = jax.scipy.linalg.cho_factor(gram, lower=True)
    return scale * jax.scipy.linalg.cho_solve(factor, (product * scale).T).T


def unit_diagonal(
    gram: Float[Array, "k k"],
) -> tuple[Float[Array, " k"], Float[Array, "k k"]]:
    """Rescale components so that tolerances mean the same for each.

    Returns the scale (zero for components without data) and a Gram matrix that is
    safely positive definite also where components are collinear.
    """
    size = gram.shape[0]
    diagonal = jnp.diagonal(gram)
    scale = jnp.where(
        diagonal > 0, jax.lax.rsqrt(jnp.where(diagonal > 0, diagonal, 1)), 0
    )
    unit = scale[:, None] * gram * scale[None, :]
    jitter = 4 * size * jnp.finfo(gram.dtype).eps
    return scale, unit.at[jnp.diag_indices(size)].set(1 + jitter)


def _nnls_row(
    row: tuple[Float[Array, " k"], Bool[Array, " k"]], gram: Float[Array, "k k"]
) -> Float[Array, " k"]:
    b, passive = row
    size = b.shape[0]
    eps = 10 * size * jnp.finfo(b.dtype).eps
    gradient_floor = -eps * jnp.abs(b).max()

    def solve(
        passive: Bool[Array, " k"],
    ) -> tuple[Float[Array, " k"], Bool[Array, " k"]]:
        both = passive[:, None] & passive[None, :]
        system = jnp.where(both, gram, jnp.eye(size, dtype=gram.dtype))
        factor = jax.scipy.linalg.cho_factor(system, lower=True)
        x = jax.scipy.linalg.cho_solve(factor, jnp.where(passive, b, 0))
        gradient = gram @ x - b
        floor = -eps * jnp.abs(x).max()
        return x, jnp.where(passive, x < floor, gradient < gradient_floor)

    def unfinished(state: _Pivot) -> Bool[Array, ""]:
        return state.infeasible.any() & (state.n_steps < 10 * size)

    def pivot(state: _Pivot) -> _Pivot:
        n_infeasible = state.infeasible.sum()
        improved = n_infeasible < state.fewest
        patience = jnp.where(improved, _PATIENCE, state.patience - 1)
        last = size - 1 - jnp.argmax(state.infeasible[::-1])
        single = jnp.arange(size) == last
        exchanged = jnp.where(patience >= 0, state.infeasible, single)
        passive = state.passive ^ exchanged
        x, infeasible = solve(passive)
        return _Pivot(
            passive,
            x,
            infeasible,
            jnp.minimum(n_infeasible, state.fewest),
            patience,
            state.n_steps + 1,
        )

    x, infeasible = solve(passive)
    start = _Pivot(
        passive, x, infeasible, jnp.array(size + 1), jnp.array(_PATIENCE), jnp.array(0)
    )
    return jnp.maximum(jax.lax.while_loop(unfinished, pivot, start).x, 0)
