"""Metrics of compositions, against definitions and other packages."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.spatial.distance import jensenshannon
from sklearn.metrics import average_precision_score

from nonneg.metrics import (
    composition_correlation,
    composition_divergence,
    composition_error,
    composition_rmse,
    marker_agreement,
    presence_aupr,
)

ALL = [
    composition_correlation,
    composition_divergence,
    composition_error,
    composition_rmse,
    presence_aupr,
]


@pytest.fixture
def shares():
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.full(5, 0.3), 40)
    truth[truth < 0.02] = 0
    return rng.dirichlet(np.full(5, 0.5), 40), truth


def test_rmse(shares):
    estimate, truth = shares
    square = (estimate - truth) ** 2
    assert composition_rmse(*shares) == pytest.approx(np.sqrt(square.mean()))
    for axis in (0, 1):
        np.testing.assert_allclose(
            composition_rmse(*shares, axis=axis), np.sqrt(square.mean(axis))
        )


def test_divergence_agrees_with_scipy(shares):
    theirs = [jensenshannon(p, q, base=2) ** 2 for p, q in zip(*shares, strict=True)]
    np.testing.assert_allclose(composition_divergence(*shares), theirs, atol=1e-12)


def test_correlation_agrees_with_numpy(shares):
    theirs = [
        np.corrcoef(*columns)[0, 1]
        for columns in zip(*(s.T for s in shares), strict=True)
    ]
    np.testing.assert_allclose(composition_correlation(*shares), theirs)
    constant = np.full((40, 5), 0.2)
    assert np.isnan(composition_correlation(constant, shares[1])).all()


def test_error(shares):
    estimate, truth = shares
    expected = np.linalg.norm(estimate - truth) / np.linalg.norm(truth)
    assert composition_error(*shares) == pytest.approx(expected)
    assert composition_error(truth, truth) == 0


def test_presence_agrees_with_scikit_learn(shares):
    estimate, truth = shares
    theirs = average_precision_score((truth > 0).ravel(), estimate.ravel())
    assert presence_aupr(*shares) == pytest.approx(theirs)
    assert presence_aupr(truth, truth) == pytest.approx(1)


@pytest.mark.parametrize("metric", ALL)
def test_rows_with_nan_are_left_out(metric, shares):
    estimate, truth = shares
    holed = estimate.copy()
    holed[[0, 7]] = np.nan
    kept = np.delete(np.arange(40), [0, 7])
    np.testing.assert_allclose(
        metric(holed, truth), metric(estimate[kept], truth[kept])
    )
    with pytest.raises(ValueError, match="free of NaN"):
        metric(np.nan * estimate, truth)


@pytest.mark.parametrize("metric", ALL)
def test_refusals(metric, shares):
    estimate, truth = shares
    with pytest.raises(ValueError, match="one shape"):
        metric(estimate[:, :3], truth)
    with pytest.raises(ValueError, match="not negative"):
        metric(-estimate, truth)


def test_nothing_there(shares):
    estimate, truth = shares
    with pytest.raises(ValueError, match="all zero"):
        composition_error(estimate, 0 * truth)
    with pytest.raises(ValueError, match="no composition"):
        composition_divergence(estimate, 0 * truth)
    with pytest.raises(ValueError, match="No type is present"):
        presence_aupr(estimate, 0 * truth)


@pytest.mark.parametrize("to", [np.asarray, sp.csr_matrix, sp.csr_array])
def test_markers(to):
    rng = np.random.default_rng(1)
    counts = rng.poisson(3, (30, 6)).astype(float)
    shares = pd.DataFrame(rng.dirichlet(np.ones(3), 30), columns=["a", "b", "c"])
    shares.iloc[4] = np.nan
    genes = [f"g{j}" for j in range(6)]
    found = marker_agreement(
        to(counts), shares, {"a": ["g0", "g3", "other"], "b": ["other"]}, genes=genes
    )
    kept = np.delete(np.arange(30), 4)
    level = counts[:, [0, 3]].sum(1) / counts.sum(1)
    expected = np.corrcoef(level[kept], shares["a"].to_numpy()[kept])[0, 1]
    assert list(found.index) == ["a"]
    assert found["a"] == pytest.approx(expected)
    with pytest.raises(ValueError, match="has a marker"):
        marker_agreement(to(counts), shares, {"d": ["g0"]}, genes=genes)
    with pytest.raises(ValueError, match="a column for each"):
        marker_agreement(to(counts), shares, {"a": ["g0"]}, genes=genes[1:])
