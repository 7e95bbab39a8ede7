"""The loop around every iterative fit."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Report(NamedTuple):
    """What an iteration tells the loop and the progress bar."""

    objective: float | None
    """None where it was not computed."""
    residual: float | None = None
    """Measure of optimality that goes to zero."""


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


def iterate[State](
    step: Callable[[State, int], tuple[State, Report]],
    state: State,
    *,
    max_iter: int,
    finished: Callable[[list[Report]], bool],
    callback: Callback | None = None,
) -> tuple[State, Trace]:
    """Repeat ``step`` until it is finished, exhausted or interrupted.

    An interruption (:class:`KeyboardInterrupt`) ends the loop and keeps the last
    complete state; before the first iteration is complete it is passed on.
    """
    reports: list[Report] = []
    seconds: list[float] = []
    start = perf_counter()
    converged = interrupted = False
    try:
        while len(reports) < max_iter and not converged:
            state, report = step(state, len(reports) + 1)
            reports.append(report)
            seconds.append(perf_counter() - start)
            converged = finished(reports)
            if callback is not None:
                callback(len(reports), report)
    except KeyboardInterrupt:
        if not reports:
            raise
        interrupted = True
    known = [
        (i, r.objective) for i, r in enumerate(reports, 1) if r.objective is not None
    ]
    return state, Trace(
        objective=[objective for _, objective in known],
        iteration=[i for i, _ in known],
        seconds=[seconds[i - 1] for i, _ in known],
        n_iter=len(reports),
        converged=converged,
        interrupted=interrupted,
    )
