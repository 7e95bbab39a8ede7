"""Factors without space at other places."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from nonneg.models.nsf.kriging import Kriged, at_locations, elsewhere, krige
from nonneg.models.nsf.problem import Options, make_space


def _matern(distance, length):
    r = np.sqrt(3) * distance / length
    return (1 + r) * np.exp(-r)


def _krige(coords, values, section=None, totals=None, stretch=1.0):
    """And the places, in the order of what is found."""
    space = _space(coords, section, totals)
    plain = at_locations(space, values, np.zeros_like(values))
    kriged = krige(space, plain, "matern32", np.array(stretch))
    return kriged, (space.layout.locations, space.layout.section)


def _space(coords, section=None, totals=None):
    section = np.zeros(len(coords), np.intp) if section is None else section
    totals = np.zeros(len(coords)) if totals is None else totals
    return make_space(coords, section, Options(n_inducing=20), totals)


@pytest.fixture
def places():
    return np.random.default_rng(0).uniform(-2, 2, (300, 2))


@pytest.fixture
def smooth(places):
    """Gamma-like values of a field, beside values of nothing."""
    rng = np.random.default_rng(1)
    cov = _matern(cdist(places, places), 1.0)
    field = np.linalg.cholesky(cov + 1e-9 * np.eye(300)) @ rng.standard_normal(300)
    noise = rng.standard_normal(300)
    return np.exp(0.25 * np.column_stack([field, 0.8 * field + 0.6 * noise, noise]))


def _moments(log_mean, log_var):
    mean = np.exp(log_mean + log_var / 2)
    return mean, mean**2 * np.expm1(log_var)


def test_weights_are_those_of_simple_kriging():
    """With no more locations than neighbours, all are used: scipy and numpy do the same."""
    rng = np.random.default_rng(0)
    seen, wanted = rng.uniform(-2, 2, (12, 2)), rng.uniform(-2, 2, (5, 2))
    values = rng.gamma(9, 1, (12, 1))
    share, length = 0.8, 1.5
    kriged = Kriged(
        values,
        np.full((12, 1), 0.3),
        center=values.mean(0)[None],
        scatter=values.var(0),
        rest=np.array([0.3]),
        length_scale=np.array([length]),
        share=np.array([share]),
        foretold=np.zeros(1),
        trust=np.array([0.5]),
    )
    zero = np.zeros(12, np.intp)
    found = elsewhere(kriged, "matern32", seen=(seen, zero), wanted=(wanted, zero[:5]))
    cov = share * _matern(cdist(seen, seen), length) + (1 - share) * np.eye(12)
    cross = share * _matern(cdist(wanted, seen), length)
    weights = np.linalg.solve(cov, cross.T).T
    center = values.mean()
    mean, var = _moments(*found)
    np.testing.assert_allclose(mean, center + weights @ (values - center), rtol=1e-9)
    left = values.var() * (1 - 0.5 * (weights * cross).sum(1)) + 0.3
    np.testing.assert_allclose(var[:, 0], left, rtol=1e-9)


def test_what_neighbours_say_is_found(places, smooth):
    kriged, seen = _krige(places, smooth)
    assert kriged.share[0] > 0.9
    assert 0.3 < kriged.share[1] < 0.9
    # By chance, a little.
    assert kriged.foretold[2] < 0.02
    assert kriged.foretold[0] > 0.7 > kriged.foretold[1] > 0.2
    # Far away, the mean and variance over all.
    far = np.array([[50.0, 50.0]]), np.zeros(1, np.intp)
    mean, var = _moments(*elsewhere(kriged, "matern32", seen=seen, wanted=far))
    np.testing.assert_allclose(mean[0], smooth.mean(0), rtol=1e-9)
    np.testing.assert_allclose(var[0], smooth.var(0), rtol=1e-9)


def test_without_space_there_is_the_mean(places, smooth):
    kriged, seen = _krige(places, smooth)
    kriged = kriged._replace(share=np.zeros(3))
    wanted = places[:4] + 0.01, np.zeros(4, np.intp)
    mean, _ = _moments(*elsewhere(kriged, "matern32", seen=seen, wanted=wanted))
    np.testing.assert_allclose(mean, np.tile(smooth.mean(0), (4, 1)), rtol=1e-9)


def test_left_out_values_are_foretold_as_well_as_promised(places, smooth):
    kept = np.arange(300) % 5 > 0
    kriged, seen = _krige(places[kept], smooth[kept])
    wanted = places[~kept], np.zeros(60, np.intp)
    found = elsewhere(kriged, "matern32", seen=seen, wanted=wanted)
    mean, var = _moments(*found)
    error = (smooth[~kept] - mean) ** 2
    plain = (smooth[~kept] - smooth[kept].mean(0)) ** 2
    foretold = 1 - error.sum(0) / plain.sum(0)
    np.testing.assert_allclose(foretold, kriged.foretold, atol=0.25)
    # Errors are as large as they are said to be.
    ratio = error.mean(0) / var.mean(0)
    assert ((ratio > 0.3) & (ratio < 1.6)).all()


def test_order_and_orientation_are_no_matter(places, smooth):
    totals = smooth.sum(1)
    plain, _ = _krige(places, smooth, totals=totals)
    order = np.random.default_rng(2).permutation(300)
    c, s = np.cos(0.6), np.sin(0.6)
    turned = (places @ np.array([[c, -s], [-s, -c]]))[order]
    other, _ = _krige(turned, smooth[order], totals=totals[order])
    np.testing.assert_allclose(other.share, plain.share)
    np.testing.assert_allclose(other.length_scale, plain.length_scale, rtol=1e-6)
    np.testing.assert_allclose(other.foretold, plain.foretold, rtol=1e-6)


def test_sections_say_nothing_of_each_other(places, smooth):
    """Two sections in one place, one of which is a single location."""
    coords, values = np.vstack([places, places[:1]]), np.vstack([smooth, [[9, 9, 9.0]]])
    section = np.arange(301) // 300
    kriged, seen = _krige(coords, values, section)
    wanted = places[:1] + 0.01, np.array([0])
    mean, _ = _moments(*elsewhere(kriged, "matern32", seen=seen, wanted=wanted))
    assert abs(mean[0, 0] - smooth[0, 0]) < 0.2
    # Of the only one, all that is known is what it is.
    only = np.vstack([places[:1], places[:1] + 0.01]), np.array([1, 1])
    mean, var = _moments(*elsewhere(kriged, "matern32", seen=seen, wanted=only))
    np.testing.assert_allclose(mean[0], 9, rtol=1e-6)
    assert (var[0] < 1e-6).all()
    np.testing.assert_allclose(mean[1], 9, rtol=1e-6)


def test_a_lattice_may_lie_in_any_way(smooth):
    """Its shells of neighbours are taken whole."""
    grid = np.stack(np.meshgrid(np.arange(20), np.arange(15)), -1).reshape(-1, 2) / 5.0
    totals = smooth.sum(1)
    field = smooth + np.sin(grid[:, [0]]) + grid[:, [1]]
    found = [
        _krige(coords, field, totals=totals)[0].foretold
        for coords in (grid, grid[:, ::-1], grid * [-1, 1])
    ]
    assert found[0][2] > 0.1
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-6)


@pytest.mark.parametrize("n", [30, pytest.param(100, marks=pytest.mark.slow)])
def test_chance_is_seldom_believed(n):
    """A value that is left out is not in the mean that it is compared with."""
    rng = np.random.default_rng(0)
    foretold = []
    for _ in range(20):
        values = rng.gamma(4, 1, (n, 4))
        foretold += _krige(rng.uniform(-2, 2, (n, 2)), values)[0].foretold.tolist()
    # With it in the mean: of all factors.
    assert np.mean(np.array(foretold) > 0) < 0.5
    assert np.mean(foretold) < 0.05


def test_few_locations_say_nothing(places, smooth):
    kriged, _ = _krige(places[:10], smooth[:10])
    assert not kriged.share.any()


def test_sections_have_centers_of_their_own(places):
    """Sections that differ, and nothing within them."""
    rng = np.random.default_rng(3)
    section = np.arange(300) % 2
    values = rng.gamma(9, 1 / 9, (300, 2)) + 10 * section[:, None]
    kriged, seen = _krige(places, values, section)
    assert (kriged.foretold < 0.05).all()
    far = np.full((2, 2), 50.0), np.array([0, 1])
    mean, var = _moments(*elsewhere(kriged, "matern32", seen=seen, wanted=far))
    for s in (0, 1):
        np.testing.assert_allclose(mean[s], values[section == s].mean(0), rtol=1e-9)
    assert (var < 0.3).all()


def test_correlations_along_an_axis(places):
    """Stripes, where fields reach ten times as far along as across."""
    rng = np.random.default_rng(4)
    values = 3 + np.sin(8 * places[:, [1]]) + 0.3 * rng.standard_normal((300, 1))
    plain, along = (
        _krige(places, values, stretch=stretch)[0].foretold
        for stretch in (1.0, [np.sqrt(10), 1 / np.sqrt(10)])
    )
    assert along > plain + 0.15


def test_observations_that_share_a_place(places):
    """They scatter around a common mean, which says nothing of a single one."""
    rng = np.random.default_rng(5)
    coords = np.repeat(places[:50], 10, axis=0)
    values = rng.gamma(4, 1, (500, 1))
    kriged, seen = _krige(coords, values)
    both = np.vstack([places[:1], [[50.0, 50.0]]]), np.zeros(2, np.intp)
    mean, var = _moments(*elsewhere(kriged, "matern32", seen=seen, wanted=both))
    np.testing.assert_allclose(mean[0], values[:10].mean(0), rtol=1e-6)
    np.testing.assert_allclose(var[0], values[:10].var(0), rtol=1e-6)
    np.testing.assert_allclose(mean[1], values.mean(0), rtol=1e-6)
    np.testing.assert_allclose(var[1], values.var(0), rtol=1e-6)


def test_means_are_over_observations(places):
    coords = np.vstack([np.repeat(places[:1], 91, axis=0), places[1:10]])
    values = np.append(np.full(91, 10.0), np.ones(9))[:, None]
    kriged, seen = _krige(coords, values)
    far = np.full((1, 2), 50.0), np.zeros(1, np.intp)
    mean, _ = _moments(*elsewhere(kriged, "matern32", seen=seen, wanted=far))
    np.testing.assert_allclose(mean, values.mean(), rtol=1e-9)


def test_constant_values(places):
    kriged, _ = _krige(places, np.ones((300, 1)))
    assert kriged.foretold == kriged.share == 0


def test_predictions_do_not_jump(places, smooth):
    """Where neighbours change, the one that leaves has no weight any longer."""
    kriged, seen = _krige(places, smooth)
    kriged = kriged._replace(share=np.full(3, 0.5), length_scale=np.full(3, 3.0))
    line = np.column_stack([np.linspace(-1.5, 1.5, 4001), np.full(4001, 0.123)])
    wanted = line, np.zeros(4001, np.intp)
    mean, _ = _moments(*elsewhere(kriged, "matern32", seen=seen, wanted=wanted))
    assert (np.abs(np.diff(mean, axis=0)).max(0) < 0.02 * np.ptp(mean, axis=0)).all()
