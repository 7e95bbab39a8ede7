"""Search for the sets of regions that maps fit best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from ...operators.threads import available_cpus, run_parts
from ._compiled import beam, best_of_sets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .regions import Regions

# Scores as close as this are the same, up to rounding: sets of the same observations
# under different names. The one of fewer regions is kept.
_TIE = 1e-10


class Best(NamedTuple):
    """The best set of every number of regions, for every map."""

    score: NDArray[np.float64]
    """(max_regions, n_maps); -inf where there is no such set."""
    members: NDArray[np.int32]
    """(max_regions, n_maps, max_regions): regions, -1 behind the last one."""


class Scoring(NamedTuple):
    """A score of sets of regions: sums of parts, times a weight of the size."""

    parts: NDArray[np.float64]
    """(n_regions, n_maps)"""
    weight: NDArray[np.float64]
    """(n_obs + 1,): by the number of observations in a set."""


def label_matrix(codes: NDArray[np.integer[Any]], n_labels: int) -> sp.csr_matrix:
    """Labels x observations, for sums over the observations of labels."""
    n = codes.size
    ones = np.ones(n)
    return sp.csr_matrix((ones, (codes, np.arange(n))), shape=(n_labels, n))


def region_sums(
    maps: NDArray[np.floating[Any]], labels: sp.csr_matrix, regions: Regions
) -> NDArray[np.float64]:
    """Sums of maps (n_obs, n_maps) over regions, in double precision."""
    of_labels = labels @ np.asarray(maps, np.float64)
    return np.asarray(regions.members.astype(np.float64) @ of_labels)


def first_best(score: NDArray[np.float64]) -> NDArray[np.intp]:
    """Row of the highest score in every column, the first of those that are tied."""
    return np.asarray((score >= score.max(axis=0) - _TIE).argmax(axis=0))


def is_flat(values: NDArray[np.float64]) -> bool:
    """Whether a map does not vary, but for rounding."""
    return bool(values.std() <= 1e-12 * np.abs(values).max(initial=0))


def pearson(
    sums: NDArray[np.float64], values: NDArray[np.float64], size: NDArray[np.int64]
) -> Scoring:
    """Correlation of maps with the indicator of a set.

    Of a map whose v values have mean μ and population standard deviation σ, and a set
    of n observations with sum S: (S - n μ) / (σ √(v n (1 - n / v))). Maps that do not
    vary have zero.
    """
    parts = np.zeros_like(sums)
    if not is_flat(values):
        scale = values.std() * np.sqrt(values.size)
        parts = (sums - size[:, None] * values.mean()) / scale
    n = np.arange(values.size + 1)
    weight = np.zeros(n.size)
    # All observations, or none, are no set to correlate with.
    inner = slice(1, values.size)
    weight[inner] = 1 / np.sqrt(n[inner] * (1 - n[inner] / values.size))
    return Scoring(parts, weight)


def dice(sums: NDArray[np.float64], n_inside: int, n_obs: int) -> Scoring:
    """Dice coefficient 2 |P ∩ R| / (|P| + |R|) of binary maps of the same size |P|."""
    n = np.arange(n_obs + 1)
    return Scoring(2 * sums, 1 / np.maximum(n_inside + n, 1))


def search(
    scoring: Scoring,
    regions: Regions,
    sets: list[NDArray[np.int32]],
    *,
    max_regions: int,
    beam_width: int,
) -> Best:
    """Best set of every size: of ``sets`` all, then grown from the best ones."""
    parts = np.ascontiguousarray(scoring.parts)
    n_maps = parts.shape[1]
    score = np.full((max_regions, n_maps), -np.inf)
    members = np.full((max_regions, n_maps, max_regions), -1, np.int32)
    for level, some in enumerate(sets):
        best, where = _best(parts, regions.size, scoring.weight, some)
        score[level] = best
        found = where >= 0
        members[level, found, : level + 1] = some[where[found]]
    grown = max_regions - len(sets)
    if grown > 0:
        _grow(
            scoring,
            regions,
            sets[-1],
            width=beam_width,
            score=score,
            members=members,
        )
    return Best(score, members)


def _best(
    parts: NDArray[np.float64],
    size: NDArray[np.int64],
    weight: NDArray[np.float64],
    sets: NDArray[np.int32],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Best score of each map, and which set has it."""
    n_maps = parts.shape[1]
    n_parts = max(min(available_cpus(), len(sets) // 1000), 1)
    bounds = np.linspace(0, len(sets), n_parts + 1).astype(np.int64)
    best = np.full((n_parts, n_maps), -np.inf)
    where = np.full((n_parts, n_maps), -1, np.int64)

    def part(i: int, start: int, stop: int) -> None:
        best_of_sets(
            parts, size, weight, sets, _TIE, best[i], where[i], start, stop
        )  # fmt: skip

    run_parts(part, bounds)
    first = (best >= best.max(axis=0) - _TIE).argmax(axis=0)
    of_map = np.arange(n_maps)
    return best[first, of_map], where[first, of_map]


def _grow(
    scoring: Scoring,
    regions: Regions,
    sets: NDArray[np.int32],
    *,
    width: int,
    score: NDArray[np.float64],
    members: NDArray[np.int32],
) -> None:
    """Sets of more regions, by beam search for each map."""
    max_regions, n_maps, _ = members.shape
    known = sets.shape[1]
    columns = np.ascontiguousarray(scoring.parts.T)
    n_parts = max(min(available_cpus(), n_maps), 1)

    def part(_: int, start: int, stop: int) -> None:
        for m in range(start, stop):
            best = np.full(max_regions - known, -np.inf)
            found = np.full((max_regions - known, max_regions), -1, np.int32)
            beam(
                columns[m], regions.size, scoring.weight, sets, regions.adjacent,
                regions.disjoint, width, _TIE, best, found,
            )  # fmt: skip
            score[known:, m] = best
            members[known:, m] = found

    run_parts(part, np.linspace(0, n_maps, n_parts + 1).astype(np.int64))
