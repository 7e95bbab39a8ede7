"""Sweeps over footprints, and time courses, against the mathematics."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls

from nonneg.models.locanmf.passes import (
    DeviceFootprints,
    HostFootprints,
    Penalties,
    Sums,
)
from nonneg.models.locanmf.problem import make_movie
from nonneg.models.locanmf.temporal import _RIDGE, free_traces, solve_free

N, R, K = 1500, 6, 4
WEIGHT = np.array([0.0, 0.3, 1.0, 4.0])
RIDGE = np.array([5.0, 0.0, 2.0, 20.0])
PENALTIES = {
    "slopes": Penalties(WEIGHT),
    "damped": Penalties(WEIGHT, RIDGE),
    "closed": Penalties(WEIGHT, RIDGE, closed=True),
}
every_penalty = pytest.mark.parametrize("penalties", PENALTIES.values(), ids=PENALTIES)


@pytest.fixture
def movie():
    """Pixels on a line, in two regions, more of them than fit into a tile."""
    rng = np.random.default_rng(0)
    x = np.linspace(0, 2, N)
    region = (x > 1).astype(np.intp)
    distance = np.stack([np.maximum(x - 1, 0), np.maximum(1 - x, 0)], axis=1)
    data = rng.random((N, K)) @ rng.normal(size=(K, R)) + rng.normal(size=(N, R))
    return make_movie(data, np.eye(R), region, distance, 1.0)


@pytest.fixture
def start(movie):
    rng = np.random.default_rng(1)
    region = np.array([0, 0, 1, 1])
    footprints = HostFootprints(movie, region, rng.random((N, K)).astype(np.float32))
    return footprints, free_traces(rng.normal(size=(K, R)))


def slopes(footprints):
    """(n_pixels, K): what one unit of a footprint costs."""
    return footprints.movie.distance[:, footprints.region].astype(float) * WEIGHT


def ridges(footprints, penalties):
    """(n_pixels, K): the curvature that is added."""
    outside = footprints.movie.distance[:, footprints.region] > 0
    return outside * (0 if penalties.ridge is None else penalties.ridge)


def objective(footprints, traces, penalties=PENALTIES["slopes"]):
    a = footprints.a.astype(float)
    error = footprints.movie.data.astype(float) - a @ traces.basis
    cost = slopes(footprints) * a + 0.5 * ridges(footprints, penalties) * a**2
    return 0.5 * np.square(error).sum() + cost.sum()


def gradient(footprints, traces, penalties):
    a = footprints.a.astype(float)
    product = footprints.movie.data.astype(float) @ traces.basis.T
    cost = slopes(footprints) + ridges(footprints, penalties) * a
    return a @ traces.gram - product + cost


def sweep(
    footprints, traces, n_sweeps=1, *, penalties=PENALTIES["slopes"], everywhere=True
):
    return footprints.sweep(
        traces.basis, traces.gram, penalties, n_sweeps=n_sweeps, everywhere=everywhere
    )


@every_penalty
@pytest.mark.parametrize("everywhere", [True, False])
def test_no_step_raises_the_objective(start, everywhere, penalties):
    """Neither of footprints nor of time courses, with penalties that stay."""
    footprints, traces = start
    values = [objective(footprints, traces, penalties)]
    for _ in range(40):
        sums = sweep(footprints, traces, penalties=penalties, everywhere=everywhere)
        values.append(objective(footprints, traces, penalties))
        traces = solve_free(sums)
        values.append(objective(footprints, traces, penalties))
    rises = np.diff(values) / values[0]
    assert rises.max() < 1e-7
    assert values[-1] < 0.8 * values[0]


@pytest.mark.parametrize("name", ["slopes", "damped"])
def test_optimality_conditions(start, name):
    footprints, traces = start
    sweep(footprints, traces, 500, penalties=PENALTIES[name])
    slope, a = gradient(footprints, traces, PENALTIES[name]), footprints.a
    size = np.abs(slope).max()
    assert np.abs(slope[a > 0]).max() < 1e-5 * size
    assert slope[a == 0].min() > -1e-5 * size
    assert (a == 0).any(axis=0)[3]


def test_each_pixel_is_a_least_squares_problem_of_its_own(start):
    footprints, traces = start
    sweep(footprints, traces, 500)
    root = np.linalg.cholesky(traces.gram).T
    product = footprints.movie.data.astype(float) @ traces.basis.T
    target = np.linalg.solve(root.T, (product - slopes(footprints)).T).T
    for n in range(0, N, 97):
        expected, _ = nnls(root, target[n])
        np.testing.assert_allclose(footprints.a[n], expected, atol=1e-4)


def test_closed_footprints_do_not_spread(start):
    footprints, traces = start
    sweep(footprints, traces)
    zero = footprints.a == 0
    assert zero.any()
    # Without penalties and with other time courses, many would come back.
    free = footprints.a.copy()
    other = free_traces(np.random.default_rng(2).normal(size=(K, R)))
    opened = HostFootprints(footprints.movie, footprints.region, free)
    nothing = Penalties(np.zeros(K))
    sweep(opened, other, penalties=nothing)
    assert opened.a[zero].any()
    sweep(footprints, other, penalties=nothing._replace(closed=True))
    assert not footprints.a[zero].any()


@every_penalty
def test_a_device_sweeps_as_the_host_does(start, penalties):
    footprints, traces = start
    movie, region = footprints.movie, footprints.region
    # Zeros, and more room than components.
    footprints.a[::3] = 0
    device = DeviceFootprints(movie, region, footprints.a.copy(), K + 3)
    sums = sweep(footprints, traces, 4, penalties=penalties)
    there = sweep(device, traces, 4, penalties=penalties)
    np.testing.assert_allclose(device.on_host(), footprints.a, atol=2e-5)
    for one, other in zip(sums, there, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-2)


def test_sums_are_those_of_the_new_footprints(start):
    footprints, traces = start
    sums = sweep(footprints, traces, 3)
    a = footprints.a.astype(float)
    inside = footprints.movie.region[:, None] == footprints.region
    np.testing.assert_allclose(sums.peak, a.max(axis=0), rtol=1e-6)
    np.testing.assert_allclose(sums.inside, (a**2 * inside).sum(axis=0), rtol=1e-5)
    np.testing.assert_allclose(sums.square, a.T @ a, rtol=1e-5)
    expected = a.T @ footprints.movie.data
    np.testing.assert_allclose(sums.product, expected, rtol=1e-4, atol=1e-3)


def test_time_courses_are_least_squares_with_a_small_ridge(start):
    footprints, traces = start
    found = solve_free(sweep(footprints, traces))
    a = footprints.a.astype(float)
    norm = np.linalg.norm(a, axis=0)
    data = footprints.movie.data.astype(float)
    longer = np.concatenate([a, np.sqrt(_RIDGE) * np.diag(norm)])
    padded = np.concatenate([data, np.zeros((K, R))])
    expected, *_ = np.linalg.lstsq(longer, padded, rcond=None)
    np.testing.assert_allclose(found.basis, expected, atol=1e-5)
    np.testing.assert_allclose(found.gram, found.basis @ found.basis.T)


def test_footprints_that_are_nearly_the_same_do_not_cancel():
    """What tells them apart is too little to hang time courses on."""
    rng = np.random.default_rng(0)
    one = rng.random(500)
    a = np.stack([one, one + 1e-4 * rng.random(500)], axis=1)
    data = np.outer(one, rng.normal(size=R)) + 0.01 * rng.normal(size=(500, R))
    exact, *_ = np.linalg.lstsq(a, data, rcond=None)
    inside = np.square(a).sum(axis=0)
    found = solve_free(Sums(a.max(axis=0), inside, a.T @ a, a.T @ data))
    assert np.abs(exact).max() > 5
    assert np.abs(found.basis).max() < 2
    lost = np.square(data - a @ found.basis).sum() / np.square(data).sum()
    assert lost < 1e-3
