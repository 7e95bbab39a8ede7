"""Coordinates are read in one way by everything that takes them."""

from __future__ import annotations

import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import nonneg as nng
from nonneg._adata.coordinates import read_coordinates

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SHORT = dict(max_iter=2, length_scale=3.0, temperature=1.0)
N_OBS = 144


@pytest.fixture
def adata():
    return nng.datasets.ggblocks(12, 20)


FORMS = {
    "integers": lambda xy, _: xy.astype(int),
    "float32": lambda xy, _: xy.astype(np.float32),
    "data frame": lambda xy, names: pd.DataFrame(xy, index=names, columns=["x", "y"]),
    "nullable": lambda xy, names: pd.DataFrame(xy, index=names).astype("Int64"),
    "strings": lambda xy, _: xy.astype(str),
    "objects": lambda xy, _: xy.astype(str).astype(object),
    "data frame of strings": lambda xy, names: pd.DataFrame(
        xy.astype(str), index=names
    ),
}


def with_form(adata, form):
    adata.obsm["spatial"] = FORMS[form](adata.obsm["spatial"], adata.obs_names)
    return adata


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n_dims", [2, 3])
def test_forms(adata, form, n_dims):
    xy = np.round(adata.obsm["spatial"])
    expected = np.column_stack([xy, np.arange(N_OBS) % 5])[:, :n_dims]
    given = FORMS["float32" if n_dims == 3 and form == "data frame" else form](
        expected, adata.obs_names
    )
    adata.obsm["spatial"] = given
    found = read_coordinates(adata)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, expected)


def _scores(key):
    return lambda adata: adata.obsm[f"X_{key}"]


def maps(adata):
    axes = nng.pl.factor_maps(adata, "truth")
    drawn = [np.asarray(ax.collections[-1].get_offsets()) for ax in axes]
    plt.close("all")
    return np.concatenate(drawn)


def compared(adata):
    nng.tl.compare(
        adata,
        ["nsf", "neighbors"],
        2,
        n_splits=1,
        model_kwargs={"nsf": SHORT | {"amplitude": 1.0}},
    )
    return adata.uns["comparison"]["deviance"].to_numpy()


def fitted(name, **kwargs):
    def verb(adata):
        getattr(nng.tl, name)(adata, 2, **SHORT, **kwargs)
        return adata.obsm[f"X_{name}"]

    return verb


VERBS = {
    "tl.nsf": fitted("nsf", amplitude=1.0),
    "tl.nsfh": fitted("nsfh", amplitude=1.0),
    "tl.rsf": fitted("rsf"),
    "tl.compare": compared,
    "get.image": lambda adata: nng.get.image(adata, "truth_0"),
    "pl.factor_maps": maps,
}


@pytest.fixture(scope="module")
def expected():
    """What every verb gives for an array."""
    plt.switch_backend("agg")
    return {name: verb(nng.datasets.ggblocks(12, 20)) for name, verb in VERBS.items()}


@pytest.mark.parametrize("form", ["data frame", "objects", "data frame of strings"])
@pytest.mark.parametrize("verb", VERBS)
def test_verbs(adata, expected, verb, form):
    before = with_form(adata, form).obsm["spatial"]
    np.testing.assert_array_equal(VERBS[verb](adata), expected[verb])
    # The user's form is left as it is.
    assert adata.obsm["spatial"] is before or type(adata.obsm["spatial"]) is type(
        before
    )


def test_an_embedding_as_a_data_frame(adata):
    plt.switch_backend("agg")
    adata.obsm["X_umap"] = adata.obsm["spatial"].astype(float)
    drawn = [
        np.asarray(
            nng.pl.factor_maps(adata, "truth", factors=0, basis="umap")[0]
            .collections[-1]
            .get_offsets()
        )
    ]
    adata.obsm["X_umap"] = pd.DataFrame(adata.obsm["X_umap"], index=adata.obs_names)
    drawn.append(
        np.asarray(
            nng.pl.factor_maps(adata, "truth", factors=0, basis="umap")[0]
            .collections[-1]
            .get_offsets()
        )
    )
    plt.close("all")
    np.testing.assert_array_equal(*drawn)


BAD = {
    "text": (
        lambda xy, _: np.where(xy == 0, "left", "1").astype(object),
        "hold numbers",
    ),
    "missing": (
        lambda xy, names: (
            pd.DataFrame(xy, index=names).astype("Int64").replace(3, pd.NA)
        ),
        "23 observations without finite",
    ),
    "NaN": (
        lambda xy, _: np.where(xy == 3, np.nan, xy),
        "23 observations without finite",
    ),
    "infinite": (
        lambda xy, _: np.where(xy == 3, np.inf, xy),
        "23 observations without finite",
    ),
    "one column": (
        lambda xy, _: xy[:, :1],
        r"2 or 3 columns, but its shape is \(144, 1\)",
    ),
    "five columns": (lambda xy, _: np.hstack([xy, xy, xy[:, :1]]), r"\(144, 5\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_refusals(adata, case):
    make, match = BAD[case]
    xy = np.column_stack([np.arange(N_OBS) % 12, np.arange(N_OBS) // 12]).astype(float)
    adata.obsm["spatial"] = make(xy, adata.obs_names)
    for verb in ("tl.nsf", "get.image", "pl.factor_maps", "tl.compare"):
        with pytest.raises(ValueError, match=match) as caught:
            VERBS[verb](adata)
        assert "adata.obsm['spatial']" in str(caught.value)


@pytest.mark.parametrize(
    ("attr", "name", "told"),
    [
        ("obsm", "X_spatial", "Perhaps `adata.obsm['xy'] = adata.obsm['X_spatial']`?"),
        (
            "obs",
            "x_centroid",
            "`adata.obsm['xy'] = adata.obs[['x_centroid', 'y_centroid']].to_numpy()`?",
        ),
        ("obsm", "X_umap", "which holds ['X_umap']."),
    ],
)
def test_coordinates_that_are_somewhere_else(adata, attr, name, told):
    """What the message says to do works."""
    xy = np.random.default_rng(0).random((N_OBS, 2))
    adata.obsm.clear()
    if attr == "obsm":
        adata.obsm[name] = xy
    else:
        adata.obs["x_centroid"], adata.obs["y_centroid"] = xy.T
    with pytest.raises(KeyError) as caught:
        read_coordinates(adata, "xy")
    assert caught.value.args[0].endswith(told)
    if "`" in told:
        exec(told.split("`")[1], {"adata": adata})
        np.testing.assert_array_equal(read_coordinates(adata, "xy"), xy)


def test_missing_key_names_what_there_is(adata):
    with pytest.raises(KeyError, match=re.escape("'xy' is not in adata.obsm")):
        read_coordinates(adata, "xy")
