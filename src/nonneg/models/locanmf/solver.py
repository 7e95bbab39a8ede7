"""Footprints and time courses by turns, with penalties that adapt to a threshold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ..loop import Report
from ._compiled import FORBIDDEN
from .passes import Penalties
from .temporal import Traces, solve_free, solve_nonnegative

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .passes import Footprints, Sums
    from .problem import Movie

type Rule = Literal["energy", "scale-free", "paper", "reference"]

RULES: tuple[Rule, ...] = ("energy", "scale-free", "paper", "reference")

# Sweeps between changes of penalties: footprints follow them within a few.
_PATIENCE = 2
# Footprints without anything inside: penalties grow by this many powers more at a time.
_URGENCY = 4
# By the energy rule, footprints with less than this part of the threshold are sent home;
# what the others have outside is damped, once the fit has settled.
_LOST = 0.5
# Damping falls short, since sums of other components follow: a bit more each time.
_LEAST_DAMPING = 1.02
# Share of the squares that no fit needs to explain: data without noise would never settle.
_NEGLIGIBLE = 1e-3
# Passes that leave out components where they are zero, for each that does not.
_RESTRICTED = 3
# Of localisation: none, but not zero.
_TINY = 1e-6
# Powers of two by which a peak may be off 1: squares stay within single precision.
_DRIFT = 10


@dataclass(frozen=True)
class Options:
    """How footprints are held near their regions, and when to stop."""

    threshold: float
    """Share of a footprint's energy that must be inside; 0: any, 1: all."""
    rule: Rule
    weight: float
    """First penalty, per unit of distance."""
    growth: float
    tol: float
    max_iter: int
    nonnegative: bool = False
    relative: bool = True
    """The first penalty is relative to the squares of time courses, by any rule."""
    adaptive: bool = True
    """Penalties grow."""
    n_sweeps: int = 4

    def free(self) -> Options:
        """Without penalties."""
        return replace(self, threshold=0.0)


class State(NamedTuple):
    """Footprints at some scale, and the time courses that belong to it."""

    footprints: Footprints
    traces: Traces
    weight: NDArray[np.float64]
    """(K,): penalties of footprints whose peak is 1."""
    damping: NDArray[np.float64]
    """(K,): what lies outside of the region is divided by 1 + this."""
    closed: bool
    """Footprints no longer spread, so that none takes over what is damped of another."""
    peak: NDArray[np.float64]
    localization: NDArray[np.float64]
    """(K,): share of energy inside; NaN where a footprint is zero."""
    objective: float
    """Of the squares alone: penalties change."""
    change: float
    """Of the objective in this step, relative to it."""
    since: int
    """Steps since penalties changed."""
    n_steps: int


@dataclass(frozen=True)
class LocaNMFSolver:
    """Localised HALS for footprints, exact least squares for time courses.

    Footprints keep the scale they come to, and penalties follow: that is the same as
    making each peak 1 after every sweep, without passes over the pixels. Only where
    penalties have shrunk one for long, it is made 1, before squares of its time course
    exceed what single precision holds, beside those of others.
    """

    movie: Movie
    options: Options

    @property
    def max_iter(self) -> int:
        """Maximum number of steps."""
        return self.options.max_iter

    def init(self, start: Any) -> State:
        """From footprints, time courses and penalties."""
        footprints, traces, weight = start
        k = len(weight)
        peak = footprints.on_host().max(axis=0, initial=0).astype(np.float64)
        return State(
            footprints,
            traces,
            weight,
            damping=np.zeros(k),
            closed=False,
            peak=peak,
            localization=np.full(k, np.nan),
            objective=np.inf,
            change=np.inf,
            since=0,
            n_steps=0,
        )

    def step(self, state: State) -> State:
        """Sweep over footprints, solve for time courses, adapt penalties."""
        options = self.options
        everywhere = state.n_steps % (_RESTRICTED + 1) == 0
        sums = state.footprints.sweep(
            state.traces.basis,
            state.traces.gram,
            self.penalties(state),
            n_sweeps=options.n_sweeps,
            everywhere=everywhere,
        )
        if (scale := _drifted(sums.peak)) is not None:
            state.footprints.divide(scale)
            sums = sums.divided(scale)
        traces = self._traces(sums, state)
        objective = self._objective(sums, traces)
        energy = np.diagonal(sums.square)
        localization = np.divide(
            sums.inside, energy, where=energy > 0, out=np.full(energy.size, np.nan)
        )
        change = abs(state.objective - objective) / max(
            objective, _NEGLIGIBLE * self.movie.sq_norm
        )
        state = State(
            state.footprints,
            traces,
            state.weight,
            state.damping,
            state.closed,
            sums.peak,
            localization,
            objective,
            change,
            state.since + 1,
            state.n_steps + 1,
        )
        return self._adapted(state)

    def short(self, localization: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Components with less of their energy inside than there should be."""
        # A threshold of 1 is met from the start, whatever rounding makes of it.
        if not self.options.adaptive or self.options.threshold == 1:
            return np.zeros(localization.size, bool)
        return np.nan_to_num(localization, nan=1.0) < self.options.threshold

    def _adapted(self, state: State) -> State:
        """With stronger penalties where components are short, if it is time."""
        short = self.short(state.localization)
        if state.since < _PATIENCE or not short.any():
            return state
        weight, damping, closed = state.weight, state.damping, state.closed
        if self.options.rule != "energy":
            weight = self._stiffer(weight, state.localization, short)
        elif not closed:
            lost = short & (state.localization < _LOST * self.options.threshold)
            late = 2 * state.n_steps >= self.max_iter
            closed = late or (state.change <= self.options.tol and not lost.any())
            if not closed and not lost.any():
                return state
            weight = self._stiffer(weight, state.localization, lost)
        else:
            damping = self._damped(damping, state.localization, short)
        return state._replace(weight=weight, damping=damping, closed=closed, since=0)

    def _stiffer(
        self,
        weight: NDArray[np.float64],
        localization: NDArray[np.float64],
        short: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        """Larger penalties of some, all the more as they are far from the threshold."""
        missing = np.where(short, 1 - localization / self.options.threshold, 0)
        factor = self.options.growth ** (1 + _URGENCY * missing)
        return np.where(short, weight * factor, weight)

    def _damped(
        self,
        damping: NDArray[np.float64],
        localization: NDArray[np.float64],
        short: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        """As much more as would bring them to the threshold, did nothing else move."""
        inside = np.where(short, localization, 0.5)
        threshold = self.options.threshold
        odds = threshold / (1 - threshold) * (1 - inside) / np.maximum(inside, _TINY)
        factor = np.maximum(np.sqrt(odds), _LEAST_DAMPING)
        return np.where(short, (1 + damping) * factor - 1, damping)

    def penalties(self, state: State) -> Penalties:
        """At the scale that footprints have."""
        if self.options.threshold == 1:
            return Penalties(np.full(state.weight.size, FORBIDDEN))
        if self.options.threshold == 0:
            return Penalties(np.zeros(state.weight.size))
        size = np.diagonal(state.traces.gram)
        if self.options.rule in {"energy", "scale-free"}:
            weight = state.weight * state.peak * size
            ridge = state.damping * size if state.closed else None
            return Penalties(weight, ridge, state.closed)
        share = 0.5 if self.options.rule == "reference" else 1.0
        return Penalties(share * state.weight / np.where(state.peak > 0, state.peak, 1))

    def _traces(self, sums: Sums, state: State) -> Traces:
        if not self.options.nonnegative:
            return solve_free(sums)
        assert state.traces.full is not None
        return solve_nonnegative(sums, self.movie.basis, state.traces.full)

    def _objective(self, sums: Sums, traces: Traces) -> float:
        return float(
            self.movie.sq_norm
            - 2 * np.sum(sums.product * traces.basis)
            + np.sum(sums.square * traces.gram)
        )

    def finished(self, state: State) -> bool:
        """Localised and settled, everywhere."""
        return (
            (state.n_steps - 1) % (_RESTRICTED + 1) == 0
            and state.change <= self.options.tol
            and not self.short(state.localization).any()
        )

    def finish(self, state: State) -> State:
        """The state holds all that is asked for."""
        return state

    def report(self, state: State) -> Report:
        """Squares that are left, relative to those of the data."""
        # The difference of large sums may round to less than nothing.
        return Report(max(state.objective, 0.0) / self.movie.sq_norm)


def _drifted(peak: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Scales of footprints far from 1, as powers of two, which divide without rounding."""
    power = np.rint(np.log2(np.where(peak > 0, peak, 1)))
    far = np.abs(power) > _DRIFT
    return np.where(far, 2.0**power, 1.0) if far.any() else None
