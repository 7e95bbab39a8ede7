"""Plots of comparisons and of spatial importance draw the right numbers."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import nonneg as nng


@pytest.fixture
def compared(adata):
    """A table as of `tl.compare`, with round numbers."""
    rows = [
        ("nsf", 8, 8, (1.0, 2.0)),
        ("nsf", 4, 4, (2.0, 3.5)),
        ("nsfh", 4, 2, (3.0, 4.0)),
        ("pnmf", 4, 0, (5.0, 5.0)),
        ("neighbors", 0, 0, (6.0, 7.0)),
        ("intercept", 0, 0, (8.0, 9.0)),
    ]
    adata.uns["comparison"] = pd.DataFrame(
        [
            (model, size, t, split, value, 0.1)
            for model, size, t, values in rows
            for split, value in enumerate(values)
        ],
        columns=["model", "n_components", "n_spatial", "split", "deviance", "seconds"],
    )
    return adata


def labelled(ax):
    handles, labels = ax.get_legend_handles_labels()
    return dict(zip(labels, handles, strict=True))


def test_comparison(compared):
    ax = nng.pl.comparison(compared)
    drawn = labelled(ax)
    assert set(drawn) == {
        "NSF",
        "NSFH",
        "PNMF, averaged",
        "4 nearest spots",
        "gene rates",
        "best",
        "selected: try more",
    }
    # What words and bars mean is in the picture.
    words = " ".join(ax.get_legend().get_title().get_text().split())
    assert "difference from the best, 2 splits (few, so rough)" in words
    np.testing.assert_allclose(drawn["best"].get_offsets().data[:, 1], [1.5])
    # PNMF and NSFH have one size: there is no choice.
    np.testing.assert_allclose(
        drawn["selected: try more"].get_offsets(), [[8, 1.5]], atol=0.3
    )
    line, _, (bars,) = drawn["NSF"].lines
    x, y = line.get_data()
    np.testing.assert_allclose(x, [4, 8], atol=0.3)
    # Models are beside each other, so that their bars can be told apart.
    starts = [drawn[name].lines[0].get_xdata()[0] for name in ("NSF", "PNMF, averaged")]
    assert starts[0] != starts[1]
    np.testing.assert_allclose(y, [2.75, 1.5])
    # Standard errors of the difference from the best: (1, 1.5) and none.
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    np.testing.assert_allclose(np.ptp(ends, axis=1) / 2, [0.25, 0])
    np.testing.assert_allclose(drawn["4 nearest spots"].get_ydata(), 6.5)
    np.testing.assert_allclose(drawn["gene rates"].get_ydata(), 8.5)
    assert ax.get_ylabel() == "held-out deviance"


def test_more_factors_than_tried_may_be_better(compared):
    """Unless some have been tried that are no better."""
    table = compared.uns["comparison"]
    more = table[table["model"] == "nsf"].assign(n_components=16, deviance=9.0)
    compared.uns["comparison"] = pd.concat([table, more.drop_duplicates("split")])
    drawn = labelled(nng.pl.comparison(compared))
    np.testing.assert_allclose(drawn["selected"].get_offsets(), [[8, 1.5]], atol=0.3)
    assert "selected: try more" not in drawn


def test_all_factors_are_spatial_at_most(compared):
    """All that there are cannot be more."""
    table = compared.uns["comparison"]
    rows = [
        table[table["model"] == "pnmf"].assign(
            model="nsfh", n_components=8, n_spatial=t, deviance=[9.0 - t, 9.5 - t]
        )
        for t in (2, 6, 8)
    ]
    compared.uns["comparison"] = pd.concat(rows)
    assert "selected: try more" not in labelled(nng.pl.comparison(compared))
    compared.uns["comparison"] = pd.concat(rows[:2])
    drawn = labelled(nng.pl.comparison(compared))
    assert np.rint(drawn["selected: try more"].get_offsets()[0, 0]) == 6


def test_numbers_of_spatial_factors_are_told_apart(compared):
    table = compared.uns["comparison"]
    table.loc[table["model"] == "nsfh", "n_spatial"] = 3
    assert "NSFH, 3 spatial" in labelled(nng.pl.comparison(compared))


def test_models_without_space_have_no_spatial_factors(compared):
    table = compared.uns["comparison"]
    one_size = table["model"].isin(["nsfh", "pnmf"])
    table.loc[one_size, "n_components"] = 8
    table = table[table["n_components"] != 4]
    more = table[table["model"] == "nsfh"].assign(n_spatial=6)
    compared.uns["comparison"] = pd.concat([table, more], ignore_index=True)
    ax = nng.pl.comparison(compared)
    assert ax.get_xlabel() == "number of spatial factors"
    places = {
        name: np.rint(labelled(ax)[name].lines[0].get_xdata()).tolist()
        for name in ("NSFH", "NSF", "PNMF, averaged")
    }
    assert places == {"NSFH": [2, 6], "NSF": [8], "PNMF, averaged": [0]}


def test_one_split(compared):
    table = compared.uns["comparison"]
    compared.uns["comparison"] = table[table["split"] == 0]
    drawn = labelled(nng.pl.comparison(compared))
    np.testing.assert_allclose(drawn["NSF"].lines[0].get_ydata(), [2, 1])
    assert (
        "one split" in nng.pl.comparison(compared).get_legend().get_title().get_text()
    )


def test_comparison_of_baselines_only(compared):
    table = compared.uns["comparison"]
    compared.uns["comparison"] = table[table["n_components"] == 0]
    assert set(labelled(nng.pl.comparison(compared))) == {
        "4 nearest spots, best",
        "gene rates",
    }


def test_variants_and_other_columns(compared):
    table = compared.uns["comparison"]
    table["method"] = table["model"]
    table.loc[table["model"] == "nsfh", ["model", "method"]] = ["NB", "nsf"]
    table["coverage"] = np.where(table["n_components"] > 0, 0.8, np.nan)
    drawn = labelled(nng.pl.comparison(compared))
    assert {"NSF", "NB", "PNMF, averaged"} < set(drawn)
    ax = nng.pl.comparison(compared, metric="coverage")
    # What has no intervals is not drawn; .9 is.
    assert "gene rates" not in labelled(ax)
    np.testing.assert_allclose(labelled(ax)["as promised"].get_ydata(), 0.9)
    assert "difference" not in ax.get_legend().get_title().get_text()
    with pytest.raises(KeyError, match="no column 'rmse'"):
        nng.pl.comparison(compared, metric="rmse")
    with pytest.raises(ValueError, match="metric='aic'"):
        nng.pl.comparison(compared, metric="aic")


def test_comparison_made_by_compare(adata):
    nng.tl.compare(adata, ["pnmf", "intercept"], [2, 3], n_splits=2, key_added="c")
    ax = plt.subplot()
    assert nng.pl.comparison(adata, "c", ax=ax) is ax
    means = adata.uns["c"].groupby(["model", "n_components"])["deviance"].mean()
    drawn = labelled(ax)
    x, y = drawn["PNMF, averaged"].lines[0].get_data()
    np.testing.assert_array_equal(np.rint(x), [2, 3])
    np.testing.assert_allclose(y, means["pnmf"])
    np.testing.assert_allclose(
        drawn["gene rates"].get_ydata(), means["intercept"].item()
    )


def test_chosen_models(compared):
    """A bad baseline does not squash the rest, and the best is one of those drawn."""
    ax = nng.pl.comparison(compared, models=["nsfh", "pnmf"])
    drawn = labelled(ax)
    assert set(drawn) == {"NSFH", "PNMF, averaged", "best"}
    np.testing.assert_allclose(drawn["best"].get_offsets().data[:, 1], [3.5])
    assert ax.get_ylim()[1] < 6
    assert set(labelled(nng.pl.comparison(compared, models="pnmf"))) == {
        "PNMF, averaged",
        "best",
    }
    with pytest.raises(ValueError, match=r"models='NSF' must be one of \['intercept'"):
        nng.pl.comparison(compared, models="NSF")


def test_no_comparison(adata):
    with pytest.raises(KeyError, match=r"compare"):
        nng.pl.comparison(adata)


@pytest.fixture
def hybrid(adata):
    with pytest.warns(UserWarning, match="Not converged"):
        nng.tl.nsfh(
            adata,
            4,
            length_scale=5.0,
            amplitude=1.0,
            temperature=1.0,
            max_iter=3,
            tol=0,
        )
    return adata


@pytest.mark.parametrize("of", ["var", pytest.param("obs", marks=pytest.mark.slow)])
def test_spatial_importance(hybrid, of):
    ax = nng.pl.spatial_importance(hybrid, of=of)
    scores = getattr(hybrid, of)["nsfh_spatial_importance"]
    heights = np.array([bar.get_height() for bar in ax.patches])
    edges = [bar.get_x() for bar in ax.patches]
    np.testing.assert_allclose(edges, np.linspace(0, 0.96, 25), atol=1e-12)
    np.testing.assert_array_equal(heights, np.histogram(scores, 25, (0, 1))[0])
    assert heights.sum() == len(scores)
    assert ax.get_ylabel() == {"var": "genes", "obs": "observations"}[of]
    assert len(ax.texts) == (2 if of == "var" else 0)
    line = next(x for x in ax.lines if x.get_label() == "places permuted")
    null = getattr(hybrid, of)["nsfh_spatial_importance_null"]
    by_chance = np.histogram(null, 25, (0, 1))[0]
    np.testing.assert_array_equal(line.get_ydata()[::2], by_chance)


def test_names_at_both_ends(hybrid):
    ax = nng.pl.spatial_importance(hybrid, n_labels=2)
    order = hybrid.var["nsfh_spatial_importance"].sort_values().index
    low, high = (text.get_text().split("\n") for text in ax.texts)
    assert low == ["lowest:", *order[:2]]
    assert high == ["highest:", *order[:-3:-1]]
    # Marks are where the scores are.
    marks = np.concatenate(
        [line.get_xdata() for line in ax.lines if line.get_marker() == "v"]
    )
    scores = hybrid.var["nsfh_spatial_importance"][[*low[1:], *high[1:]]]
    np.testing.assert_array_equal(marks, scores)


def test_genes_without_a_score_are_left_out(hybrid):
    hybrid.var.loc[hybrid.var_names[:5], "nsfh_spatial_importance"] = np.nan
    ax = plt.subplot()
    assert nng.pl.spatial_importance(hybrid, ax=ax) is ax
    assert sum(bar.get_height() for bar in ax.patches) == 35
    assert not {*hybrid.var_names[:5]} & {
        *"\n".join(t.get_text() for t in ax.texts).split("\n")
    }


def test_names_that_repeat(hybrid):
    most = hybrid.var["nsfh_spatial_importance"].idxmax()
    hybrid.var_names = [most, *hybrid.var_names[1:]]
    ax = nng.pl.spatial_importance(hybrid, n_labels=2)
    assert [len(line.get_xdata()) for line in ax.lines[-2:]] == [2, 2]


def test_refusals(hybrid):
    with pytest.raises(ValueError, match="n_labels=-1"):
        nng.pl.spatial_importance(hybrid, n_labels=-1)
    with pytest.raises(ValueError, match="of='gene'"):
        nng.pl.spatial_importance(hybrid, of="gene")
    with pytest.raises(KeyError, match="key='nsf'"):
        nng.pl.spatial_importance(hybrid, "nsf")
    with pytest.raises(KeyError, match=r"Only `nonneg.tl.nsfh`"):
        nng.pl.spatial_importance(hybrid, "truth")


def test_factors_of_both_kinds_and_their_bound(hybrid):
    axes = nng.pl.factor_maps(hybrid, "nsfh")
    assert axes is not None
    ax = nng.pl.objective(hybrid, "nsfh")
    np.testing.assert_array_equal(
        ax.lines[0].get_ydata(), hybrid.uns["nsfh"]["objective"]
    )


def test_variants_that_are_called_what_the_legend_says_of_its_own(compared):
    table = compared.uns["comparison"].drop(columns="seconds")
    rows = [("best", "nsf", 4), ("selected", "nsfh", 4), ("as promised", "fa", 4),
            ("_hidden", "nsf", 4), ("rates", "intercept", 0),
            ("rates, best", "intercept", 0), ("a", "pnmf", 4), ("a, averaged", "nsf", 4)]  # fmt: skip
    wanted = {name: float(i + 2) for i, (name, *_) in enumerate(rows)}
    wanted["rates"] = 1.0
    table = pd.DataFrame(
        [
            (name, method, k, k, split, wanted[name], 0.1 * i)
            for i, (name, method, k) in enumerate(rows)
            for split in range(2)
        ],
        columns=["model", "method", *table.columns[1:], "coverage"],
    )
    table.loc[table["method"] == "intercept", "n_spatial"] = 0
    compared.uns["comparison"] = table
    drawn = labelled(nng.pl.comparison(compared))
    expected = {"'best'": "best", "'selected'": "selected", "'_hidden'": "_hidden",
                "as promised, averaged": "as promised", "a, averaged": "a",
                "'a, averaged'": "a, averaged"}  # fmt: skip
    for label, name in expected.items():
        assert drawn[label].lines[0].get_ydata() == [wanted[name]]
    assert drawn["rates, best"].get_ydata() == [1.0, 1.0]
    assert set(drawn) == {*expected, "rates, best", "'rates, best'"}
    drawn = labelled(nng.pl.comparison(compared, metric="coverage", models="best"))
    assert set(drawn) == {"'best'", "as promised"}


def test_a_variant_that_is_called_what_models_are_drawn_as(compared):
    """Its curve is one of its own."""
    table = compared.uns["comparison"]
    table["method"] = table["model"]
    table.loc[table["model"] == "nsfh", ["model", "method"]] = ["NSF", "nsf"]
    drawn = labelled(nng.pl.comparison(compared))
    np.testing.assert_allclose(drawn["nsf"].lines[0].get_ydata(), [2.75, 1.5])
    np.testing.assert_allclose(drawn["NSF"].lines[0].get_ydata(), [3.5])
