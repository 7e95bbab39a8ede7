"""How much metagenes differ between data sets."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import nonneg as nng


def specificity(adata, **kwargs):
    return nng.get.dataset_specificity(adata, key="truth", **kwargs)


def norms(adata):
    """Norm of every metagene in every data set, (n_batches, k), in slow loops."""
    W, V = adata.varm["truth"], adata.varm["truth_specific"]
    result = np.empty(V.shape[1:])
    for d in range(result.shape[0]):
        for k in range(result.shape[1]):
            total = [w + v for w, v in zip(W[:, k], V[:, d, k], strict=True)]
            result[d, k] = np.sqrt(sum(x**2 for x in total if not np.isnan(x)))
    return result


@pytest.fixture
def two():
    return nng.datasets.batches((30, 20), 40, 3)


@pytest.fixture
def three():
    return nng.datasets.batches((30, 20, 10), 40, 4, specific=1)


def test_by_hand():
    adata = nng.datasets.batches((5, 5), 2, 1)
    adata.varm["truth"] = np.array([[3.0], [0.0]])
    adata.varm["truth_specific"] = np.array([[[0.0], [0.0]], [[4.0], [0.0]]])
    # Norms of 5 and 3; then the other way round.
    assert specificity(adata).to_numpy() == pytest.approx(100 * (1 - 5 / 3))
    other = specificity(adata, batches=["batch_1", "batch_0"])
    assert other.to_numpy() == pytest.approx(40)
    assert other.columns.tolist() == ["batch_1 / batch_0"]


def test_two_data_sets(two):
    table = specificity(two)
    first, second = norms(two)
    assert table.index.tolist() == ["truth_0", "truth_1", "truth_2"]
    assert table.columns.tolist() == ["batch_0 / batch_1"]
    np.testing.assert_allclose(
        table["batch_0 / batch_1"], 100 * (1 - first / second), rtol=1e-5
    )


def test_each_against_the_others(three):
    table = specificity(three)
    a, b, c = norms(three)
    expected = {
        "batch_0 / others": 100 * (1 - a / ((b + c) / 2)),
        "batch_1 / others": 100 * (1 - b / ((a + c) / 2)),
        "batch_2 / others": 100 * (1 - c / ((a + b) / 2)),
    }
    pd.testing.assert_frame_equal(
        table, pd.DataFrame(expected, index=[f"truth_{i}" for i in range(4)]), rtol=1e-5
    )


def test_selected_data_sets(three):
    pair = specificity(three, batches=["batch_2", "batch_0"])
    a, _, c = norms(three)
    np.testing.assert_allclose(
        pair["batch_2 / batch_0"], 100 * (1 - c / a), rtol=1e-5, atol=1e-4
    )


def test_any_names(two):
    two.uns["truth"]["batches"] = np.array(["a/b", "others"])
    assert specificity(two).columns.tolist() == ["a/b / others"]


def test_genes_outside_the_mask(two):
    expected = specificity(two[:, 5:].copy())
    two.varm["truth"][:5] = np.nan
    two.varm["truth_specific"][:5] = np.nan
    pd.testing.assert_frame_equal(specificity(two), expected)


def test_dead_factors(two):
    two.varm["truth"][:, :2] = 0
    two.varm["truth_specific"][:, :, 0] = 0
    two.varm["truth_specific"][:, 1, 1] = 0
    values = specificity(two)["batch_0 / batch_1"].to_numpy()
    assert np.isnan(values[0])
    assert values[1] == -np.inf
    assert np.isfinite(values[2])


def test_refusals(two):
    with pytest.raises(KeyError, match=r"no data sets \['other'\]; there are \['ba"):
        specificity(two, batches=["batch_0", "other"])
    for batches in ("batch_0", ["batch_0"], ["batch_0", "batch_0"]):
        with pytest.raises(ValueError, match="must name two or more different data"):
            specificity(two, batches=batches)
    single = two.copy()
    single.uns["truth"]["batches"] = np.array(["batch_0"])
    single.varm["truth_specific"] = single.varm["truth_specific"][:, :1]
    with pytest.raises(ValueError, match=r"one data set only, \['batch_0'\]"):
        specificity(single)
    del two.varm["truth_specific"]
    with pytest.raises(KeyError, match=r"'truth_specific' is not in adata.varm"):
        specificity(two)


def test_other_factorizations(adata):
    with pytest.raises(ValueError, match=r"made by 'nmf', which knows no data sets"):
        nng.get.dataset_specificity(adata, key="nmf")
    with pytest.raises(KeyError, match="No factorization is stored under key='inmf'"):
        nng.get.dataset_specificity(adata)
