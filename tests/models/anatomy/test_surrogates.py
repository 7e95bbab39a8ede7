"""Random maps: their values, their smoothness, and the test that they make."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.linalg import expm
from scipy.ndimage import gaussian_filter
from scipy.stats import kstest

from nonneg.models.anatomy.correlate import (
    correlate,
    null_scores,
    p_values,
    plan_search,
)
from nonneg.models.anatomy.regions import graph_adjacency, grid_graph, lift
from nonneg.models.anatomy.surrogates import (
    Smoother,
    heat,
    latent_correlation,
    sample_pairs,
)
from nonneg.operators.csr import CSROperator

SHAPE = (40, 44)


@pytest.fixture(scope="module")
def plane():
    """A disc with a hole, and its smoother."""
    y, x = np.indices(SHAPE)
    radius = np.hypot(y - 20, x - 22)
    mask = (radius < 20) & (radius > 4)
    places = np.argwhere(mask)
    graph = grid_graph(places)
    rng = np.random.default_rng(0)
    return mask, graph, Smoother(graph, places.astype(float), 1.0, rng)


def smooth_maps(mask, width, n, seed):
    """Part of larger fields, so that the mask has no part in them."""
    rng = np.random.default_rng(seed)
    margin = int(3 * width) + 1
    shape = [side + 2 * margin for side in mask.shape]
    inner = (slice(margin, -margin),) * mask.ndim
    fields = [gaussian_filter(rng.normal(size=shape), width)[inner] for _ in range(n)]
    out = np.stack([field[mask] for field in fields], 1)
    return out / out.std(axis=0)


def test_heat_kernels_are_exponentials():
    graph = grid_graph(np.argwhere(np.ones((6, 7))))
    root = sp.diags_array(1 / np.sqrt(np.asarray(graph.sum(1)).ravel()))
    walk = sp.csr_matrix(root @ graph @ root).astype(np.float32)
    x = np.random.default_rng(0).normal(size=(42, 3)).astype(np.float32)
    times = np.array([0.5, 4.0, 60.0])
    found = heat(CSROperator(walk * 2), x, times)
    for t, smooth in zip(times, found, strict=True):
        expected = expm(-t * (np.eye(42) - walk.toarray())) @ x
        np.testing.assert_allclose(smooth, expected, atol=2e-3)


def test_correlation_behind_lognormal_values():
    """Of exp(s Z): corr = (exp(s² r) - 1) / (exp(s²) - 1)."""
    rng = np.random.default_rng(0)
    values = np.exp(0.8 * rng.normal(size=200_000))
    r = np.array([-0.4, 0.0, 0.2, 0.5, 0.9])
    seen = (np.exp(0.64 * r) - 1) / (np.exp(0.64) - 1)
    np.testing.assert_allclose(latent_correlation(values, seen), r, atol=0.02)
    normal = rng.normal(size=200_000)
    np.testing.assert_allclose(latent_correlation(normal, r), r, atol=0.01)


def test_pairs_are_of_one_section():
    rng = np.random.default_rng(0)
    coords = rng.uniform(size=(300, 2))
    coords = np.vstack([coords, coords])
    section = np.repeat([0, 1], 300)
    pairs = sample_pairs(coords, section, 0.05, rng)
    assert (section[pairs.one] == section[pairs.other]).all()
    assert pairs.n_pairs.min() > 0
    assert pairs.lag.max() == pairs.n_pairs.size - 1


@pytest.mark.parametrize(
    "kind", [pytest.param("normal", marks=pytest.mark.slow), "skewed", "mostly zero"]
)
def test_as_smooth_as_the_map_with_its_values(plane, kind):
    mask, _, smoother = plane
    maps = smooth_maps(mask, 3, 12, seed=1)
    if kind != "normal":
        maps = np.exp(maps) if kind == "skewed" else np.maximum(maps - 0.5, 0)
    rng = np.random.default_rng(2)
    seen, made = [], []
    for values in maps.T:
        amplitudes = smoother.amplitudes(values)
        fields = next(smoother.fields(np.ones(smoother.times.size, bool), 8, rng))
        order = np.argsort(np.argsort(np.tensordot(amplitudes, fields, 1), 0), 0)
        surrogates = np.sort(values)[order]
        seen.append(smoother.pairs.correlogram(values))
        made.append(np.mean([smoother.pairs.correlogram(x) for x in surrogates.T], 0))
        assert (np.sort(surrogates, axis=0) == np.sort(values)[:, None]).all()
    seen, made = np.mean(seen, 0), np.mean(made, 0)
    assert seen[0] > 0.8
    assert np.abs(seen - made).max() < 0.08
    # White noise, or a field of three times the width, would not do.
    assert seen[5] > 0.3
    assert seen[-1] < 0.2


def stripes(mask):
    """Regions: blocks of the plane."""
    y, x = np.nonzero(mask)
    _, codes = np.unique(y // 8 * 100 + x // 8, return_inverse=True)
    return codes


def p_of(maps, codes, graph, smoother, n_surrogates, seed=0):
    n_labels = codes.max() + 1
    touch = graph_adjacency(codes, graph, n_labels)
    regions = lift(np.eye(n_labels, dtype=bool), np.bincount(codes), touch)
    plan = plan_search(
        codes, regions, max_regions=3, beam_width=1, metric="pearson", min_gain=0.01
    )
    signed = np.zeros(maps.shape[1], bool)
    found = correlate(maps, signed, plan)
    null = null_scores(
        maps,
        signed,
        plan,
        smoother,
        n_surrogates=n_surrogates,
        rng=np.random.default_rng(seed),
        callback=lambda *_: None,
    )
    observed = plan.penalised(found.score).max(0)
    return p_values(observed, plan.penalised(null).max(0))


@pytest.mark.slow
def test_p_values_of_smooth_maps_are_uniform(plane):
    mask, graph, smoother = plane
    maps = np.hstack([smooth_maps(mask, w, 30, seed=3) for w in (0.5, 1.5, 3)])
    maps[:, ::2] = np.exp(maps[:, ::2])
    p = p_of(maps, stripes(mask), graph, smoother, 59)
    assert kstest(p, "uniform").pvalue > 0.01
    assert (p <= 0.05).mean() <= 0.1


def test_maps_of_regions_are_told_from_smooth_ones(plane):
    mask, graph, smoother = plane
    codes = stripes(mask)
    maps = smooth_maps(mask, 3, 10, seed=4)
    large = np.flatnonzero(np.bincount(codes) > 50)[:10]
    maps = 0.3 * maps + 1.5 * (codes[:, None] == large)
    assert (p_of(maps, codes, graph, smoother, 99) <= 0.05).all()


def test_permuted_values_would_not_do(plane):
    """What the null is for: against white noise, nearly all smooth maps are significant."""
    mask, graph, smoother = plane
    maps = smooth_maps(mask, 3, 20, seed=5)
    codes = stripes(mask)
    smoother_of_noise = type("S", (), {})()
    smoother_of_noise.fields = smoother.fields
    smoother_of_noise.amplitudes = lambda _: np.eye(smoother.times.size + 1)[0]
    p = p_of(maps, codes, graph, smoother_of_noise, 99)
    assert (p <= 0.05).mean() > 0.9
