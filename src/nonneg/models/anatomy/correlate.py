"""Sets of regions that patterns fit, and how often random maps fit as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ..loop import Report
from .search import (
    Best,
    Scoring,
    dice,
    first_best,
    is_flat,
    label_matrix,
    pearson,
    region_sums,
    search,
)
from .sets import connected_sets

if TYPE_CHECKING:
    import scipy.sparse as sp
    from numpy.typing import NDArray

    from ..loop import Callback
    from .regions import Regions
    from .surrogates import Smoother

type Metric = Literal["pearson", "dice"]


class RegionSearch(NamedTuple):
    """What is searched, and how."""

    codes: NDArray[np.intp]
    """(n_obs,): label of every observation."""
    regions: Regions
    sets: list[NDArray[np.int32]]
    """All connected sets of one, two and three regions."""
    max_regions: int
    beam_width: int
    metric: Metric
    min_gain: float
    """What a further region must add to the score of a set."""

    @property
    def labels(self) -> sp.csr_matrix:
        """Labels x observations."""
        return label_matrix(self.codes, self.regions.members.shape[1])

    def scoring(
        self, values: NDArray[np.float64], sums: NDArray[np.float64]
    ) -> Scoring:
        """Scores of maps that all have these values, in any order, by their sums."""
        if self.metric == "dice":
            return dice(sums, int(values.sum()), values.size)
        return pearson(sums, values, self.regions.size)

    def penalised(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores of sets of 1, 2, … regions, less what their regions must add."""
        n_more = np.arange(len(score))
        return score - self.min_gain * n_more.reshape(-1, *[1] * (score.ndim - 1))

    def best(self, scoring: Scoring) -> Best:
        """The best sets of every number of regions."""
        return search(
            scoring,
            self.regions,
            self.sets,
            max_regions=self.max_regions,
            beam_width=self.beam_width,
        )


def plan_search(
    codes: NDArray[np.intp],
    regions: Regions,
    *,
    max_regions: int,
    beam_width: int,
    metric: Metric,
    min_gain: float,
) -> RegionSearch:
    """List all sets that are not left to the beam."""
    sets = connected_sets(regions.adjacent, regions.disjoint, min(max_regions, 3))
    return RegionSearch(codes, regions, sets, max_regions, beam_width, metric, min_gain)


class Correlation(NamedTuple):
    """Best sets of k patterns."""

    score: NDArray[np.float64]
    """(max_regions, k): of the best set of every number of regions."""
    members: NDArray[np.int32]
    """(max_regions, k, max_regions): their regions; -1 behind the last one."""
    sign: NDArray[np.int64]
    """(max_regions, k): -1 where it is the pattern's negative that fits."""
    overall: NDArray[np.intp]
    """(k,): number of regions less one of the best set."""
    of_regions: NDArray[np.float64]
    """(n_regions, k): scores of single regions."""
    matrix: NDArray[np.float64]
    """(k, k): score of every pattern (rows) on the best set of every one (columns)."""


def correlate(
    maps: NDArray[np.float64], signed: NDArray[np.bool_], plan: RegionSearch
) -> Correlation:
    """Best sets for maps (n_obs, k); of signed ones, for their negatives too."""
    labels, k, most = plan.labels, maps.shape[1], plan.max_regions
    score = np.full((most, k), -np.inf)
    members = np.full((most, k, most), -1, np.int32)
    sign = np.ones((most, k), np.int64)
    sums = region_sums(maps, labels, plan.regions)
    scorings = [
        plan.scoring(values, sums[:, i : i + 1]) for i, values in enumerate(maps.T)
    ]
    for i, scoring in enumerate(scorings):
        if is_flat(maps[:, i]):
            score[:, i] = 0
            continue
        both = _both_signs(scoring) if signed[i] else scoring
        best = plan.best(both)
        # A set and the rest fit equally well, in opposite directions.
        side = first_best(best.score.T)
        levels = np.arange(most)
        score[:, i] = best.score[levels, side]
        members[:, i] = _largest_first(best.members[levels, side], plan.regions.size)
        sign[:, i] = 1 - 2 * side
    overall = first_best(plan.penalised(score))
    chosen = members[overall, np.arange(k)]
    matrix = np.empty((k, k))
    of_regions = np.empty((len(plan.regions.size), k))
    for i, scoring in enumerate(scorings):
        of_regions[:, i] = scoring.parts[:, 0] * scoring.weight[plan.regions.size]
        for j, regions in enumerate(chosen):
            inside = regions[regions >= 0]
            n = plan.regions.size[inside].sum()
            matrix[i, j] = scoring.parts[inside, 0].sum() * scoring.weight[n]
    return Correlation(score, members, sign, overall, of_regions, matrix)


def _largest_first(
    members: NDArray[np.int32], size: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Regions of every set in order of their size, padding last."""
    key = np.where(members >= 0, -size[members], 1)
    return np.take_along_axis(members, np.argsort(key, axis=1, kind="stable"), axis=1)


def null_scores(
    maps: NDArray[np.float64],
    signed: NDArray[np.bool_],
    plan: RegionSearch,
    smoother: Smoother,
    *,
    n_surrogates: int,
    rng: np.random.Generator,
    callback: Callback,
) -> NDArray[np.float64]:
    """Scores of the best sets of random maps, (max_regions, n_surrogates, k).

    Each is as smooth as the pattern, has the same values, and is searched alike.
    """
    k = maps.shape[1]
    amplitudes = np.stack([smoother.amplitudes(values) for values in maps.T], axis=1)
    used = amplitudes[1:].max(axis=1) > 0
    amplitudes = amplitudes[np.append(True, used)].astype(np.float32)
    ordered = np.sort(maps, axis=0)
    out = np.empty((plan.max_regions, n_surrogates, k))
    done = 0
    for fields in smoother.fields(used, n_surrogates, rng):
        batch = fields.shape[2]
        for i in range(k):
            field = np.tensordot(amplitudes[:, i], fields, 1)
            sums = _sums_in_order(field, ordered[:, i], plan)
            scoring = plan.scoring(ordered[:, i], sums)
            best = plan.best(_both_signs(scoring) if signed[i] else scoring).score
            if signed[i]:
                best = np.maximum(best[:, :batch], best[:, batch:])
            out[:, done : done + batch, i] = best
        done += batch
        callback(done, Report(None))
    return out


def _sums_in_order(
    field: NDArray[np.float32], ordered: NDArray[np.float64], plan: RegionSearch
) -> NDArray[np.float64]:
    """Sums over regions of the ordered values, put in the order of each field."""
    members = plan.regions.members
    codes = plan.codes[np.argsort(field, axis=0)]
    of_labels = [np.bincount(c, ordered, members.shape[1]) for c in codes.T]
    return np.asarray(members.astype(np.float64) @ np.stack(of_labels, axis=1))


def _both_signs(scoring: Scoring) -> Scoring:
    return scoring._replace(parts=np.hstack([scoring.parts, -scoring.parts]))


def p_values(score: NDArray[Any], null: NDArray[Any]) -> NDArray[np.float64]:
    """Part of the random maps that score as high, the observed one among them.

    NaN where there are no random maps.
    """
    if not len(null):
        return np.full(score.shape, np.nan)
    as_high = (null >= score - 1e-12).sum(axis=0)
    return np.asarray((1 + as_high) / (1 + len(null)))
