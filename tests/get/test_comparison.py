"""Means of a comparison, and the number of factors it selects."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import sem

import nonneg as nng


def table(settings, **more):
    """As of `tl.compare`: deviances by model, number of factors and of spatial ones."""
    return pd.DataFrame(
        [
            (model, model, size, t, split, value)
            for (model, size, t), values in settings.items()
            for split, value in enumerate(values)
        ],
        columns=["model", "method", "n_components", "n_spatial", "split", "deviance"],
    ).assign(**more)


@pytest.fixture
def given(adata):
    def put(settings, **more):
        adata.uns["comparison"] = table(settings, **more)
        return adata

    return put


def selected(adata, **kwargs):
    found = nng.get.comparison(adata, **kwargs)
    chosen = found[found["is_selected"]]
    return list(
        chosen[["model", "n_components", "n_spatial"]].itertuples(
            index=False, name=None
        )
    )


def test_means_and_differences(given):
    values = np.array([[1.0, 2, 4], [1.5, 2, 6], [9, 9, 9]])
    settings = [("nsf", 4, 4), ("nsf", 2, 2), ("intercept", 0, 0)]
    adata = given(dict(zip(settings, values, strict=True)))
    found = nng.get.comparison(adata)
    rows = found[["model", "n_components", "n_spatial"]]
    assert list(rows.itertuples(index=False, name=None)) == settings
    np.testing.assert_allclose(found["mean"], values.mean(1))
    np.testing.assert_allclose(found["se"], sem(values, axis=1))
    difference = values - values[0]
    np.testing.assert_allclose(found["difference"], difference.mean(1))
    np.testing.assert_allclose(found["difference_se"], sem(difference, axis=1))
    assert found["is_best"].tolist() == [True, False, False]
    assert (found["n_splits"] == 3).all()
    assert found["converged"].isna().all()


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        # Falls of 1, then of .1 with a standard error of .2: no longer.
        ({2: (3.0, 4.0), 4: (2.0, 3.0), 8: (1.7, 3.1)}, 4),
        # A fall that comes late counts too.
        ({2: (3.0, 4.0), 4: (3.0, 4.0), 8: (2.0, 3.0)}, 8),
        ({2: (3.0, 4.0), 4: (3.1, 4.1), 8: (3.2, 4.2)}, 2),
        # Splits that differ a lot, in the same way for all.
        ({2: (1.1, 9.1), 4: (1.0, 9.0), 8: (1.0, 9.0)}, 4),
        ({4: (1.0, 9.0)}, 4),
    ],
)
def test_the_smallest_number_from_which_on_it_no_longer_falls(
    given, curve, expected, order
):
    sizes = list(curve.items())[::order]
    settings = {("pnmf", size, 0): values for size, values in sizes}
    adata = given({**settings, ("intercept", 0, 0): (0.5, 0.5)})
    assert selected(adata) == [("pnmf", expected, 0)]


def test_spatial_factors_are_chosen_by_the_same_rule(given):
    settings = {
        ("nsfh", 4, 1): (3.0, 4.0),
        ("nsfh", 8, 1): (2.0, 3.0),
        ("nsfh", 8, 4): (1.0, 2.0),
        ("nsfh", 8, 6): (1.1, 2.0),
        ("nsf", 4, 4): (5.0, 6.0),
        ("nsf", 8, 8): (5.0, 6.0),
    }
    adata = given(settings)
    assert selected(adata) == [("nsfh", 8, 4), ("nsf", 4, 4)]
    assert selected(adata, models="nsf") == [("nsf", 4, 4)]


def test_one_split_selects_nothing(given):
    found = nng.get.comparison(given({("nsf", 2, 2): (2.0,), ("nsf", 4, 4): (1.0,)}))
    assert not found["is_selected"].any()
    assert found["is_best"].tolist() == [False, True]
    assert found[["se", "difference_se"]].isna().all(axis=None)


def test_splits_that_were_not_finished_do_not_count(given):
    settings = {("nsf", 2, 2): (2.0, 9.0), ("nsf", 4, 4): (1.0,)}
    adata = given(settings, converged=[True, False, True])
    found = nng.get.comparison(adata)
    assert found["converged"].tolist() == [1.0, 1.0]
    assert found["mean"].tolist() == [2.0, 1.0]
    assert (found["n_splits"] == 1).all()
    early = adata.uns["comparison"].query("n_components == 4 or split == 1")
    adata.uns["comparison"] = early
    with pytest.raises(ValueError, match="no split in common"):
        nng.get.comparison(adata)


def test_other_metrics_choose_nothing(given):
    settings = {("nsf", 2, 2): (2.0, 2.0), ("nsf", 4, 4): (1.0, 1.0)}
    adata = given(settings, coverage=[0.8, 0.9, 0.9, 0.9])
    found = nng.get.comparison(adata, metric="coverage")
    np.testing.assert_allclose(found["mean"], [0.85, 0.9])
    assert not found[["is_best", "is_selected"]].any(axis=None)
    assert found[["difference", "difference_se"]].isna().all(axis=None)


def test_share_that_converged(given):
    converged = pd.array([True, False, True, True, None, None], dtype="boolean")
    settings = {
        ("nsf", 2, 2): (2.0, 2.0),
        ("nsf", 4, 4): (1.0, 1.0),
        ("neighbors", 0, 0): (3.0, 3.0),
    }
    found = nng.get.comparison(given(settings, converged=converged))
    assert found["converged"][:2].tolist() == [0.5, 1.0]
    assert found["converged"].isna().tolist() == [False, False, True]


def test_made_by_compare(adata):
    nng.tl.compare(adata, ["pnmf", "intercept"], [2, 3], n_splits=2)
    table = adata.uns["comparison"]
    found = nng.get.comparison(adata)
    means = table.groupby("n_components", sort=False)["deviance"].mean()
    np.testing.assert_allclose(found["mean"], means)
    shares = table["converged"].astype(float).groupby(table["n_components"]).mean()
    np.testing.assert_allclose(found["converged"], shares[[2, 3, 0]].astype(float))


def test_refusals(given):
    adata = given({("nsf", 2, 2): (2.0, 2.0)})
    with pytest.raises(KeyError, match="no column 'rmse'"):
        nng.get.comparison(adata, metric="rmse")
    with pytest.raises(ValueError, match="metric='aic'"):
        nng.get.comparison(adata, metric="aic")
    with pytest.raises(ValueError, match=r"models='pnmf' must be one of \['nsf'\]"):
        nng.get.comparison(adata, models="pnmf")
    with pytest.raises(KeyError, match="compare"):
        nng.get.comparison(adata, "other")
    stored = adata.uns["comparison"]
    for column in ("deviance", "n_components", "split"):
        adata.uns["comparison"] = stored.assign(**{column: "a"})
        with pytest.raises(ValueError, match=r"not as `nonneg.tl.compare` left it"):
            nng.get.comparison(adata)
    adata.uns["comparison"] = stored[[*stored, "split"]]
    with pytest.raises(ValueError, match=r"columns of the same name, \['split'\]"):
        nng.get.comparison(adata)
    adata.uns["comparison"] = {"model": ["nsf"]}
    with pytest.raises(KeyError, match="has no column 'model'"):
        nng.get.comparison(adata)
