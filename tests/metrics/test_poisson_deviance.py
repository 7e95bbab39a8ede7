from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from nonneg.metrics import poisson_deviance


@pytest.fixture
def counts():
    rng = np.random.default_rng(0)
    mu = rng.gamma(1.0, 2.0, size=(40, 7))
    return rng.poisson(mu), mu


def by_definition(y, mu):
    mu = np.maximum(mu, 1e-12)
    log = np.zeros(y.shape)
    log[y > 0] = np.log(y[y > 0] / mu[y > 0])
    return 2 * (y * log - y + mu)


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize(
    "to", [np.asarray, sp.csr_matrix, sp.csr_array, sp.csc_array, sp.coo_matrix]
)
def test_definition(counts, to, axis):
    y, mu = counts
    result = poisson_deviance(to(y), mu, axis=axis)
    np.testing.assert_allclose(result, by_definition(y, mu).mean(axis), rtol=1e-12)
    assert isinstance(result, float) == (axis is None)


def test_exact_values():
    assert poisson_deviance([[0.0]], [[3.0]]) == 6.0
    assert poisson_deviance([[2.0]], [[2.0]]) == 0.0
    expected = 2 * (3 * np.log(3 / 1e-12) - 3 + 1e-12)
    assert poisson_deviance([[3]], [[0.0]]) == pytest.approx(expected, rel=1e-12)


def test_floor_is_the_same_for_sparse_counts():
    y, mu = np.array([[3, 0]]), np.array([[0.0, 1.0]])
    assert poisson_deviance(sp.csr_array(y), mu) == pytest.approx(
        poisson_deviance(y, mu), rel=1e-12
    )


def test_smallest_at_the_true_mean(counts):
    y, mu = counts
    y = np.random.default_rng(1).poisson(np.tile(mu, (200, 1)))
    tiled = np.tile(mu, (200, 1))
    best = poisson_deviance(y, tiled)
    assert best < poisson_deviance(y, 1.05 * tiled)
    assert best < poisson_deviance(y, 0.95 * tiled)


def test_duplicate_entries_are_summed_and_left_alone():
    y = sp.csr_matrix(
        (np.array([1.0, 2.0]), np.array([0, 0]), np.array([0, 2])), shape=(1, 2)
    )
    mu = np.array([[2.0, 1.0]])
    assert poisson_deviance(y, mu) == pytest.approx(poisson_deviance([[3, 0]], mu))
    assert y.nnz == 2


def test_float32_means_are_summed_in_float64():
    y, mu = np.zeros((4000, 500)), np.full((4000, 500), 0.1, np.float32)
    expected = 2 * float(np.float32(0.1))
    assert poisson_deviance(sp.csr_array(y), mu) == pytest.approx(expected, rel=1e-12)


def test_refusals(counts):
    y, mu = counts
    with pytest.raises(
        ValueError, match=r"y has shape \(40, 7\), but mu has .*\(7, 40\)"
    ):
        poisson_deviance(y, mu.T)
    with pytest.raises(ValueError, match="mu has negative, infinite or NaN"):
        poisson_deviance(y, np.where(mu > 5, np.nan, mu))
    with pytest.raises(ValueError, match="y has negative, infinite or NaN"):
        poisson_deviance(sp.csr_array(-y), mu)
    with pytest.raises(TypeError, match="mu must be dense"):
        poisson_deviance(y, sp.csr_array(mu))
