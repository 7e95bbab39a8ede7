"""One update of a factor: what it minimises, and where it stays."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import nnls as scipy_nnls

from nonneg.kernels import hals
from nonneg.kernels.hals import hals_update
from nonneg.kernels.kkt import projected_gradient
from nonneg.kernels.mu import mu_update, mu_update_kl
from nonneg.kernels.nnls import least_squares
from nonneg.models.factor.alternate import update_factor
from nonneg.models.factor.penalty import Penalty
from testing.nonneg import frobenius, kullback_leibler, low_rank

PENALTIES = [Penalty(), Penalty(0.7, 0.0), Penalty(0.0, 2.0), Penalty(0.3, 0.9)]


@pytest.fixture
def problem():
    """X (observations x variables), a start W, and fixed H."""
    rng = np.random.default_rng(1)
    return low_rank(50, 30, 4), rng.random((50, 4)) + 0.1, rng.random((4, 30))


def best(x, h, penalty):
    """Exact minimiser over W by scipy: penalties as rows of a larger system."""
    l1, l2 = penalty
    gram = h @ h.T + l2 * np.eye(len(h))
    root = np.linalg.cholesky(gram)
    return np.array(
        [
            scipy_nnls(root.T, np.linalg.solve(root, target))[0]
            for target in x @ h.T - l1
        ]
    )


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_hals_goes_to_the_minimiser(problem, penalty, x64):
    x, w, h = problem
    l1, l2 = penalty
    product, gram = jnp.asarray(x @ h.T - l1), jnp.asarray(h @ h.T + l2 * np.eye(4))
    update = jax.jit(hals_update)
    w = jnp.asarray(w)
    for _ in range(300):
        w = update(w, product, gram)
    np.testing.assert_allclose(w, best(x, h, penalty), atol=1e-9)


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_anls_is_the_minimiser(problem, penalty, x64):
    x, w, h = problem
    new, gram, *_ = update_factor(
        jnp.asarray(w), jnp.asarray(x @ h.T), jnp.asarray(h @ h.T), penalty, "anls"
    )
    np.testing.assert_allclose(new, best(x, h, penalty), atol=1e-9)
    np.testing.assert_allclose(gram, new.T @ new, rtol=1e-12)


def test_unconstrained_is_least_squares(problem, x64):
    x, _, h = problem
    ours = least_squares(jnp.asarray(x @ h.T), jnp.asarray(h @ h.T))
    np.testing.assert_allclose(ours, np.linalg.lstsq(h.T, x.T)[0].T, atol=1e-9)


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
@pytest.mark.parametrize("loss", [frobenius, kullback_leibler])
def test_mu_never_rises(problem, loss, penalty, x64):
    x, w, h = problem
    l1, l2 = penalty

    def objective(w):
        return loss(x, w, h) + l1 * w.sum() + l2 / 2 * np.square(w).sum()

    values = [objective(w)]
    for _ in range(50):
        if loss is frobenius:
            parts = x @ h.T, w @ (h @ h.T) + l1 + l2 * w
            w = np.asarray(mu_update(*map(jnp.asarray, (w, *parts))))
        else:
            parts = (x / (w @ h)) @ h.T, h.sum(1)
            w = np.asarray(mu_update_kl(*map(jnp.asarray, (w, *parts)), l1, l2))
        values.append(objective(w))
    assert (np.diff(values) <= 1e-12 * values[0]).all()
    assert values[-1] < 0.9 * values[0]


@pytest.mark.parametrize("rule", ["hals", "mu", "anls"])
@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_a_minimiser_is_left_alone(problem, rule, penalty, x64):
    x, _, h = problem
    w = best(x, h, penalty)
    assert (w == 0).any()
    assert (w > 0).any()
    new, _, residual, _ = update_factor(
        jnp.asarray(w), jnp.asarray(x @ h.T), jnp.asarray(h @ h.T), penalty, rule
    )
    np.testing.assert_allclose(new, w, atol=1e-9)
    assert residual < 1e-8


def test_mu_leaves_a_kl_minimiser_alone(problem, x64):
    """With X = W H every ratio is one."""
    _, w, h = problem
    x = w @ h
    ratio = jnp.asarray((x / (w @ h)) @ h.T)
    new = mu_update_kl(jnp.asarray(w), ratio, jnp.asarray(h.sum(1)))
    np.testing.assert_allclose(new, w, rtol=1e-13)


def test_residual_is_the_projected_gradient(problem, x64):
    x, w, h = problem
    w = w * (np.random.default_rng(0).random(w.shape) < 0.7)
    gradient = w @ (h @ h.T) - x @ h.T
    expected = np.where(w > 0, gradient, np.minimum(gradient, 0))
    ours = projected_gradient(jnp.asarray(w), jnp.asarray(gradient))
    np.testing.assert_array_equal(ours, expected)
    _, _, residual, scale = update_factor(
        jnp.asarray(w), jnp.asarray(x @ h.T), jnp.asarray(h @ h.T), Penalty(), "hals"
    )
    np.testing.assert_allclose(residual, np.abs(expected).sum(), rtol=1e-12)
    np.testing.assert_allclose(scale, (x @ h.T).sum(), rtol=1e-12)
    np.testing.assert_allclose(scale, (x @ h.T).sum(), rtol=1e-12)


def test_partners_of_empty_components_become_zero(problem):
    x, w, h = problem
    h[2] = 0
    new = hals_update(*(jnp.asarray(a) for a in (w, x @ h.T, h @ h.T)))
    assert not np.asarray(new)[:, 2].any()
    assert np.asarray(new)[:, [0, 1, 3]].any(axis=0).all()
    assert np.isfinite(new).all()


def test_mu_keeps_what_has_no_partner(problem):
    """0 / 0 is no update."""
    x, w, h = problem
    h[2] = 0
    parts = (jnp.asarray(a) for a in (w, (x / (w @ h)) @ h.T, h.sum(1)))
    new = np.asarray(mu_update_kl(*parts))
    np.testing.assert_allclose(new[:, 2], w[:, 2], rtol=1e-6)


def test_sweeps_are_compiled_once():
    """Also where they are called outside of compiled code."""
    x = jnp.ones((7, 3))
    hals_update(x, x, jnp.eye(3))
    before = hals._sweep._cache_size()
    for _ in range(3):
        hals_update(x, x, jnp.eye(3))
    assert hals._sweep._cache_size() == before
