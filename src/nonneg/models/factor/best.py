"""The best of several starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..loop import Trace, drive

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..loop import Callback, Solver


def best_of[State](
    solver: Solver[State, Any], starts: Iterable[Any], callback: Callback | None = None
) -> tuple[State, Trace]:
    """Fit from every start, and keep the state whose objective ends lowest.

    ``starts`` are handed to ``solver.init`` one after the other. An interruption ends
    the search, and keeps what was found before.
    """
    best: tuple[State, Trace] | None = None
    interrupted = False
    try:
        for start in starts:
            state, trace = drive(solver, solver.init(start), callback)
            if best is None or trace.objective[-1] < best[1].objective[-1]:
                best = state, trace
            if trace.interrupted:
                interrupted = True
                break
    except KeyboardInterrupt:
        # Between two starts: what the earlier ones found is kept.
        if best is None:
            raise
        interrupted = True
    assert best is not None
    state, trace = best
    return state, trace._replace(interrupted=interrupted)
