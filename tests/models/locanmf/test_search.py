"""Which regions grow, and how well they are explained."""

from __future__ import annotations

import numpy as np
import pytest

from nonneg.models.locanmf.problem import explained, make_movie
from nonneg.models.locanmf.search import Components, _growing, regional_r2
from nonneg.models.locanmf.temporal import free_traces


def unexplained(data, region):
    """A movie of which one component without footprint explains nothing."""
    n_regions = region.max() + 1
    away = (region[:, None] != np.arange(n_regions)).astype(np.float32)
    movie = make_movie(data, np.eye(data.shape[1]), region, away, 1.0)
    nothing = Components(
        np.zeros(1, np.intp),
        np.zeros((len(data), 1), np.float32),
        free_traces(np.zeros((1, data.shape[1]))),
        np.ones(1),
        np.zeros(1),
    )
    return movie, nothing


@pytest.mark.parametrize("seed", range(20))
def test_regions_that_lack_the_same_both_grow(seed):
    """As mirrored hemispheres do, where only rounding tells which lacks more."""
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(50, 12)).astype(np.float32)
    data = np.concatenate([half, rng.permutation(half)])
    movie, nothing = unexplained(data, np.repeat([0, 1], 50))
    both = np.ones(2, bool)
    np.testing.assert_array_equal(_growing(movie, nothing, both), [0, 1])


def test_the_region_that_a_source_belongs_to_grows():
    rng = np.random.default_rng(0)
    source = np.outer(np.repeat([1.0, 0.3], 50), rng.normal(size=12))
    movie, nothing = unexplained(
        source + 0.01 * rng.normal(size=source.shape), np.repeat([0, 1], 50)
    )
    np.testing.assert_array_equal(_growing(movie, nothing, np.ones(2, bool)), [0])


@pytest.mark.parametrize("kind", ["pooled", "mean"])
def test_nothing_is_explained_of_what_does_not_vary(kind):
    rng = np.random.default_rng(0)
    data = rng.normal(size=(60, 12))
    data[:20] = 5
    data[20:40] = 0
    movie, nothing = unexplained(data, np.repeat([0, 1, 2], 20))
    r2 = regional_r2(movie, nothing, kind)
    assert np.isnan(r2[:2]).all()
    # The mean over time is a misfit too.
    assert r2[2] == pytest.approx(0, abs=0.2)
    assert r2[2] <= 0


def test_one_dark_pixel_does_not_decide_the_mean():
    left, variance = np.array([1.0, 2.0, 1e-3]), np.array([10.0, 10.0, 0.0])
    energy = np.array([10.0, 10.0, 10.0])
    assert explained(left, variance, energy, "mean") == pytest.approx(0.85)
    assert explained(left, variance, energy) == pytest.approx(1 - 3.001 / 20)
