"""Steps at fixed kernels until the bound stands still."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..loop import Report, iterate
from .minibatches import Batches
from .model import Model
from .problem import Kernels, State

if TYPE_CHECKING:
    from ..loop import Callback, Trace


# How far one step may raise a rate, at first; the bound is loosened every time.
FIRST_LIMIT, _LOOSEN, _MAX_LIMIT = 2.0, 1.3, 10.0

_SLACK, _RECOVER = 1e-6, 1.2


def loosened(limit: float, iteration: int) -> float:
    """Bound on how far a step may go up, after some iterations."""
    return min(limit * _LOOSEN**iteration, _MAX_LIMIT)


class Descent:
    """Steps at fixed kernels.

    One that lowers the bound, or leaves the finite numbers, is taken back and repeated
    with half the rate.
    """

    def __init__(self, stepper: Model | Batches, rate: float) -> None:
        self.stepper, self.top, self.rate = stepper, rate, rate
        self.best: tuple[State, float, list[Any]] | None = None

    def step(self, state: State, kernels: Kernels, limit: float) -> tuple[State, float]:
        """The next state, and the bound of the one that it starts from."""
        learned = self.stepper.learned
        new, objective = self.stepper.step(state, kernels, limit, self.rate)
        if self.best is not None and not (
            objective >= self.best[1] - _SLACK * abs(self.best[1])
        ):
            self.rate /= 2
            state, _, learned = self.best
            self.stepper.learned = learned
            new, objective = self.stepper.step(state, kernels, limit, self.rate)
        else:
            self.rate = min(self.rate * _RECOVER, self.top)
        self.best = state, objective, learned
        return new, objective


def descend(
    model: Model,
    state: State,
    kernels: Kernels,
    *,
    limit: float = FIRST_LIMIT,
    callback: Callback | None = None,
) -> tuple[State, Trace]:
    """Iterate at fixed kernels until the bound stands still."""
    options = model.options
    stepper: Model | Batches = model
    if options.batch_size is not None and options.batch_size < len(state.mean):
        stepper = Batches(model, np.random.default_rng(options.seed))
    descent = Descent(stepper, options.learning_rate)

    def step(state: State, iteration: int) -> tuple[State, Report]:
        new, objective = descent.step(state, kernels, loosened(limit, iteration))
        return new, Report(objective)

    def finished(reports: list[Report]) -> bool:
        if len(reports) < 4:
            return False
        last, before = reports[-1].objective, reports[-4].objective
        assert last is not None
        assert before is not None
        return abs(last - before) <= 3 * options.tol * abs(last)

    state, trace = iterate(
        step, state, max_iter=options.max_iter, finished=finished, callback=callback
    )
    if descent.best is not None and not _is_finite(state):
        # The last step has not been judged.
        state = descent.best[0]
    return state, trace


def _is_finite(state: State) -> bool:
    return bool(np.isfinite(state.mean).all() and np.isfinite(state.w).all())
