"""Steps at fixed kernels until the bound stands still."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..._core.namespace import namespace, select
from ..loop import Report
from .likelihood import Sites
from .model import Direction

if TYPE_CHECKING:
    from .model import FactorModel
    from .priors import Prior
    from .problem import Kernels, NSFState


# How far one step may raise a rate, at first; the bound is loosened every time.
FIRST_LIMIT, _LOOSEN, _MAX_LIMIT = 2.0, 1.3, 10.0

# A power of the steps of a long fit is beyond what a float can hold.
_LOOSENED = 100

# A fall of the bound by less, relative to its value, is rounding.
_SLACK = 1e-6

# The same for an estimate by draws, which falls by chance every other time.
_SLACK_OF_DRAWS = 1e-3

# By how much the rate grows back after a step that was kept.
_RECOVER = 1.2

# Steps over which the bound must stand still.
WINDOW = 3


class AscentState(NamedTuple):
    """An ascent in progress."""

    fit: NSFState
    """After the last step, which has not been judged."""
    best: Direction
    """Where the last step that was kept leads, and the bound that it starts from; minus
    infinity where none is known."""
    recent: Any
    """The last few bounds of steps that were kept, newest last."""
    rate: Any
    n_steps: Any
    n_taken_back: Any


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["model", "kernels", "prior", "max_rate", "tol", "max_iter"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Ascent:
    """Steps at fixed kernels until the bound stands still.

    One that lowers the bound, or leaves the finite numbers, is taken back and repeated
    with half the rate.
    """

    model: FactorModel
    kernels: Kernels
    prior: Prior | None
    max_rate: Any = 1.0
    tol: Any = 1e-4
    max_iter: Any = 200

    def init(self, fit: NSFState, /) -> AscentState:
        """Before the first step from a given fit."""
        xp = namespace(fit.mean)
        unknown = Direction(
            fit.w,
            fit.noise,
            fit.precision,
            fit.shift,
            fit.iid,
            Sites(fit.precision, fit.shift),
            fit.w,
            xp.asarray(-np.inf, np.float64),
        )
        return AscentState(
            fit,
            unknown,
            recent=xp.full(WINDOW + 1, np.nan, np.float64),
            rate=xp.asarray(self.max_rate, np.float64),
            n_steps=xp.asarray(0),
            n_taken_back=xp.asarray(0),
        )

    def step(self, state: AscentState, /) -> AscentState:
        """The next fit, and the bound of the one that it starts from."""
        on_device = namespace(state.fit.mean) is jnp
        return (_compiled_step if on_device else Ascent._step)(self, state)

    def _step(self, state: AscentState) -> AscentState:
        xp, dtype = namespace(state.fit.mean), state.fit.mean.dtype
        n_steps = state.n_steps + 1
        direction = self.model.direction(state.fit, limit(n_steps).astype(dtype))
        fell = has_fallen(
            direction.objective,
            state.best.objective,
            exact=self.model.likelihood.exact,
        )
        finite = [xp.isfinite(x).all() for x in (direction.w, *direction.sites)]
        fell |= xp.isfinite(state.best.objective) & ~xp.stack(finite).all()
        best = select(fell, state.best, direction)
        rate, next_rate = rates(fell, state.rate, self.max_rate)
        return AscentState(
            self.follow(best, rate.astype(dtype)),
            best,
            # A step that is repeated says nothing of how near the end is.
            select(fell, state.recent, append(state.recent, best.objective)),
            next_rate,
            n_steps,
            state.n_taken_back + fell,
        )

    def follow(self, direction: Direction, rate: Any) -> NSFState:
        """The fit that a part of a step leads to."""
        return self.model.follow(direction, self.kernels, self.prior, rate)

    def finished(self, state: AscentState, /) -> Any:
        """Whether the last few steps hardly changed the bound."""
        return stands_still(state.recent, self.tol)

    def finish(self, state: AscentState, /) -> NSFState:
        """The last fit, or the one before where that is not finite."""
        fit = state.fit
        if np.isfinite(fit.mean).all() and np.isfinite(fit.w).all():
            return fit
        return self.follow(state.best, 0.0)._replace(w=state.best.old_w)

    def report(self, state: AscentState, /) -> Report:
        """The bound."""
        return Report(float(state.best.objective))


_compiled_step = jax.jit(Ascent._step)


def limit(n_steps: Any) -> Any:
    """How far a step may raise a rate."""
    xp = namespace(n_steps)
    return xp.minimum(
        FIRST_LIMIT * _LOOSEN ** xp.minimum(n_steps, _LOOSENED), _MAX_LIMIT
    )


def has_fallen(objective: Any, best: Any, *, exact: bool) -> Any:
    """Whether a bound is lower than a known one, or no number."""
    xp = namespace(best)
    slack = _SLACK if exact else _SLACK_OF_DRAWS
    kept = objective >= best - slack * xp.abs(best)
    return xp.isfinite(best) & ~kept


def rates(fell: Any, rate: Any, max_rate: Any) -> tuple[Any, Any]:
    """Rates of this step, which is repeated where it fell, and of the next."""
    xp = namespace(rate)
    halved = rate / 2
    grown = xp.minimum(rate * _RECOVER, max_rate)
    return xp.where(fell, halved, rate), xp.where(fell, halved, grown)


def append(recent: Any, value: Any) -> Any:
    """The newest value in place of the oldest."""
    xp = namespace(recent)
    return xp.concatenate([recent[1:], xp.reshape(value, 1)])


def stands_still(recent: Any, tol: Any) -> Any:
    """Whether the last few bounds hardly differ."""
    change = abs(recent[-1] - recent[0])
    return change <= WINDOW * tol * abs(recent[-1])
