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

if TYPE_CHECKING:
    from .model import FactorModel
    from .priors import Prior
    from .problem import Kernels, NSFState


# By how much rates grow back after a step that was made.
_RECOVER = 1.2


class AscentState(NamedTuple):
    """An ascent in progress."""

    fit: NSFState
    """After the last step."""
    objective: Any
    """The bound before it."""
    residual: Any
    """By how much factors would still have moved then, relative to what they are."""
    rate: Any
    """(k,): how much of the way to new precisions a step makes."""
    n_steps: Any
    n_refused: Any
    """How often a step left a factor as it was."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["model", "kernels", "prior", "max_rate", "tol", "max_iter"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Ascent:
    """Steps at fixed kernels until factors stand still.

    A factor whose part of the bound would fall stays as it is, and repeats its step with
    half the rate; so does all of a fit that would leave the finite numbers.
    """

    model: FactorModel
    kernels: Kernels
    prior: Prior | None
    max_rate: Any = 1.0
    tol: Any = 5e-3
    max_iter: Any = 200

    def init(self, fit: NSFState, /) -> AscentState:
        """Before the first step from a given fit."""
        xp = namespace(fit.mean)
        return AscentState(
            fit,
            objective=xp.asarray(-np.inf, np.float64),
            residual=xp.asarray(np.inf, np.float64),
            rate=xp.full(fit.mean.shape[1], self.max_rate, np.float32),
            # Of the type that steps return: another one would compile them twice.
            n_steps=xp.zeros((), int),
            n_refused=xp.zeros((), int),
        )

    def step(self, state: AscentState, /) -> AscentState:
        """The next fit, and the bound of the one that it starts from."""
        on_device = namespace(state.fit.mean) is jnp
        return (_compiled_step if on_device else Ascent._step)(self, state)

    def _step(self, state: AscentState) -> AscentState:
        xp = namespace(state.fit.mean)
        made = self.model.step(state.fit, self.kernels, self.prior, state.rate)
        parts = made.fit.w, made.fit.mean, made.fit.var
        finite = xp.stack([xp.isfinite(x).all() for x in parts]).all()
        refused = made.refused | ~finite
        grown = xp.minimum(state.rate * _RECOVER, self.max_rate)
        return AscentState(
            made.fit if xp is np and finite else select(finite, made.fit, state.fit),
            made.objective,
            made.residual,
            xp.where(refused, state.rate / 2, grown).astype(np.float32),
            state.n_steps + 1,
            state.n_refused + refused.sum(),
        )

    def restart(self, state: AscentState, /) -> AscentState:
        """After a change of kernels: factors as they follow from their sites now."""
        on_device = namespace(state.fit.mean) is jnp
        return (_compiled_restart if on_device else Ascent._restart)(self, state)

    def _restart(self, state: AscentState) -> AscentState:
        fit = state.fit
        fit = self.model.condition(
            fit, self.kernels, self.prior, fit.precision, fit.shift
        )
        return state._replace(fit=fit)

    def finished(self, state: AscentState, /) -> Any:
        """Whether factors are where they belong, and would hardly move."""
        drift = self.model.likelihood.drift(state.fit.noise)
        return (state.residual <= self.tol) & (drift <= self.tol)

    def finish(self, state: AscentState, /) -> NSFState:
        """The last fit."""
        return state.fit

    def report(self, state: AscentState, /) -> Report:
        """The bound, and the residual."""
        return Report(float(state.objective), float(state.residual))


_compiled_step = jax.jit(Ascent._step)
_compiled_restart = jax.jit(Ascent._restart)
