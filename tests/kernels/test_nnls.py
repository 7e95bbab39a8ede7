"""Block principal pivoting against scipy's active set."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import nnls as scipy_nnls

from nonneg.kernels import nnls as module

nnls = jax.jit(module.nnls)

K = 8
SYSTEMS = {
    "random": lambda rng: rng.standard_normal((30, K)),
    "positive": lambda rng: rng.random((30, K)),
    "rank-deficient": lambda rng: rng.random((30, 3)) @ rng.random((3, K)),
    "twice-the-same": lambda rng: np.repeat(rng.random((30, K // 2)), 2, axis=1),
    "empty-column": lambda rng: rng.random((30, K)) * (np.arange(K) != 2),
    "ill-conditioned": lambda rng: rng.random((30, K)) @ np.diag(10.0 ** -np.arange(K)),
    "vandermonde": lambda _: np.vander(np.linspace(0.1, 1, 30), K),
}


@pytest.fixture(params=SYSTEMS)
def system(request):
    """A matrix A and targets Y, of which some have a negative solution."""
    rng = np.random.default_rng(3)
    a = SYSTEMS[request.param](rng)
    mixed = a @ rng.standard_normal((K, 40)) + 0.1 * rng.standard_normal((30, 40))
    return a, np.concatenate([mixed, -mixed[:, :1], 0 * mixed[:, :1]], axis=1).T


def value(a, y, x):
    return np.square(y - x @ a.T).sum(1) / 2


def test_as_good_as_scipy(system, x64):
    a, y = system
    ours = np.asarray(nnls(jnp.asarray(y @ a), jnp.asarray(a.T @ a)))
    theirs = np.array([scipy_nnls(a, row)[0] for row in y])
    assert (ours >= 0).all()
    assert np.isfinite(ours).all()
    scale = np.square(y).sum(1).max() / 2
    np.testing.assert_allclose(
        value(a, y, ours), value(a, y, theirs), rtol=1e-6, atol=1e-10 * scale
    )
    if np.linalg.cond(a) < 1e3:
        np.testing.assert_allclose(ours, theirs, atol=1e-9)


def test_optimality_conditions(system, x64):
    a, y = system
    x = np.asarray(nnls(jnp.asarray(y @ a), jnp.asarray(a.T @ a)))
    gradient = x @ (a.T @ a) - y @ a
    scale = np.abs(y @ a).max()
    assert gradient.min() > -1e-9 * scale
    assert np.abs(gradient[x > 0]).max(initial=0) < 1e-9 * scale


def test_start_changes_nothing(x64):
    rng = np.random.default_rng(0)
    a = SYSTEMS["random"](rng)
    y = rng.standard_normal((50, 30))
    cold = nnls(jnp.asarray(y @ a), jnp.asarray(a.T @ a))
    for start in (np.ones((50, K)), rng.random((50, K)).round()):
        warm = nnls(jnp.asarray(y @ a), jnp.asarray(a.T @ a), jnp.asarray(start))
        np.testing.assert_allclose(warm, cold, atol=1e-10)


def test_float32():
    rng = np.random.default_rng(0)
    a = SYSTEMS["random"](rng).astype(np.float32)
    y = rng.standard_normal((50, 30)).astype(np.float32)
    ours = nnls(jnp.asarray(y @ a), jnp.asarray(a.T @ a))
    assert ours.dtype == np.float32
    theirs = np.array([scipy_nnls(a, row)[0] for row in y])
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [2, 4, K])
def test_components_that_are_all_the_same(size, dtype):
    """Of every length: a Cholesky factor of their Gram matrix is on the brink."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(dtype is np.float64):
        for _ in range(20):
            column = rng.random((60, 1)).astype(dtype)
            a = np.repeat(column, size, axis=1)
            x = nnls(
                jnp.asarray(3 * column.T @ a), jnp.asarray(a.T @ a), jnp.ones((1, size))
            )
            np.testing.assert_allclose(x.sum(), 3, rtol=1e-4)


def test_nothing_to_explain():
    zero = jnp.zeros((4, K))
    assert not np.asarray(nnls(zero, jnp.zeros((K, K)))).any()
    assert not np.asarray(nnls(zero, jnp.eye(K))).any()
    np.testing.assert_array_equal(nnls(zero - 1, jnp.eye(K)), zero)
