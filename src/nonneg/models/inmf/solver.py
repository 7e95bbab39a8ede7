"""All cells at once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..._core.typing import Floats
from ..loop import Report, Trace, iterate
from .loadings import fit_loadings, objectives
from .normalise import normalise
from .problem import Data, Model, Penalties, Solver, State, Sums
from .revive import revive
from .scores import ROW_SWEEPS, pass_over, update_rows
from .start import start
from .summary import Survey

if TYPE_CHECKING:
    from ..loop import Callback


class INMFResult(NamedTuple):
    """Factors, sorted by contribution, and the trace."""

    model: Model
    """Rows of ``W`` plus the mean of ``V`` have unit 2-norm."""
    scores: Floats
    """(n_obs, k); carry the scale."""
    sums: Sums
    trace: Trace


def inmf(
    found: Survey,
    rank: int,
    penalties: Penalties,
    *,
    solver: Solver = "hals",
    n_init: int = 1,
    tol: float = 1e-5,
    max_iter: int = 200,
    seed: int = 0,
    callback: Callback | None = None,
) -> INMFResult:
    """Fit all cells at once.

    Stops when an iteration lowers the objective by at most ``tol`` of its value.
    """
    best: tuple[State, Trace] | None = None
    interrupted = False
    try:
        for attempt in range(n_init):
            model = start(found.sample, rank, penalties, seed=seed, attempt=attempt)
            state = _descend(
                found.data,
                model,
                penalties,
                solver,
                tol=tol,
                max_iter=max_iter,
                callback=callback,
            )
            if best is None or state[1].objective[-1] < best[1].objective[-1]:
                best = state
            if state[1].interrupted:
                interrupted = True
                break
    except KeyboardInterrupt:
        # Between two starts: what the earlier ones found is kept.
        if best is None:
            raise
        interrupted = True
    assert best is not None
    (model, scores, sums), trace = best
    model, scores, sums = normalise(model, scores, sums)
    return INMFResult(model, scores, sums, trace._replace(interrupted=interrupted))


def _descend(
    data: Data,
    model: Model,
    penalties: Penalties,
    solver: Solver,
    *,
    tol: float,
    max_iter: int,
    callback: Callback | None,
) -> tuple[State, Trace]:
    rank = model.W.shape[0]
    scores = np.zeros((data.shape[0], rank), data.dtype)
    update = partial(update_rows, rule=solver, n_sweeps=ROW_SWEEPS)
    if solver == "mu":
        # Multiplicative updates cannot leave zero.
        first = partial(update_rows, rule="hals", n_sweeps=ROW_SWEEPS)
        scores, _ = pass_over(data, model, penalties.lam, scores, first)
        model = Model(*map(_positive, model))
        scores = _positive(scores)
    reseeds: dict[int, int] = {}

    def step(state: State, _: int) -> tuple[State, Report]:
        model, scores, sums = state
        if solver != "mu":
            model = revive(data, model, scores, sums, reseeds)
        scores, sums = pass_over(data, model, penalties.lam, scores, update)
        model = fit_loadings(model, sums, penalties, solver)
        value = objectives(data.sq_norm, model, sums, penalties.lam)
        return State(model, scores, sums), Report(float(penalties.weight @ value))

    def finished(reports: list[Report]) -> bool:
        if len(reports) < 2:
            return False
        before, last = (report.objective for report in reports[-2:])
        assert before is not None
        assert last is not None
        return before - last <= tol * last

    nothing = Sums(np.ones((1, rank, rank)), np.empty(0))
    return iterate(
        step,
        State(model, scores, nothing),
        max_iter=max_iter,
        finished=finished,
        callback=callback,
    )


def _positive(x: Floats) -> Floats:
    return np.maximum(x, x.dtype.type(x.mean() / 100))
