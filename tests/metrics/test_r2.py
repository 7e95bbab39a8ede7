from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics import r2_score

from nonneg.metrics import r2


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    W, L = rng.gamma(1.0, 1.0, (5000, 4)), rng.gamma(1.0, 1.0, (9, 4))
    X = rng.poisson(W @ L.T).astype(np.float32)
    return X, W, L


@pytest.mark.parametrize("to", [np.asarray, sp.csr_matrix, sp.csr_array, sp.csc_array])
def test_definition(problem, to):
    X, W, L = problem
    residual = np.sum((X - W @ L.T) ** 2)
    plain = 1 - residual / np.sum(X.astype(float) ** 2)
    centered = 1 - residual / np.sum((X - X.mean(0, dtype=float)) ** 2)
    assert r2(to(X), W, L) == pytest.approx(plain, rel=1e-10)
    assert r2(to(X), W, L, centered=True) == pytest.approx(centered, rel=1e-10)


def test_centered_agrees_with_scikit_learn(problem):
    X, W, L = problem
    theirs = r2_score(X, W @ L.T, multioutput="variance_weighted")
    assert r2(X, W, L, centered=True) == pytest.approx(theirs, rel=1e-6)


def test_ends_of_the_scale(problem):
    _, W, L = problem
    X = W @ L.T
    assert r2(X, W, L) == pytest.approx(1, abs=1e-12)
    assert r2(X, 0 * W, L) == 0
    means = np.ones((len(X), 1)), X.mean(0)[:, None]
    assert r2(X, *means, centered=True) == pytest.approx(0, abs=1e-10)


def test_masked_variables_are_left_out(problem):
    X, W, L = problem
    masked = L.copy()
    masked[[2, 5]] = np.nan
    kept = np.delete(np.arange(9), [2, 5])
    for x in (X, sp.csr_array(X)):
        assert r2(x, W, masked) == pytest.approx(r2(X[:, kept], W, L[kept]))


def test_refusals(problem):
    X, W, L = problem
    with pytest.raises(ValueError, match="must have shapes"):
        r2(X, W, L.T)
    with pytest.raises(ValueError, match="must have shapes"):
        r2(X, W[:, :3], L)
    with pytest.raises(ValueError, match="all zero"):
        r2(0 * X, W, L)
    with pytest.raises(ValueError, match="constant"):
        r2(np.ones_like(X), W, L, centered=True)
