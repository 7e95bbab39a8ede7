"""Steps on random parts of the observations, visited in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..._core.namespace import namespace, select, set_rows
from ..loop import Report
from .ascent import (
    WINDOW,
    append,
    has_fallen,
    limit,
    rates,
    stands_still,
)
from .likelihood import count_loadings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .ascent import Ascent
    from .likelihood import Likelihood
    from .problem import NSFState


class _Sums(NamedTuple):
    """What each part last contributed, by part."""

    numerator: Any
    """Of loadings, (n_parts, n_vars, k)."""
    denominator: Any
    noise: Any


class MinibatchState(NamedTuple):
    """An ascent in progress."""

    fit: NSFState
    """After the last sweep, which has not been judged."""
    sums: _Sums
    best: tuple[NSFState, _Sums]
    """Before it."""
    bound: Any
    """Of the latter; minus infinity where the next is not compared with it."""
    recent: Any
    """The last few bounds of sweeps that were kept, newest last."""
    rate: Any
    n_sweeps: Any
    n_taken_back: Any


@dataclass(frozen=True)
class MinibatchAscent:
    """Sweeps over parts of the observations until the bound stands still.

    Incremental: every part keeps what it last contributed to the loadings and to the
    sites, so that the fixed points are those of the whole. Noise is learned by every
    part for itself; a fit ends with the mean. A sweep that lowers the
    bound is taken back; the next has half the rate.
    """

    whole: Ascent
    """The same steps on all observations."""
    parts: Sequence[tuple[Any, Likelihood]]
    """Observations of every part, and their likelihood."""

    @property
    def max_iter(self) -> Any:
        return self.whole.max_iter

    def init(self, fit: NSFState, /) -> MinibatchState:
        """Before the first sweep from a given fit."""
        xp = namespace(fit.mean)
        found = [
            likelihood.evidence(likelihood.noise, fit.mean[rows], fit.var[rows], fit.w)
            for rows, likelihood in self.parts
        ]
        sums = _Sums(
            xp.stack([evidence.parts[0] for evidence in found]),
            xp.stack([evidence.parts[1] for evidence in found]),
            xp.stack([xp.asarray(evidence.noise) for evidence in found]),
        )
        return MinibatchState(
            fit,
            sums,
            (fit, sums),
            bound=xp.asarray(-np.inf, np.float64),
            recent=xp.full(WINDOW + 1, np.nan, np.float64),
            rate=xp.asarray(self.whole.max_rate, np.float64),
            n_sweeps=xp.asarray(0),
            n_taken_back=xp.asarray(0),
        )

    def step(self, state: MinibatchState, /) -> MinibatchState:
        """One step for every part; the bound is a sum over the parts' own times."""
        n_sweeps = state.n_sweeps + 1
        fit, sums, bound = self._sweep(state, limit(n_sweeps))
        fell, xp = (
            has_fallen(bound, state.bound, exact=self.whole.model.likelihood.exact),
            namespace(bound),
        )
        _, next_rate = rates(fell, state.rate, self.whole.max_rate)
        before = state.fit, state.sums
        return MinibatchState(
            *select(fell, state.best, (fit, sums)),
            best=select(fell, state.best, before),
            # A sweep at another rate has another bound: that one is not judged.
            bound=select(fell, xp.full_like(bound, -np.inf), bound),
            recent=select(fell, state.recent, append(state.recent, bound)),
            rate=next_rate,
            n_sweeps=n_sweeps,
            n_taken_back=state.n_taken_back + fell,
        )

    def _sweep(self, state: MinibatchState, limit: Any) -> tuple[NSFState, _Sums, Any]:
        whole, fit, sums = self.whole, state.fit, state.sums
        dtype = fit.mean.dtype
        rate, limit = state.rate.astype(dtype), limit.astype(dtype)
        total = -fit.penalty
        for i, (rows, likelihood) in enumerate(self.parts):
            mean, var = fit.mean[rows], fit.var[rows]
            evidence = likelihood.evidence(sums.noise[i], mean, var, fit.w)
            total = total + evidence.value
            sums = _Sums(
                set_rows(sums.numerator, i, evidence.parts[0]),
                set_rows(sums.denominator, i, evidence.parts[1]),
                set_rows(sums.noise, i, evidence.noise),
            )
            w = count_loadings(sums.numerator.sum(0), sums.denominator.sum(0))
            w = w.astype(fit.w.dtype)
            sites = likelihood.sites(evidence._replace(w=w), mean, var, limit)
            precision, shift = (
                set_rows(old, rows, old[rows] + rate * (new - old[rows]))
                for old, new in (
                    (fit.precision, sites.precision),
                    (fit.shift, sites.shift),
                )
            )
            model, kernels, prior = whole.model, whole.kernels, whole.prior
            fit = model.condition(fit._replace(w=w), kernels, prior, precision, shift)
        return fit, sums, total

    def finished(self, state: MinibatchState, /) -> Any:
        """Whether the last few sweeps hardly changed the bound."""
        return stands_still(state.recent, self.whole.tol)

    def finish(self, state: MinibatchState, /) -> NSFState:
        """The last fit, or the one before where that is not finite."""
        fit, sums = state.fit, state.sums
        if not (np.isfinite(fit.mean).all() and np.isfinite(fit.w).all()):
            fit, sums = state.best
        return fit._replace(noise=sums.noise.mean(0))

    def report(self, state: MinibatchState, /) -> Report:
        """The bound."""
        return Report(float(state.recent[-1]))


def split(
    likelihood: Likelihood, batch_size: int, rng: np.random.Generator
) -> list[tuple[Any, Likelihood]]:
    """Random parts of the observations, of about the size that was asked for."""
    n_obs = likelihood.op.shape[0]
    n_parts = -(-n_obs // batch_size)
    parts = np.array_split(rng.permutation(n_obs), n_parts)
    return [
        (rows, likelihood.restrict(likelihood.op.rows(rows), rows))
        for rows in map(np.sort, parts)
    ]
