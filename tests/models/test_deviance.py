"""Poisson deviance of columns against its definition."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from nonneg.models.deviance import column_deviance
from nonneg.operators.csr import CSROperator
from nonneg.operators.dense import DenseOperator
from testing.nonneg import counts, poisson_deviance

X = np.asarray(counts(120, 40).X, np.float64)
X[3] = 0
X[:, 4] = 0


@pytest.mark.parametrize(
    "operator", [DenseOperator, lambda x: CSROperator(sp.csr_matrix(x))]
)
def test_definition(operator, x64):
    op = operator(X)
    ours = column_deviance(op, op.stats(), np.zeros(120, int))
    np.testing.assert_allclose(ours, poisson_deviance(X), rtol=1e-10, atol=1e-9)


def test_sum_over_groups(x64):
    groups = np.arange(120) % 3
    op = DenseOperator(X)
    ours = column_deviance(op, op.stats(), groups)
    expected = sum(poisson_deviance(X[groups == g]) for g in range(3))
    np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-9)


def test_a_constant_share_has_none(x64):
    x = np.outer(np.arange(1, 121), np.arange(1, 41)).astype(float)
    op = DenseOperator(x)
    deviance = column_deviance(op, op.stats(), np.zeros(120, int))
    assert deviance.max() < 1e-10 * x.sum()


@pytest.mark.parametrize(
    "operator", [DenseOperator, lambda x: CSROperator(sp.csr_matrix(x))]
)
def test_float32_with_deep_counts(operator):
    """Large counts near their constant share: the deviance is a small difference."""
    rng = np.random.default_rng(0)
    size = rng.gamma(2, 1, (2000, 1))
    x = rng.poisson(size * rng.gamma(1, 200, 40)).astype(np.float32)
    op = operator(x)
    ours = column_deviance(op, op.stats(), np.zeros(2000, int))
    expected = poisson_deviance(x.astype(np.float64))
    np.testing.assert_allclose(ours, expected, rtol=1e-2)
