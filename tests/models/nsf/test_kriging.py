"""Factors without space at other places."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from nonneg.models.nsf.kriging import Kriged, elsewhere, krige
from nonneg.models.nsf.problem import Options, make_space


def _matern(distance, length):
    r = np.sqrt(3) * distance / length
    return (1 + r) * np.exp(-r)


def _krige(coords, values, section=None, totals=None):
    """And the places, in the order of what is found."""
    space = _space(coords, section, totals)
    kriged = krige(space, values, np.zeros_like(values), "matern32")
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
    return np.exp(0.5 * np.column_stack([field, 0.8 * field + 0.6 * noise, noise]))


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
        np.array([length]),
        np.array([share]),
        np.zeros(1),
    )
    zero = np.zeros(12, np.intp)
    found = elsewhere(kriged, "matern32", seen=(seen, zero), wanted=(wanted, zero[:5]))
    cov = share * _matern(cdist(seen, seen), length) + (1 - share) * np.eye(12)
    cross = share * _matern(cdist(wanted, seen), length)
    weights = np.linalg.solve(cov, cross.T).T
    center = values.mean()
    mean, var = _moments(*found)
    np.testing.assert_allclose(mean, center + weights @ (values - center), rtol=1e-9)
    left = values.var() * (1 - (weights * cross).sum(1)) + 0.3
    np.testing.assert_allclose(var[:, 0], left, rtol=1e-9)


def test_what_neighbours_say_is_found(places, smooth):
    kriged, seen = _krige(places, smooth)
    assert kriged.share[0] > 0.9
    assert 0.3 < kriged.share[1] < 0.9
    # By chance, a little.
    assert kriged.foretold[2] < 0.04
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
    np.testing.assert_allclose(foretold, kriged.foretold, atol=0.2)
    # Errors are as large as they are said to be.
    ratio = error.mean(0) / var.mean(0)
    assert ((ratio > 0.3) & (ratio < 1.5)).all()


def test_order_and_orientation_are_no_matter(places, smooth):
    totals = smooth.sum(1)
    plain = krige(_space(places, totals=totals), smooth, 0 * smooth, "matern32")
    order = np.random.default_rng(2).permutation(300)
    c, s = np.cos(0.6), np.sin(0.6)
    turned = (places @ np.array([[c, -s], [-s, -c]]))[order]
    space = _space(turned, totals=totals[order])
    other = krige(space, smooth[order], 0 * smooth, "matern32")
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
    # At the place of the only one, what it is; nearby, a little of it and the mean.
    only = np.vstack([places[:1], places[:1] + 0.01]), np.array([1, 1])
    mean, var = _moments(*elsewhere(kriged, "matern32", seen=seen, wanted=only))
    np.testing.assert_allclose(mean[0], 9, rtol=1e-6)
    assert (var[0] < 1e-6).all()
    assert 5 < mean[1, 0] < 9


def test_several_observations_of_one_place_count_once(places, smooth):
    twice, both = np.vstack([places, places]), np.vstack([smooth * 0.5, smooth * 1.5])
    once = krige(_space(places), smooth, 0 * smooth, "matern32")
    found = krige(_space(twice), both, 0 * both, "matern32")
    np.testing.assert_allclose(found.foretold, once.foretold, rtol=1e-9)
    assert found.mean.shape == (300, 3)
