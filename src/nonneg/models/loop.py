"""One contract for all solvers, and the two loops that drive them.

A solver holds its problem and options; what changes is a state, a NamedTuple of arrays.
:func:`drive` runs on the host: it streams blocks, shows progress, and can be
interrupted. :func:`run` is one compiled loop: it can be jitted, vmapped and
differentiated. Both call the same ``step``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from .clock import clock

if TYPE_CHECKING:
    pass


class Report(NamedTuple):
    """What an iteration tells the loop and the progress bar."""

    objective: float | None
    """None where it was not computed."""
    residual: float | None = None
    """Measure of optimality that goes to zero."""
    task: str | None = None
    """What the iteration is of, where it is not of the fit that was asked for."""


class Callback(Protocol):
    """Called after every iteration."""

    def __call__(self, iteration: int, report: Report, /) -> None: ...


class Trace(NamedTuple):
    """What happened in a loop."""

    objective: list[float]
    iteration: list[int]
    """Iterations after which the objective was computed."""
    seconds: list[float]
    """When they were complete, from the start of the loop."""
    n_iter: int
    converged: bool
    interrupted: bool


class Solver[State, Result](Protocol):
    """What a fit consists of. Problem and options are fields."""

    @property
    def max_iter(self) -> int:
        """Maximum number of steps."""
        ...

    def init(self, rng: Any, /) -> State:
        """Starting values."""
        ...

    def step(self, state: State, /) -> State:
        """One iteration: pure, and without branches on values."""
        ...

    def finished(self, state: State, /) -> Any:
        """Whether the tolerance is met; False before the first step."""
        ...

    def finish(self, state: State, /) -> Result:
        """What is returned to the caller, on the host."""
        ...

    def report(self, state: State, /) -> Report:
        """What the last step found, as numbers on the host."""
        ...


def drive[State](
    solver: Solver[State, Any], state: State, callback: Callback | None = None
) -> tuple[State, Trace]:
    """Step on the host until the fit is finished, exhausted or interrupted.

    An interruption (:class:`KeyboardInterrupt`) ends the loop and keeps the last
    complete state; before the first step is complete it is passed on. Scores of
    streamed data are updated in place: some of them may be one step ahead then.
    """
    reports: list[tuple[Report, float]] = []
    start = clock()
    converged = interrupted = False
    try:
        while len(reports) < solver.max_iter and not converged:
            state = solver.step(state)
            report, now = solver.report(state), clock() - start
            # Both at once: an interruption may come between any two lines.
            reports.append((report, now))
            converged = bool(solver.finished(state))
            if callback is not None:
                callback(len(reports), report)
    except KeyboardInterrupt:
        if not reports:
            raise
        interrupted = True
    known = [
        (i, report.objective, now)
        for i, (report, now) in enumerate(reports, 1)
        if report.objective is not None
    ]
    return state, Trace(
        objective=[objective for _, objective, _ in known],
        iteration=[i for i, _, _ in known],
        seconds=[now for _, _, now in known],
        n_iter=len(reports),
        converged=converged,
        interrupted=interrupted,
    )


def run[State](
    solver: Solver[State, Any],
    state: State,
    n_steps: int | None = None,
    *,
    remat: bool = False,
) -> State:
    """Step inside one compiled loop, for problems whose operators are traceable.

    Until the fit is finished, or exactly ``n_steps`` times, which can be
    differentiated in reverse; with ``remat``, steps are computed again on the way back
    instead of kept.
    """
    if n_steps is not None:
        once = jax.checkpoint(solver.step) if remat else solver.step
        return jax.lax.scan(
            lambda state, _: (once(state), None), state, length=n_steps
        )[0]

    def going(carry: tuple[jax.Array, State]) -> jax.Array:
        n_done, state = carry
        return (n_done < solver.max_iter) & ~jnp.asarray(solver.finished(state))

    def step(carry: tuple[jax.Array, State]) -> tuple[jax.Array, State]:
        n_done, state = carry
        return n_done + 1, solver.step(state)

    return jax.lax.while_loop(going, step, (jnp.array(0), state))[1]
