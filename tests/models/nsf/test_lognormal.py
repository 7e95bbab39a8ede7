"""Log-normal distributions of factors: moments, cut, mixture."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from nonneg.models.nsf.likelihood import expected
from nonneg.models.nsf.lognormal import at_most, log_moments, moments, pool

# Sums over quantiles are exact to about as much.
QUANTILES = norm.ppf((np.arange(200_000) + 0.5) / 200_000)


@pytest.mark.parametrize("sd", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("mean", [-4.0, 0.0, 2.0])
@pytest.mark.parametrize("largest", [0.5, 3.0, 40.0])
def test_moments_are_those_of_cut_values(mean, sd, largest):
    found = moments(*at_most(np.array(mean), np.array(sd**2), np.array(largest)))
    cut = np.minimum(np.exp(mean + sd * QUANTILES), largest)
    np.testing.assert_allclose(found[0], cut.mean(), rtol=1e-4)
    np.testing.assert_allclose(found[1], cut.var(), rtol=5e-3, atol=1e-9 * largest**2)


def test_nothing_changes_far_below():
    mean, var = np.linspace(-5, 0, 6), np.full(6, 0.3)
    found = at_most(mean, var, np.array(1e6))
    np.testing.assert_allclose(found[0], mean, atol=1e-12)
    np.testing.assert_allclose(found[1], var, rtol=1e-9)


@pytest.mark.parametrize("var", [0.0, 1e-8, 1.0, 1e2, 1e4])
def test_extremes_are_finite_and_below(var):
    """However wide, also of an empty factor."""
    mean = np.array([-300.0, -30.0, 0.0, 30.0, 300.0])
    for largest in (0.0, 1e-6, 1.0, 1e6):
        found = at_most(mean, np.full(5, var), np.array(largest))
        assert np.isfinite(found).all()
        assert (found[1] >= 0).all()
        allowed = max(largest, float(np.finfo(np.float32).tiny))
        assert (expected(*found) <= allowed * (1 + 1e-9)).all()


def test_moments_of_logarithms_and_back():
    mean, var = np.linspace(-60, 10, 8), np.geomspace(1e-8, 20, 8)
    found = log_moments(*moments(mean, var))
    np.testing.assert_allclose(found, [mean, var], rtol=1e-6, atol=1e-12)


def test_a_pool_is_a_mixture():
    """Three quarters of the draws from one opinion, a quarter from one as wide."""
    mean, var, other = 0.5, 0.3, 4.0
    first = np.exp(mean + np.sqrt(var) * QUANTILES)
    second = other * np.exp(np.sqrt(var) * QUANTILES - var / 2)
    draws, weight = np.append(first, second), np.repeat([0.75, 0.25], len(QUANTILES))
    center = np.average(draws, weights=weight)
    found = moments(*pool(np.array(mean), np.array(var), np.array(other)))
    np.testing.assert_allclose(found[0], center, rtol=1e-4)
    spread = np.average((draws - center) ** 2, weights=weight)
    np.testing.assert_allclose(found[1], spread, rtol=1e-3)


def test_a_pool_of_one_opinion_is_that():
    mean, var = np.linspace(-5, 3, 6), np.geomspace(1e-6, 9, 6)
    found = pool(mean, var, expected(mean, var))
    np.testing.assert_allclose(found, [mean, var], rtol=1e-9, atol=1e-12)
