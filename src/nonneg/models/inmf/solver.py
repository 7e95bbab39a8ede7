"""All cells at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ..._core.namespace import namespace
from ..._core.typing import Floats
from ..factor.alternate import NEAR_EXACT
from ..factor.best import best_of
from ..factor.extrapolate import ExtrapolatedSolver
from ..loop import Report, Trace
from .loadings import objectives, shrinkage, update_loadings
from .normalise import normalise
from .problem import (
    Loadings,
    Penalties,
    SufficientStatistics,
    UpdateRule,
    to_host,
    zeros,
)
from .revive import revive
from .scores import (
    ROW_SWEEPS,
    gather_scores,
    move_scores,
    squared_errors,
    update_rows,
    update_scores,
    zero_scores,
)
from .start import start

if TYPE_CHECKING:
    from ..factor.momentum import Momentum
    from ..loop import Callback, Solver
    from .summary import DataSummary
    from .validation import Watch


class INMFState(NamedTuple):
    """A fit of all cells in progress."""

    loadings: Loadings
    scores: Any
    """(n_obs, k), or on a device an array for each block of cells."""
    statistics: SufficientStatistics
    """Of the scores."""
    objective: Any
    previous: Any
    """Objective of the step before."""
    reseeds: Any
    """How often each factor was started anew."""


@dataclass(frozen=True)
class INMFSolver:
    """Alternate between scores and loadings, with one pass over all cells per step.

    Finished when a step lowers the objective by at most ``tol`` of its value.
    """

    summary: DataSummary
    rank: int
    penalties: Penalties
    rule: UpdateRule = "hals"
    tol: float = 1e-5
    max_iter: int = 200
    seed: int = 0
    watch: Watch | None = None
    """Follows cells that are not fitted."""

    def __post_init__(self) -> None:
        data = self.summary.data
        if data.on_device:
            # Once, and not in every step.
            weights = (jnp.asarray(x, data.dtype) for x in self.penalties)
            object.__setattr__(self, "penalties", Penalties(*weights))

    def init(self, attempt: int, /) -> INMFState:
        """The values of one of several starts."""
        if self.watch is not None:
            self.watch.begin()
        loadings = start(
            self.summary.sample,
            self.rank,
            self.penalties,
            seed=self.seed,
            attempt=attempt,
        )
        return self.begin(loadings)

    def begin(self, loadings: Loadings) -> INMFState:
        """The state before the first step."""
        data, rank = self.summary.data, self.rank
        scores = zero_scores(data, rank)
        if self.rule == "mu":
            # Multiplicative updates cannot leave zero.
            update = partial(update_rows, rule="hals", n_sweeps=ROW_SWEEPS)
            lam = self.penalties.lam
            scores, _ = update_scores(data, loadings, lam, scores, update)
            loadings = data.measured(Loadings(*map(_positive, loadings)))
            scores = _positive(scores)
        total = data.dtype if data.on_device else np.float64
        n_batches, n_vars = len(data.names), data.shape[1]
        infinite = zeros(data, (), total) + np.inf
        return INMFState(
            loadings,
            scores,
            SufficientStatistics(
                # No factor is without use before there are scores.
                zeros(data, (n_batches, rank, rank), total) + 1,
                zeros(data, (n_batches, rank, n_vars), total),
            ),
            objective=infinite,
            previous=infinite,
            reseeds=zeros(data, (rank,), np.int32),
        )

    def step(self, state: INMFState, /) -> INMFState:
        """Update scores, then loadings."""
        state = self.revived(state)
        return self.advanced(state, state.loadings, None)[0]

    def factors(self, state: INMFState, /) -> tuple[Any, Any]:
        """Scores and loadings."""
        return state.scores, state.loadings

    def revived(self, state: INMFState, /) -> INMFState:
        """The state without factors that no cell uses."""
        if self.rule == "mu":
            return state
        loadings, scores, statistics, *_, reseeds = state
        loadings, reseeds = revive(
            self.summary.data, loadings, scores, statistics, reseeds
        )
        return state._replace(loadings=loadings, reseeds=reseeds)

    def advanced(
        self, state: INMFState, loadings: Loadings, momentum: Momentum | None, /
    ) -> tuple[INMFState, Any]:
        """The state after a step that begins with other loadings."""
        data, penalties = self.summary.data, self.penalties
        update = partial(update_rows, rule=self.rule, n_sweeps=ROW_SWEEPS)
        arguments = data, loadings, penalties.lam, state.scores, update
        if momentum is None:
            scores, statistics = update_scores(*arguments)
            reached = scores
        else:
            scores, statistics, reached = move_scores(*arguments, momentum=momentum)
        loadings = update_loadings(
            loadings, statistics, penalties, self.rule, shared=data.shared
        )
        value = objectives(data.sq_norm, loadings, statistics, penalties.lam)
        weight: Any = penalties.weight
        if isinstance(value, np.ndarray):
            weight = np.asarray(weight, np.float64)
            if (value < NEAR_EXACT * np.asarray(data.sq_norm)).any():
                errors = squared_errors(data, loadings, scores)
                value = errors + shrinkage(loadings, statistics, penalties.lam)
        after = INMFState(
            loadings,
            scores,
            statistics,
            weight @ value,
            state.objective,
            state.reseeds,
        )
        return after, reached

    def finished(self, state: INMFState, /) -> Any:
        """Whether the last step hardly lowered the objective."""
        return state.previous - state.objective <= self.tol * state.objective

    def finish(
        self, state: INMFState, /
    ) -> tuple[Loadings, Floats, SufficientStatistics]:
        """Factors with the scale and order that are stored, on the host."""
        scores = gather_scores(self.summary.data, state.scores)
        statistics = SufficientStatistics(
            *(np.asarray(x, np.float64) for x in state.statistics)
        )
        return normalise(to_host(state.loadings), scores, statistics)

    def report(self, state: INMFState, /) -> Report:
        """The objective."""
        objective = float(state.objective)
        if self.watch is not None:
            self.watch.step(state.loadings, objective)
        return Report(objective)


class INMFResult(NamedTuple):
    """Factors, sorted by contribution, and the trace."""

    loadings: Loadings
    """Rows of ``W`` plus the mean of ``V`` have unit 2-norm."""
    scores: Floats
    """(n_obs, k); carry the scale."""
    statistics: SufficientStatistics
    trace: Trace


def inmf(
    summary: DataSummary,
    rank: int,
    penalties: Penalties,
    *,
    solver: UpdateRule = "hals",
    n_init: int = 1,
    tol: float = 1e-5,
    max_iter: int = 200,
    seed: int = 0,
    callback: Callback | None = None,
    watch: Watch | None = None,
) -> INMFResult:
    """Fit all cells at once, and keep the best of several starts."""
    descent = INMFSolver(summary, rank, penalties, solver, tol, max_iter, seed, watch)
    fit: Solver[Any, Any] = ExtrapolatedSolver(descent) if solver == "hals" else descent
    state, trace = best_of(fit, range(n_init), callback)
    loadings, scores, statistics = fit.finish(state)
    return INMFResult(loadings, scores, statistics, trace)


def _positive(x: Any) -> Any:
    """An array, or the parts of one, with a floor of a hundredth of the mean."""
    parts = x if isinstance(x, tuple) else (x,)
    xp = namespace(parts[0])
    mean = sum(part.sum() for part in parts) / sum(part.size for part in parts)
    raised = tuple(xp.maximum(p, (mean / 100).astype(p.dtype)) for p in parts)
    return raised if isinstance(x, tuple) else raised[0]
