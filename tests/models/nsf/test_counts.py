"""Distributions of counts whose rates are log-normal, against draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import poisson

from nonneg.models.nsf.counts import Rates, interval, part_inside, rates

N = 50_000


@pytest.mark.parametrize("dispersion", [0.0, 0.3])
@pytest.mark.parametrize("rate", [0.05, 0.5, 3.0, 30.0, 500.0])
@pytest.mark.parametrize("sd", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("n_factors", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_against_draws(n_factors, sd, rate, dispersion):
    rng = np.random.default_rng(0)
    w = np.full((1, n_factors), rate / n_factors)
    found = rates(np.ones((1, n_factors)), np.full((1, n_factors), np.expm1(sd**2)), w)
    factors = np.exp(rng.normal(-(sd**2) / 2, sd, (N, n_factors)))
    drawn = (factors @ w.T)[:, 0]
    np.testing.assert_allclose(found.mean, rate)
    np.testing.assert_allclose(found.var, drawn.var(), rtol=0.08)
    if dispersion:
        drawn = drawn * rng.gamma(1 / dispersion, dispersion, N)
    counts = rng.poisson(drawn)
    lower, upper = (x.item() for x in interval(found, dispersion, 0.9))
    inside = ((counts >= lower) & (counts <= upper)).mean()
    assert inside > 0.89
    # Sums of factors are not quite log-normal, nor products of gamma variables gamma.
    bound = 0.92 if n_factors == 1 else 0.93
    each = Rates(*(np.full((N, 1), x.item()) for x in found))
    part = part_inside(counts[:, None], each, dispersion, 0.9).mean()
    assert 0.89 < part < bound
    if n_factors == 1 and not dispersion:
        expected = np.quantile(counts, [0.05, 0.95], method="inverted_cdf")
        np.testing.assert_allclose([lower, upper], expected, rtol=0.06, atol=1)


def test_rates_that_are_known_are_poisson():
    mean = np.array([[0.0, 0.01, 1.0, 12.0, 3000.0]])
    lower, upper = interval(Rates(mean, np.zeros_like(mean)), 0.0, 0.8)
    np.testing.assert_array_equal(lower, poisson.ppf(0.1, mean).clip(0))
    np.testing.assert_array_equal(upper, poisson.ppf(0.9, mean).clip(0))


def test_counts_beyond_whole_numbers_of_floats_have_intervals():
    mean = np.array([[1e17]])
    lower, upper = interval(Rates(mean, 0.01 * mean**2), 0.0, 0.9)
    assert 0.8e17 < lower.item() < 0.9e17
    assert 1.1e17 < upper.item() < 1.2e17


def test_unknown_genes_stay_unknown():
    nothing = Rates(np.array([[np.nan, 1.0]]), np.array([[np.nan, 0.5]]))
    lower, upper = interval(nothing, 0.0, 0.9)
    assert np.isnan(lower[0, 0])
    assert np.isnan(upper[0, 0])
    assert upper[0, 1] > 0
