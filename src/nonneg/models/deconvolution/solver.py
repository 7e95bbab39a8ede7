"""The solver around a layer: plain steps, or extrapolated ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from ..loop import Report


class Layer(Protocol):
    """A step that never raises an objective, as a function of square roots."""

    @property
    def unit(self) -> Any: ...
    def __call__(self, roots: Any, /) -> tuple[Any, Any]: ...
    def feasible(self, roots: Any, /) -> Any: ...
    def start(self) -> Any: ...


class State(NamedTuple):
    """A fit in progress."""

    roots: Any
    """(n, k): square roots of amounts, or several arrays of which this is the first."""
    moved: Any
    """What the layer makes of them."""
    objective: Any
    """At ``roots``."""
    fall: Any
    """By how much the last step lowered it; infinite before the first one."""
    n_iter: Any


@jax.jit
def _extrapolated(old: Any, middle: Any, new: Any) -> Any:
    """Where the last two moves point to, with one length for all entries."""
    move = jax.tree.map(jnp.subtract, middle, old)
    bend = jax.tree.map(lambda x, y, z: x - y - z, new, middle, move)
    # Differentiable where nothing moves any more.
    squares = _sum_of_squares(move) / _sum_of_squares(bend)
    length = jnp.sqrt(squares)
    # A length of 1 is the second move itself.
    length = jnp.clip(length, 1, _LONGEST)
    return jax.tree.map(
        lambda x, y, z: x + 2 * length * y + length * length * z, old, move, bend
    )


def _sum_of_squares(tree: Any) -> Any:
    leaves = jax.tree.leaves(tree)
    return sum((x * x).sum() for x in leaves) + jnp.finfo(leaves[0].dtype).tiny


_LONGEST = 1e3


def _picked(first: Any, a: Any, b: Any) -> Any:
    if isinstance(first, jax.Array):
        return jax.tree.map(lambda x, y: jnp.where(first, x, y), a, b)
    # On the host, where it is known already.
    return a if first else b


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["layer", "tol", "max_iter"],
    meta_fields=["accelerate"],
)
@dataclass(frozen=True)
class DeconvolutionSolver:
    """Iterate a layer until its objective hardly falls.

    With ``accelerate``, every step is extrapolated from two moves :cite:p:`Varadhan2008`
    and kept where the objective there is not above that of the plain move: no step is
    ever taken back. Finished when a step lowers the objective by at most ``tol`` units.
    """

    layer: Any
    tol: Any = 1e-3
    max_iter: Any = 500
    accelerate: bool = True

    def init(self, roots: Any, /) -> State:
        """The state before the first step, from square roots of amounts."""
        roots = self.layer.feasible(jax.tree.map(jnp.asarray, roots))
        moved, objective = self.layer(roots)
        return State(roots, moved, objective, 0 * objective + np.inf, 0)

    def step(self, state: State, /) -> State:
        """One move, and with it one extrapolation."""
        moved = self.layer.feasible(state.moved)
        again, objective = self.layer(moved)
        if self.accelerate:
            far = self.layer.feasible(_extrapolated(state.roots, moved, again))
            after, there = self.layer(far)
            better = there <= objective
            moved, again = _picked(better, (far, after), (moved, again))
            objective = _smaller(there, objective)
        return State(
            moved, again, objective, state.objective - objective, state.n_iter + 1
        )

    def finished(self, state: State, /) -> Any:
        """Whether the last step hardly lowered the objective."""
        return state.fall <= self.tol * self.layer.unit

    def finish(self, state: State, /) -> Any:
        """Amounts (n, k), on the host; and what else moves, squared as well."""
        return jax.tree.map(lambda x: np.asarray(x) ** 2, state.moved)

    def report(self, state: State, /) -> Report:
        """The objective."""
        return Report(float(state.objective))


def _smaller(a: Any, b: Any) -> Any:
    """The smaller of two objectives, in double precision where the host has it."""
    if isinstance(a, jax.Array):
        return jnp.minimum(a, b)
    return np.minimum(a, b)
