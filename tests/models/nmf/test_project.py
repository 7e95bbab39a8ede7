"""Scores on fixed loadings against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.optimize import nnls as scipy_nnls

from nonneg.models.factor.penalty import Penalty
from nonneg.models.nmf.project import project
from nonneg.operators.blocks import BlockOperator
from nonneg.operators.dense import DenseOperator
from testing.nonneg import kullback_leibler, low_rank

X = low_rank(60, 40, 4, noise=0.5)
H = np.random.default_rng(5).gamma(0.5, 1, (4, 40))


def in_blocks(x):
    return BlockOperator(
        lambda: lambda pieces: x[np.r_[tuple(pieces)]],
        DenseOperator,
        np.array([0, 25, 60]),
        40,
        np.dtype(np.float64),
    )


OPERATORS = pytest.mark.parametrize("operator", [DenseOperator, in_blocks])


@OPERATORS
def test_frobenius_is_that_of_scipy(operator, x64):
    ours = project(operator(X), H)
    theirs = np.array([scipy_nnls(H.T, row)[0] for row in X])
    assert (theirs == 0).any()
    np.testing.assert_allclose(ours, theirs, atol=1e-9)


def test_penalties(x64):
    l1, l2 = 0.8, 1.5
    ours = project(DenseOperator(X), H, penalty=Penalty(l1, l2))
    gradient = ours @ H @ H.T - X @ H.T + l1 + l2 * ours
    assert np.abs(np.minimum(ours, gradient)).max() < 1e-9
    assert (ours.sum(1) < project(DenseOperator(X), H).sum(1)).all()


def test_free_scores(x64):
    ours = project(DenseOperator(X), H, nonnegative=False)
    np.testing.assert_allclose(ours, np.linalg.lstsq(H.T, X.T)[0].T, atol=1e-9)
    assert ours.min() < 0


@OPERATORS
def test_kl_is_as_good_as_scipy(operator, x64):
    x = X[:60]
    ours = project(operator(x), H, loss="kullback-leibler", tol=1e-9, max_iter=20_000)
    for row, scores in zip(x[:10], ours[:10], strict=True):
        best = minimize(
            lambda w, row=row: kullback_leibler(row[None], w[None], H),
            np.ones(4),
            jac=lambda w, row=row: H.sum(1) - H @ (row / (w @ H)),
            bounds=[(1e-12, None)] * 4,
            tol=1e-12,
        )
        value = kullback_leibler(row[None], scores[None], H)
        assert value <= best.fun * (1 + 1e-6)
        np.testing.assert_allclose(scores, best.x, atol=2e-3)


def test_kl_default_tolerance_is_good_enough(x64):
    """Within a millionth of the objective of the exact minimiser."""
    rough = project(DenseOperator(X), H, loss="kullback-leibler")
    exact = project(
        DenseOperator(X), H, loss="kullback-leibler", tol=1e-12, max_iter=50_000
    )
    values = [kullback_leibler(X, w, H) for w in (rough, exact)]
    assert values[0] == pytest.approx(values[1], rel=1e-6)
