"""Choose weights and effects by how well held-out genes are predicted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.spatial import cKDTree

from ..._core.random import stream
from ..loop import Report
from .fit import Budget, fit_mixture, raise_if_interrupted
from .graph import balanced
from .problem import IS_COUNTS, Mixture, Tuning

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..loop import Callback
    from .problem import LikelihoodName

_GRAPH_WEIGHTS = (10.0, 30.0, 100.0, 300.0, 1000.0)

_GROUP_WEIGHTS = (10.0, 30.0, 100.0)

# Factors that vary by a quarter or so, as between protocols.
_EFFECTS: tuple[dict[str, Any], ...] = (
    {"gene_effect": 0.05},
    {"gene_effect": 0.05, "entry_effect": 0.05},
)

# What is added must gain so many standard errors.
_MARGIN = 1.0

# Counts that scatter by less than this, of what counts do, are not samples.
SAMPLED = 0.5

# Starts are good: a trial need not be exact.
_TRIAL = Budget(tol=1e-2, max_iter=15, rounds=6)

# Locations that trials use at most, in patches of neighbours.
_MANY, _PATCHES = 3000, 6

_ROWS = 512


@dataclass
class _Trial:
    """A tuning, what it scored per gene, and the amounts of every fold."""

    tuning: Tuning
    scores: NDArray[np.float64]
    amounts: list[NDArray[np.float64]]
    settled: bool
    """Whether the fits were finished when they ended."""

    def gain(self, other: _Trial) -> tuple[float, float]:
        """What it has above another one, and the standard error of that."""
        difference = self.scores - other.scores
        return difference.sum(), difference.std() * difference.size**0.5


class Chosen(NamedTuple):
    """What held-out genes say."""

    tuning: Tuning
    dispersion: NDArray[np.float64]
    """(n_vars,): variance over that of Poisson counts."""
    table: list[tuple[Tuning, float]]
    """What was tried, and its gain on doing nothing, in log likelihood."""


@dataclass(frozen=True)
class Wishes:
    """What the caller has fixed; ``None``: to be chosen."""

    graph_weight: float | None = None
    group_weight: float | None = None
    gene_weights: bool = True
    effects: bool | None = None


def choose(
    mixture: Mixture,
    coords: NDArray[np.float64] | None,
    likelihood: LikelihoodName,
    wishes: Wishes,
    seed: int,
    *,
    callback: Callback | None = None,
) -> Chosen:
    """Tune on genes that the fit does not see.

    Half of the genes give the composition of every location, which predicts how the
    counts of each of the others are distributed over locations; then the other way
    round. Levels of genes play no part, so that effects of the platform do not, and
    noise that a location has in one gene is not in another one: what is rewarded is
    compositions that are right. The callback hears of every trial.
    """
    mixture = _some(mixture, coords, seed)
    trials = _Trials(mixture, likelihood, callback)
    first = trials.run(
        Tuning(
            graph_weight=wishes.graph_weight or 0.0,
            group_weight=wishes.group_weight or 0.0,
            gene_weights=wishes.gene_weights,
        ),
        trials.unweighted,
    )
    if not trials.sampled:
        # Pulls average noise, of which there is none, and would only bias.
        asked = (
            replace(first.tuning, **_EFFECTS[-1]) if wishes.effects else first.tuning
        )
        return Chosen(asked, trials.dispersion, [(first.tuning, 0.0)])
    alone = together = first
    # Least squares is published without, and has none unless it is told where to.
    if wishes.group_weight is None and (
        IS_COUNTS[likelihood] or mixture.prototypes is not None
    ):
        alone = trials.climb(first, "group_weight", _GROUP_WEIGHTS)
    if wishes.graph_weight is None and mixture.graph is not None:
        together = trials.climb(first, "graph_weight", _GRAPH_WEIGHTS)
    # Neighbours must say more than the mean over all locations does: any graph draws
    # compositions to the mean, one of shuffled locations too.
    best = trials.better(alone, together)
    if best.tuning == alone.tuning:
        best = trials.better(first, best)
    if wishes.effects is not False and likelihood == "poisson":
        tied = best
        found = trials.effects(best)
        best = found if wishes.effects else trials.better(best, found)
        if (
            best.tuning != tied.tuning
            and wishes.graph_weight is None
            and tied.tuning.graph_weight
        ):
            # With other signatures, neighbours are worth more or less than before.
            best = trials.around(best)
    table = [(t.tuning, t.gain(first)[0]) for t in trials.done]
    return Chosen(best.tuning, trials.dispersion, table)


def gene_dispersion(
    mixture: Mixture, likelihood: LikelihoodName
) -> NDArray[np.float64]:
    """(n_vars,): variance over that of Poisson counts, of genes that are held out."""
    return _Trials(mixture, likelihood).dispersion


class _Trials:
    """Fits to either half of the genes, and what they say about the other one."""

    def __init__(
        self,
        mixture: Mixture,
        likelihood: LikelihoodName,
        callback: Callback | None = None,
    ) -> None:
        self.likelihood = likelihood
        self.callback = callback
        self.n_fitted = 0
        self.counted = np.asarray(mixture.counts.sum(0), np.float64).ravel()
        # Alternately by abundance: halves that have as much to say, whatever the order
        # of the genes.
        order = np.lexsort((mixture.signatures.max(0), self.counted))
        halves = order[::2], order[1::2]
        self.folds = [
            (np.sort(used), np.sort(held)) for used, held in (halves, halves[::-1])
        ]
        self.size = np.asarray(mixture.counts.sum(1), np.float64)
        self.parts = [mixture.genes(used) for used, _ in self.folds]
        self.held = [mixture.genes(held) for _, held in self.folds]
        self.dispersion = np.ones(self.counted.size)
        self.done: list[_Trial] = []
        self.unweighted = self._trial(Tuning(gene_weights=False), None)
        self.dispersion = self._dispersion(self.unweighted)

    @property
    def sampled(self) -> bool:
        """Whether counts scatter as counts do, about what the other genes predict."""
        return self.dispersion @ self.counted >= SAMPLED * self.counted.sum()

    def run(self, tuning: Tuning, start: _Trial | None = None) -> _Trial:
        """Fit to each half, and score the other one."""
        for trial in self.done:
            if trial.tuning == tuning:
                return trial
        trial = self._trial(tuning, start)
        self.done.append(trial)
        return trial

    def _trial(self, tuning: Tuning, start: _Trial | None) -> _Trial:
        scores = np.zeros(self.counted.size)
        amounts = []
        settled = True
        for i, (used, held) in enumerate(self.folds):
            fit = fit_mixture(
                self.parts[i],
                tuning,
                self.likelihood,
                dispersion=self.dispersion[used],
                start=None if start is None else start.amounts[i],
                budget=_TRIAL,
            )
            raise_if_interrupted(fit.trace)
            scores[held] = self._score(self.held[i], fit.amounts)
            amounts.append(fit.amounts)
            settled &= fit.trace.converged
        self.n_fitted += 1
        if self.callback is not None:
            self.callback(self.n_fitted, Report(None))
        # Overdispersed genes have a say for as many counts as they are worth.
        scores /= np.maximum(self.dispersion, 1)
        return _Trial(tuning, scores, amounts, settled)

    def climb(self, start: _Trial, name: str, values: tuple[float, ...]) -> _Trial:
        """Raise a parameter as long as the score rises."""
        best = last = start
        for value in values:
            change: dict[str, Any] = {name: value}
            last = self.run(replace(start.tuning, **change), last)
            if last.gain(best)[0] <= 0:
                break
            best = last
        return best

    def around(self, start: _Trial) -> _Trial:
        """The weight of the graph, up or down from the present one."""
        at = _GRAPH_WEIGHTS.index(start.tuning.graph_weight)
        up = self.climb(start, "graph_weight", _GRAPH_WEIGHTS[at + 1 :])
        if up is not start:
            return up
        return self.climb(start, "graph_weight", _GRAPH_WEIGHTS[:at][::-1])

    def better(self, simple: _Trial, other: _Trial) -> _Trial:
        """The other one where its gain is certain enough.

        The simple one may come back as a trial that was finished: compare tunings.
        """
        if other is not simple and (other.tuning.effects or not simple.settled):
            # Steps that it lacks are no merit of the other one. What effects gain is
            # little enough that those after the end of a trial matter.
            simple = self._trial(simple.tuning, other)
        gain, error = other.gain(simple)
        return other if gain > _MARGIN * error else simple

    def effects(self, start: _Trial) -> _Trial:
        """The effects that gain most."""
        found = [self.run(replace(start.tuning, **e), start) for e in _EFFECTS]
        return max(found, key=lambda t: t.scores.sum())

    def _predicted(
        self, held: Mixture, amounts: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        total = amounts.sum(1, keepdims=True)
        # Of a location without counts in the genes that were fitted, nothing is known
        # but what all have on average.
        known = total > _NOTHING
        average = np.where(known, amounts, 0).sum(0)
        shares = np.where(known, amounts, average)
        shares = shares / np.maximum(shares.sum(1, keepdims=True), _TINY)
        weights = self.size * shares
        return weights, weights.sum(0) @ held.signatures

    def _score(
        self, held: Mixture, amounts: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Log likelihood of where the counts of each gene are."""
        weights, total = self._predicted(held, amounts)
        out = np.zeros(total.size)
        for start in range(0, len(weights), _ROWS):
            rows = held.counts[start : start + _ROWS]
            mean = weights[start : start + _ROWS] @ held.signatures
            i = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
            at = np.maximum(mean[i, rows.indices] / total[rows.indices], _TINY)
            out += np.bincount(
                rows.indices, rows.data * np.log(at), minlength=total.size
            )
        return out

    def _dispersion(self, trial: _Trial) -> NDArray[np.float64]:
        """Squared residuals of each held-out gene over its counts."""
        out = np.zeros(self.counted.size)
        for (_, index), held, amounts in zip(
            self.folds, self.held, trial.amounts, strict=True
        ):
            weights, total = self._predicted(held, amounts)
            level = self.counted[index] / np.maximum(total, _TINY)
            squares = np.zeros(index.size)
            for start in range(0, len(weights), _ROWS):
                rows = held.counts[start : start + _ROWS].toarray()
                mean = weights[start : start + _ROWS] @ held.signatures * level
                squares += np.square(rows - mean).sum(0)
            out[index] = squares / np.maximum(self.counted[index], 1)
        # Genes that are hardly counted say nothing about their noise.
        least = np.where(self.counted < _FEW_COUNTS, 1, _LEAST_DISPERSION)
        return np.maximum(out, least)


_TINY = 1e-300

# In units of what a location with its depth has.
_NOTHING = 1e-6

_LEAST_DISPERSION = 0.01

_FEW_COUNTS = 20


def _some(mixture: Mixture, coords: NDArray[np.float64] | None, seed: int) -> Mixture:
    """All locations, or patches of some of them."""
    n = mixture.counts.shape[0]
    if n <= _MANY:
        return mixture
    rng = stream(seed, "choose")
    if coords is None:
        rows = np.sort(rng.choice(n, _MANY, replace=False))
    else:
        centres = coords[rng.choice(n, _PATCHES, replace=False)]
        _, near = cKDTree(coords).query(centres, k=_MANY // _PATCHES)
        rows = np.unique(near)
    graph, prototypes = mixture.graph, mixture.prototypes
    if graph is not None:
        graph = balanced(sp.csr_matrix(graph[rows][:, rows]))
    present, group = np.unique(mixture.group[rows], return_inverse=True)
    if prototypes is not None:
        prototypes = prototypes[present]
    return Mixture(mixture.counts[rows], mixture.signatures, graph, group, prototypes)
