"""Components that no observation uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from ...operators.protocol import Matrix, MatrixOperator

# Attempts per component: if they fail, the data need fewer.
_MAX_RESEEDS = 3


def revive(
    op: MatrixOperator,
    row_sums: Matrix,
    w: Matrix,
    h: Matrix,
    *,
    alive: Matrix,
    reseeds: Matrix,
) -> tuple[Matrix, Matrix, Matrix]:
    """Point dead components at the worst explained observations.

    A component is dead when one of its sides is all zero: no update moves it
    again. Also returns how often each component was pointed somewhere.
    """
    if isinstance(alive, jax.core.Tracer):
        return jax.lax.cond(
            jnp.all(alive),
            lambda: (w, h, reseeds),
            lambda: _point(op, jnp.asarray(row_sums), (w, h), alive, reseeds),
        )
    if np.all(alive):
        return w, h, reseeds
    sums, *factors, living, tried = (
        np.asarray(x) for x in (row_sums, w, h, alive, reseeds)
    )
    new_w, new_h, new_reseeds = _point(op, sums, tuple(factors), living, tried)
    # Scores of streamed data stay on the host.
    new_w = new_w if isinstance(w, np.ndarray) else jnp.asarray(new_w)
    return new_w, jnp.asarray(new_h), new_reseeds


def _point(
    op: MatrixOperator,
    row_sums: Any,
    factors: tuple[Any, ...],
    alive: Any,
    reseeds: Any,
) -> tuple[Any, Any, Any]:
    w, h = factors
    xp: Any = np if isinstance(alive, np.ndarray) else jnp
    missing = row_sums - w @ h.sum(1)
    # One observation for each dead component, or as many as there could be.
    n_dead = h.shape[0] if xp is jnp else int((~alive).sum())
    worst = xp.argsort(-missing)[:n_dead]
    picks = (xp.arange(w.shape[0])[:, None] == worst).astype(h.dtype)
    rest = xp.asarray(op.rmatmul(picks)).T - w[worst] @ h
    # The first dead component takes the worst observation, and so on.
    turn = xp.clip(xp.cumsum(~alive) - 1, 0, worst.size - 1)
    dead = ~alive & (xp.cumsum(~alive) <= worst.size)
    reseeds = reseeds + dead
    moved = dead & (reseeds <= _MAX_RESEEDS) & (missing[worst][turn] > 0)
    new_h = xp.where(moved[:, None], xp.maximum(rest[turn], 0), h)
    return xp.where(moved, 0, w).astype(w.dtype), new_h.astype(h.dtype), reseeds
