"""Steps at fixed kernels until the bound stands still."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..loop import Report, drive
from .minibatches import Minibatches
from .model import FactorModel
from .problem import Kernels, NSFState

if TYPE_CHECKING:
    from ..loop import Callback, Trace


# How far one step may raise a rate, at first; the bound is loosened every time.
FIRST_LIMIT, _LOOSEN, _MAX_LIMIT = 2.0, 1.3, 10.0

# A fall of the bound by less, relative to its value, is rounding.
_SLACK = 1e-6

# By how much the rate grows back after a step that was kept.
_RECOVER = 1.2

# Steps over which the bound must stand still.
_WINDOW = 3


class AscentState(NamedTuple):
    """An ascent in progress."""

    fit: NSFState
    """After the last step, which has not been judged."""
    learned: list[Any]
    """What the likelihoods have learned of the noise."""
    accepted: NSFState
    """Before the last step: the best so far."""
    accepted_learned: list[Any]
    objective: float
    """The bound of ``accepted``; minus infinity where none is known."""
    recent: tuple[float, ...]
    """The last few bounds, newest last."""
    rate: float
    n_steps: int
    n_taken_back: int


@dataclass(frozen=True)
class Ascent:
    """Steps at fixed kernels until the bound stands still.

    One that lowers the bound, or leaves the finite numbers, is taken back and repeated
    with half the rate.
    """

    stepper: FactorModel | Minibatches
    kernels: Kernels
    max_rate: float = 1.0
    tol: float = 1e-4
    max_iter: int = 200

    def init(self, fit: NSFState, /) -> AscentState:
        """Before the first step from a given fit."""
        learned = self.stepper.learned
        return AscentState(
            fit=fit,
            learned=learned,
            accepted=fit,
            accepted_learned=learned,
            objective=-np.inf,
            recent=(np.nan,) * (_WINDOW + 1),
            rate=self.max_rate,
            n_steps=0,
            n_taken_back=0,
        )

    def step(self, state: AscentState, /) -> AscentState:
        """The next fit, and the bound of the one that it starts from."""
        n_steps = state.n_steps + 1
        # A power of the steps of a long fit is beyond what a float can hold.
        limit = min(FIRST_LIMIT * _LOOSEN ** min(n_steps, 100), _MAX_LIMIT)
        start, learned, rate = state.fit, state.learned, state.rate
        fit, objective, new = self._advance(start, learned, limit, rate)
        known = np.isfinite(state.objective)
        fell = bool(
            known and not objective >= state.objective - _SLACK * abs(state.objective)
        )
        if fell:
            start, learned, rate = state.accepted, state.accepted_learned, rate / 2
            fit, objective, new = self._advance(start, learned, limit, rate)
        else:
            rate = min(rate * _RECOVER, self.max_rate)
        return AscentState(
            fit,
            new,
            start,
            learned,
            objective,
            (*state.recent[1:], objective),
            rate,
            n_steps,
            state.n_taken_back + fell,
        )

    def _advance(
        self, fit: NSFState, learned: list[Any], limit: float, rate: float
    ) -> tuple[NSFState, float, list[Any]]:
        self.stepper.learned = learned
        new, objective = self.stepper.step(fit, self.kernels, limit, rate)
        return new, objective, self.stepper.learned

    def finished(self, state: AscentState, /) -> bool:
        """Whether the last few steps hardly changed the bound."""
        change = abs(state.recent[-1] - state.recent[0])
        return change <= _WINDOW * self.tol * abs(state.recent[-1])

    def finish(self, state: AscentState, /) -> NSFState:
        """The last fit, or the one before where that is not finite."""
        fit = state.fit
        if np.isfinite(fit.mean).all() and np.isfinite(fit.w).all():
            return fit
        return state.accepted

    def report(self, state: AscentState, /) -> Report:
        """The bound."""
        return Report(state.objective)


def ascend(
    model: FactorModel,
    fit: NSFState,
    kernels: Kernels,
    *,
    callback: Callback | None = None,
) -> tuple[NSFState, Trace]:
    """Iterate at fixed kernels until the bound stands still."""
    options = model.options
    stepper: FactorModel | Minibatches = model
    if options.batch_size is not None and options.batch_size < len(fit.mean):
        stepper = Minibatches(model, np.random.default_rng(options.seed))
    solver = Ascent(
        stepper, kernels, options.learning_rate, options.tol, options.max_iter
    )
    state, trace = drive(solver, solver.init(fit), callback)
    return solver.finish(state), trace
