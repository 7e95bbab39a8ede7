"""Semi-NMF: one side non-negative, never rising, optimal."""

from __future__ import annotations

import numpy as np
import pytest

from nonneg.models.nmf.seminmf import seminmf
from nonneg.operators.dense import DenseOperator
from testing.nonneg import frobenius, low_rank

X = low_rank(60, 40, 4, noise=0.5)
X = X - X.mean(0)


def fit(x, **kwargs):
    op = DenseOperator(x)
    return seminmf(op, op.stats(), 4, **kwargs)


def mixed(rng, side):
    """Parts of one side are non-negative, each alone once; the other is free."""
    positive = rng.random((60, 4)) * (rng.random((60, 4)) < 0.5)
    positive[:4] = np.eye(4)
    x = positive @ rng.standard_normal((4, 40))
    return x if side == "scores" else x.T


@pytest.fixture(params=["scores", "loadings"])
def side(request):
    return request.param


def test_objective_never_rises(side, x64):
    result = fit(X, nonnegative=side, tol=0, max_iter=60)
    objective = np.array(result.trace.objective)
    assert len(objective) == 60
    assert (np.diff(objective) <= 1e-10 * objective[0]).all()
    assert objective[-1] == pytest.approx(frobenius(X, result.W, result.H), rel=1e-10)


@pytest.mark.parametrize(
    "side", ["scores", pytest.param("loadings", marks=pytest.mark.slow)], indirect=True
)
def test_optimality_conditions(side, x64):
    x = mixed(np.random.default_rng(0), side)
    x += 0.1 * np.random.default_rng(1).standard_normal(x.shape)
    # The free side makes it slow: the last digits take many more iterations.
    result = fit(x, nonnegative=side, tol=1e-10, max_iter=5000)
    w, h = result.W, result.H
    of_w, of_h = x @ h.T, w.T @ x
    gradients = {
        "scores": (w, (w @ h @ h.T - of_w) / np.abs(of_w).max()),
        "loadings": (h, (w.T @ w @ h - of_h) / np.abs(of_h).max()),
    }
    factor, gradient = gradients.pop(side)
    assert factor.min() >= 0
    assert np.abs(np.minimum(factor / factor.max(), gradient)).max() < 1e-4
    ((factor, gradient),) = gradients.values()
    assert factor.min() < 0
    assert np.abs(gradient).max() < 1e-4


@pytest.mark.slow
def test_sides_mirror_each_other(x64):
    kwargs = dict(tol=1e-9, max_iter=5000)
    rows = fit(X, nonnegative="scores", **kwargs)
    columns = fit(X.T, nonnegative="loadings", **kwargs)
    ours, theirs = (result.trace.objective[-1] for result in (rows, columns))
    assert ours == pytest.approx(theirs, rel=1e-2)


def test_between_svd_and_nmf(side, x64):
    """One side is free: better than NMF of the same data, worse than the SVD."""
    from sklearn.decomposition import NMF

    x = low_rank(60, 40, 4, noise=0.5)
    ours = fit(x, nonnegative=side, tol=1e-7, max_iter=5000).trace.objective[-1]
    nmf = NMF(4, init="nndsvda", tol=1e-7, max_iter=5000).fit(x)
    rest = np.linalg.svd(x)[1][4:]
    assert np.square(rest).sum() / 2 <= ours * (1 + 1e-9)
    assert ours < nmf.reconstruction_err_**2 / 2


def test_recovery(side, x64):
    x = mixed(np.random.default_rng(0), side)
    result = fit(x, nonnegative=side, tol=1e-10, max_iter=5000)
    assert result.trace.objective[-1] < 1e-6 * np.square(x).sum()


def test_float32_is_close_to_float64(side):
    import jax

    kwargs = dict(nonnegative=side, tol=0, max_iter=30)
    single = fit(X.astype(np.float32), **kwargs)
    with jax.enable_x64(True):
        double = fit(X, **kwargs)
    assert single.W.dtype == np.float32
    assert double.W.dtype == np.float64
    difference = single.W @ single.H - double.W @ double.H
    assert np.abs(difference).max() < 1e-4 * np.abs(X).max()
