"""Choosing the number of components and the penalty."""

from __future__ import annotations

import sys
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pytest

import nonneg as nng
from testing.nonneg import assert_same, snapshot

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def searched():
    adata = nng.datasets.batches((300, 200, 150), 120, 5, rng=1)
    nng.tl.inmf_search(
        adata, (3, 5, 7), (1.0, 5.0), batch_key="batch", size_factors="total"
    )
    return adata


def row(adata, n_components, lam):
    table = adata.uns["inmf_search"]["table"]
    chosen = (table["n_components"] == n_components) & (table["lam"] == lam)
    return table[chosen].iloc[0]


def test_one_row_per_fit(searched):
    table = searched.uns["inmf_search"]["table"]
    assert table["n_components"].tolist() == [3, 3, 5, 5, 7, 7]
    assert table["lam"].tolist() == [1, 5] * 3
    assert np.isfinite(table.to_numpy(float)).all()


def test_the_true_number_is_an_elbow(searched):
    few, true, many = (row(searched, k, 5.0)["held_out"] for k in (3, 5, 7))
    # Above 6 with eight other seeds of data and fits.
    assert few - true > 5 * abs(true - many)


def test_penalties_suppress_what_is_specific(searched):
    for k in (3, 5, 7):
        assert row(searched, k, 5.0)["specific"] < row(searched, k, 1.0)["specific"]
        # The penalty is part of the objective.
        assert row(searched, k, 5.0)["objective"] > row(searched, k, 1.0)["objective"]


def test_held_out_cells_are_other_cells():
    """Fitted cells are explained better than others, and few components alike."""
    adata = nng.datasets.batches((60, 50), 200, 5, depth=150.0, rng=2)
    nng.tl.inmf_search(adata, 20, batch_key="batch", size_factors="total")
    found = row(adata, 20, 5.0)
    assert found["held_out"] > 1.05 * found["objective"]


def test_concentration_of_known_scores():
    from nonneg.tl._inmf.inmf_search import _concentration

    equal, single = np.ones((5, 4)), np.eye(4)[[0, 1, 2, 3, 0]]
    assert _concentration(equal) == pytest.approx(0)
    assert _concentration(single) == pytest.approx(np.log(4))
    assert _concentration(np.vstack([single, np.zeros((9, 4))])) == pytest.approx(
        np.log(4)
    )


def test_reproducible(searched):
    again = nng.datasets.batches((300, 200, 150), 120, 5, rng=1)
    nng.tl.inmf_search(again, [5], [5.0], batch_key="batch", size_factors="total")
    for column in ("objective", "held_out", "concentration", "alignment", "specific"):
        assert row(again, 5, 5.0)[column] == row(searched, 5, 5.0)[column]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"held_out": 0}, "held_out=0"),
        ({"held_out": 1.0}, "held_out=1.0"),
        ({"lam": -1.0}, "lam=-1.0"),
        ({"n_components": (5, 0)}, "at least 1"),
        ({"n_components": 55}, "fewer cells than n_components=55"),
        ({"batch_key": "none"}, "'none' is not in adata.obs"),
    ],
)
def test_refusals(kwargs, message):
    adata = nng.datasets.batches((60, 50), 100, 3)
    before = snapshot(adata)
    with pytest.raises((ValueError, KeyError), match=message):
        nng.tl.inmf_search(adata, **{"batch_key": "batch", **kwargs})
    assert_same(snapshot(adata), before)


def test_plot(searched):
    axes = nng.pl.inmf_search(searched)
    assert [len(ax.lines) for ax in axes] == [2] * 4
    table = searched.uns["inmf_search"]["table"]
    for line, lam in zip(axes[0].lines, (1.0, 5.0), strict=True):
        assert line.get_xdata().tolist() == [3, 5, 7]
        expected = table.loc[table["lam"] == lam, "held_out"]
        np.testing.assert_array_equal(line.get_ydata(), expected)
    assert axes[0].get_xlabel() == "number of components"
    with pytest.raises(KeyError, match=r"nonneg\.tl\.inmf_search"):
        nng.pl.inmf_search(searched, key="other")
    plt.close("all")


def test_plot_along_penalties():
    adata = nng.datasets.batches((60, 50), 100, 3)
    nng.tl.inmf_search(
        adata, 3, (1.0, 5.0), batch_key="batch", size_factors="total", max_iter=5
    )
    axes = nng.pl.inmf_search(adata)
    assert axes[0].get_xlabel() == "penalty λ"
    assert axes[0].get_xscale() == "log"
    assert axes[0].get_legend() is None
    plt.close("all")


@pytest.mark.parametrize("name", ["inmf", "_judge"])
@pytest.mark.parametrize("n_finished", [0, 1])
def test_interruption_keeps_what_is_finished(monkeypatch, name, n_finished):
    """Before a fit has made a step, and while it is judged."""
    search = sys.modules["nonneg.tl._inmf.inmf_search"]
    original, n_calls = getattr(search, name), 0

    def interrupted(*args, **kwargs):
        nonlocal n_calls
        n_calls += 1
        if n_calls > n_finished:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(search, name, interrupted)
    adata = nng.datasets.batches((40, 30), 20, 2)
    call = partial(nng.tl.inmf_search, adata, (2, 3), (5,), batch_key="batch")
    if not n_finished:
        before = snapshot(adata)
        with pytest.raises(KeyboardInterrupt):
            call()
        assert_same(snapshot(adata), before)
        return
    with pytest.warns(UserWarning, match="Interrupted after 1 of 2 fits"):
        call()
    assert adata.uns["inmf_search"]["interrupted"]
    assert len(adata.uns["inmf_search"]["table"]) == 1
