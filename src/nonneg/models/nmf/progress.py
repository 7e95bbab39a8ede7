"""How fits that are judged by their objective know that they are done."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .problem import NMFState

# Objectives are compared after so many steps: a single one gains little.
CHECK_EVERY = 10


def begin(w: Any, h: Any) -> NMFState:
    """The state before the first step."""
    rank = h.shape[0]
    on_host = isinstance(w, np.ndarray)
    xp: Any = np if on_host else jnp
    infinite = xp.full((), xp.inf, np.float64 if on_host else h.dtype)
    return NMFState(
        W=w,
        H=jnp.asarray(h),
        n_iter=xp.zeros((), int),
        objective=infinite,
        residual=infinite,
        first=infinite,
        checks=xp.stack([infinite, infinite]),
        alive=xp.ones(rank, bool),
        reseeds=xp.zeros(rank, int),
    )


def is_check(n_iter: Any) -> Any:
    """Whether the fall of the objective is judged after so many steps."""
    return (n_iter == 1) | (n_iter % CHECK_EVERY == 0)


def judge(state: NMFState, objective: Any) -> NMFState:
    """The state with a new objective."""
    xp: Any = np
    if isinstance(objective, jax.core.Tracer):
        xp, objective = jnp, objective.astype(state.objective.dtype)
    checked = is_check(state.n_iter)
    pair = xp.stack([objective, state.checks[0]])
    return state._replace(
        objective=objective,
        first=xp.where(state.n_iter == 1, objective, state.first),
        checks=xp.where(checked, pair, state.checks),
    )


def fell_little(state: NMFState, tol: Any) -> Any:
    """Whether ten steps gained at most ``tol`` times the first objective."""
    last, before = state.checks
    judged = (state.n_iter > 0) & (state.n_iter % CHECK_EVERY == 0)
    return judged & (before - last <= tol * state.first)
