"""Starting values inside a compiled function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp

from .start import FILL, MAX_POWER, N_OVERSAMPLES

if TYPE_CHECKING:
    from ...operators.protocol import MatrixOperator


def traced_start(
    op: MatrixOperator,
    rank: int,
    key: jax.Array,
    *,
    init: Literal["nndsvda", "nndsvd", "random"] = "nndsvda",
) -> tuple[jax.Array, jax.Array]:
    """Non-negative W and H of a traceable operator, from its own data.

    Can be jitted and vmapped: every replicate of a bootstrap starts from the data that
    it is weighted to.
    """
    n_obs, n_vars = op.shape
    ones: Any = jnp.ones((n_vars, 1), op.dtype)
    total = jnp.asarray(op.matmul(ones)).sum()
    mean = jnp.sqrt(jnp.maximum(total, 0) / (n_obs * n_vars) / rank)
    if init == "random":
        left, right = jax.random.split(key)
        w = mean * jnp.abs(jax.random.normal(left, (n_obs, rank), op.dtype))
        return w, mean * jnp.abs(jax.random.normal(right, (rank, n_vars), op.dtype))
    v = _right_singular_vectors(op, rank, key)
    w = jnp.asarray(op.matmul(v))
    small = FILL * mean if init == "nndsvda" else 0.0
    # Each pair of vectors is split by sign, and the heavier side kept.
    sides = []
    for sign in (1, -1):
        a, b = jnp.maximum(sign * w, 0), jnp.maximum(sign * v, 0)
        sides.append((a, b, jnp.linalg.norm(a, axis=0), jnp.linalg.norm(b, axis=0)))
    (a, b, norm_a, norm_b), (c, d, norm_c, norm_d) = sides
    first = norm_a * norm_b >= norm_c * norm_d
    left, right = jnp.where(first, a, c), jnp.where(first, b, d)
    norm_w = jnp.where(first, norm_a, norm_c)
    norm_v = jnp.where(first, norm_b, norm_d)
    # The leading vectors of non-negative data have one sign.
    left = left.at[:, 0].set(jnp.abs(w[:, 0]))
    right = right.at[:, 0].set(jnp.abs(v[:, 0]))
    norm_w = norm_w.at[0].set(jnp.linalg.norm(w[:, 0]))
    norm_v = norm_v.at[0].set(jnp.linalg.norm(v[:, 0]))
    scale = jnp.sqrt(norm_w * norm_v)
    left = left * (scale / jnp.where(norm_w > 0, norm_w, 1))
    right = right * (scale / jnp.where(norm_v > 0, norm_v, 1))
    return _fill(left, small), _fill(right, small).T


def _fill(x: jax.Array, small: Any) -> jax.Array:
    """Replace zeros, and what rounding leaves of them."""
    floor = jnp.finfo(x.dtype).eps * x.max(0)
    return jnp.where(x <= floor, small, x)


def _right_singular_vectors(op: MatrixOperator, rank: int, key: jax.Array) -> jax.Array:
    """Leading right singular vectors, by subspace iteration on XᵀX."""
    n_obs, n_vars = op.shape
    width = min(rank + N_OVERSAMPLES, n_obs, n_vars)
    basis = jax.random.normal(key, (n_vars, width), op.dtype)

    def image(basis: jax.Array) -> jax.Array:
        return jnp.asarray(op.rmatmul(op.matmul(basis)))

    def power(_: int, basis: jax.Array) -> jax.Array:
        return image(jnp.linalg.qr(basis)[0])

    basis = jnp.linalg.qr(jax.lax.fori_loop(0, MAX_POWER - 1, power, basis))[0]
    projected = basis.T @ image(basis)
    _, vectors = jnp.linalg.eigh((projected + projected.T) / 2)
    return basis @ vectors[:, ::-1][:, :rank]
