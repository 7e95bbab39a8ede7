"""Sets of regions that maps fit best, against trying them one by one."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from nonneg.models.anatomy.correlate import correlate, plan_search
from nonneg.models.anatomy.regions import lift, volume_adjacency
from nonneg.models.anatomy.search import label_matrix, pearson, region_sums


def setting(metric="pearson", *, max_regions=3, min_gain=0.0, beam_width=50):
    """Twelve labels on a plane, in an ontology; four maps."""
    rng = np.random.default_rng(0)
    places = np.stack(np.indices((20, 24)), -1).reshape(-1, 2)
    centres = rng.uniform(0, (20, 24), (12, 2))
    codes = np.linalg.norm(places[:, None] - centres, axis=2).argmin(1)
    members = np.vstack([np.eye(12, dtype=bool), np.zeros((3, 12), bool)])
    members[12, :3] = members[13, 5:7] = members[14] = True
    touch = volume_adjacency(codes.reshape(20, 24), 12)
    regions = lift(members, np.bincount(codes, minlength=12), touch)
    maps = rng.gamma(0.5, size=(codes.size, 4)) + members[:, codes][[0, 12, 4, 7]].T
    if metric == "dice":
        maps = (maps > 1).astype(float)
    plan = plan_search(
        codes,
        regions,
        max_regions=max_regions,
        beam_width=beam_width,
        metric=metric,
        min_gain=min_gain,
    )
    return maps, plan


def indicator(plan, inside):
    return plan.regions.members[list(inside)].any(0)[plan.codes]


def score(metric, values, inside):
    if metric == "dice":
        return 2 * (values * inside).sum() / (values.sum() + inside.sum())
    return 0.0 if inside.all() else np.corrcoef(values, inside)[0, 1]


def all_sets(plan, n):
    """Connected sets of n disjoint regions, by their definition."""
    adjacent, disjoint = plan.regions.adjacent, plan.regions.disjoint
    for inside in combinations(range(len(adjacent)), n):
        if not all(disjoint[i, j] for i, j in combinations(inside, 2)):
            continue
        reached, n_before = {inside[0]}, 0
        while len(reached) > n_before:
            n_before = len(reached)
            reached |= {j for j in inside if adjacent[j, list(reached)].any()}
        if n_before == n:
            yield inside


@pytest.mark.parametrize("metric", ["pearson", "dice"])
def test_best_sets_are_the_best_of_all(metric):
    maps, plan = setting(metric, max_regions=4, beam_width=10_000)
    found = correlate(maps, np.zeros(4, bool), plan)
    for n in (1, 2, 3, 4):
        indicators = [indicator(plan, inside) for inside in all_sets(plan, n)]
        for i, values in enumerate(maps.T):
            best = max(score(metric, values, inside) for inside in indicators)
            assert found.score[n - 1, i] == pytest.approx(best, abs=1e-10)
            members = found.members[n - 1, i]
            assert (members >= 0).sum() == n
            own = indicator(plan, members[:n])
            assert score(metric, values, own) == pytest.approx(best, abs=1e-10)


def test_scores_of_regions_and_of_the_sets_of_others():
    maps, plan = setting()
    found = correlate(maps, np.zeros(4, bool), plan)
    single = [indicator(plan, [r]) for r in range(len(plan.regions.size))]
    expected = [[score("pearson", x, s) for x in maps.T] for s in single]
    np.testing.assert_allclose(found.of_regions, expected, atol=1e-10)
    for j in range(4):
        members = found.members[found.overall[j], j]
        own = indicator(plan, members[members >= 0])
        expected = [score("pearson", x, own) for x in maps.T]
        np.testing.assert_allclose(found.matrix[:, j], expected, atol=1e-10)


def test_a_narrow_beam_finds_a_planted_set_of_six():
    _, plan = setting(max_regions=6, beam_width=5)
    inside = max(all_sets(plan, 6), key=lambda s: plan.regions.size[list(s)].sum())
    noise = np.random.default_rng(1).normal(size=plan.codes.size)
    values = indicator(plan, inside) + 0.1 * noise
    found = correlate(values[:, None], np.zeros(1, bool), plan)
    best = found.members[found.overall[0], 0]
    assert (indicator(plan, best[best >= 0]) == indicator(plan, inside)).all()


def test_the_fewest_regions_of_those_with_the_same_observations():
    """Region 12 is the union of labels 0, 1 and 2."""
    _, plan = setting()
    values = indicator(plan, [12]).astype(float)
    found = correlate(values[:, None], np.zeros(1, bool), plan)
    assert found.overall[0] == 0
    assert found.members[0, 0].tolist() == [12, -1, -1]
    assert found.score[0, 0] == pytest.approx(1)


def test_a_further_region_must_add_something():
    maps, plan = setting()
    found = correlate(maps, np.zeros(4, bool), plan)
    strict = correlate(maps, np.zeros(4, bool), plan._replace(min_gain=1.0))
    np.testing.assert_array_equal(strict.score, found.score)
    assert (found.overall > 0).any()
    assert (strict.overall == 0).all()


def test_the_negative_of_a_signed_map_fits_as_well():
    maps, plan = setting()
    both = np.hstack([maps, -3 * maps + 1])
    signed = np.repeat([False, True], 4)
    found = correlate(both, signed, plan)
    # A map may also avoid a set more clearly than it fits one.
    assert (found.score[:, 4:] >= found.score[:, :4] - 1e-10).all()
    same = np.abs(found.score[:, 4:] - found.score[:, :4]) < 1e-10
    assert same.any()
    assert (found.sign[:, 4:][same] == -1).all()
    assert (found.sign[:, :4] == 1).all()


def test_a_map_that_does_not_vary_fits_nothing():
    maps, plan = setting()
    maps[:, 1] = 0.3
    found = correlate(maps, np.zeros(4, bool), plan)
    assert (found.score[:, 1] == 0).all()
    assert (found.members[:, 1] == -1).all()
    assert (found.of_regions[:, 1] == 0).all()
    assert (found.matrix[[0, 2, 3], 1] == 0).all()


def test_scores_do_not_depend_on_units():
    maps, plan = setting()
    sums = region_sums(maps, label_matrix(plan.codes, 12), plan.regions)
    one = pearson(sums[:, :1], maps[:, 0], plan.regions.size)
    scaled = 1e6 * maps[:, 0] + 3e6
    sums = region_sums(scaled[:, None], label_matrix(plan.codes, 12), plan.regions)
    other = pearson(sums, scaled, plan.regions.size)
    np.testing.assert_allclose(one.parts, other.parts, atol=1e-9)
