"""Labels of observations are read in one way by everything that takes them."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import nonneg as nng
from nonneg._adata.labels import read_labels, read_sections
from testing.nonneg import counts

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SHORT = dict(max_iter=2, length_scale=3.0, temperature=1.0)
CODES = np.array([1, 0, 1, 2, 0, 2])

# A column, its sorted names, and its names in the user's order.
KINDS = {
    "strings": (np.array(list("cbd"))[CODES], list("bcd"), list("bcd")),
    "objects": (np.array(list("cbd"), object)[CODES], list("bcd"), list("bcd")),
    "string dtype": (
        pd.array(np.array(list("cbd"))[CODES], "string"),
        list("bcd"),
        list("bcd"),
    ),
    "categories": (
        pd.Categorical(np.array(list("cbd"))[CODES], categories=list("zdacb")),
        list("bcd"),
        list("dcb"),
    ),
    "categories of integers": (
        pd.Categorical(np.array([10, 2, 1])[CODES], categories=[1, 2, 5, 10]),
        ["1", "10", "2"],
        ["1", "2", "10"],
    ),
    "integers": (np.array([10, 2, 1])[CODES], ["1", "10", "2"], ["1", "2", "10"]),
    "nullable integers": (
        pd.array(np.array([10, 2, 1])[CODES], "Int64"),
        ["1", "10", "2"],
        ["1", "2", "10"],
    ),
    "floats": (
        np.array([1.5, 0.5, 2.0])[CODES],
        ["0.5", "1.5", "2.0"],
        ["0.5", "1.5", "2.0"],
    ),
    "booleans": (CODES > 0, ["False", "True"], ["False", "True"]),
}


def column(values):
    adata = counts(len(CODES), 10, 2)
    adata.obs["label"] = values
    return adata


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind):
    values, by_name, in_order = KINDS[kind]
    adata = column(values)
    truth = adata.obs["label"].astype(object).astype(str).tolist()
    for (codes, names), expected in (
        (read_sections(adata, "label"), by_name),
        (read_labels(adata, "label"), in_order),
    ):
        assert names.tolist() == expected
        assert {type(name) for name in names} == {str}
        assert codes.dtype == np.intp
        assert names[codes].tolist() == truth


def test_without_a_column_there_is_one_section():
    codes, names = read_sections(counts(6, 10, 2), None)
    assert (codes.tolist(), names.tolist()) == ([0] * 6, [""])


MISSING = {
    "None": lambda: np.array(["a", None, "b", "a", None, "b"], object),
    "NaN": lambda: pd.Categorical(["a", np.nan, "b", "a", np.nan, "b"]),
    "NA": lambda: pd.array([1, None, 2, 1, None, 2], "Int64"),
    "NaN of floats": lambda: np.array([1, np.nan, 2, 1, np.nan, 2]),
    "NA of strings": lambda: pd.array(["a", None, "b", "a", None, "b"], "string"),
}


@pytest.mark.parametrize("kind", MISSING)
def test_missing(kind):
    adata = column(MISSING[kind]())
    with pytest.raises(ValueError, match=r"obs\['label'\] is missing for 2 observ"):
        read_sections(adata, "label")
    codes, names = read_labels(adata, "label")
    assert len(names) == 2
    assert (codes < 0).tolist() == [False, True, False] * 2


# --- all verbs: categories that no observation has are not there --------------


def spots():
    adata = nng.datasets.ggblocks(12, 20)
    adata.obs["label"] = np.where(np.arange(144) < 72, "left", "right")
    return adata


def cells():
    adata = nng.datasets.batches((90, 80), 30, 3)
    adata.obs["label"] = adata.obs["batch"].astype(str).to_numpy()
    adata.obs["truth_cluster"] = adata.obs["cell_type"].cat.codes.astype(str)
    return adata


def spatial(name, **kwargs):
    def verb(adata):
        getattr(nng.tl, name)(adata, 2, library_key="label", **SHORT, **kwargs)
        return adata.obsm[f"X_{name}"]

    return verb


def integrated(name, **kwargs):
    def verb(adata):
        getattr(nng.tl, name)(
            adata, 3, batch_key="label", size_factors="total", **kwargs
        )
        return adata.obsm["X_inmf"]

    return verb


def aligned(adata):
    nng.tl.quantile_align(adata, key="truth", batch_key="label", min_cells=5)
    return adata.obsm["truth_aligned"]


def marked(adata):
    adata.uns["truth"]["params"]["batch_key"] = "label"
    nng.tl.factor_markers(adata, key="truth")
    return adata.uns["truth_markers"].astype(str).to_numpy()


def genes(adata):
    nng.pp.deviant_genes(adata, 10, batch_key="label")
    return adata.var["deviance"].to_numpy()


def titles(adata):
    found = [
        ax.get_title() for ax in nng.pl.factor_maps(adata, "truth", library_key="label")
    ]
    plt.close("all")
    return np.array(found)


def bars(adata):
    ax = nng.pl.cluster_composition(
        adata, key="truth", cluster_key="cell_type", batch_key="label"
    )
    found = [text.get_text() for text in ax.get_yticklabels()]
    plt.close("all")
    return np.array(found)


VERBS = {
    "tl.nsf": (spots, spatial("nsf", amplitude=1.0)),
    "tl.nsfh": (spots, spatial("nsfh", amplitude=1.0)),
    "tl.rsf": (spots, spatial("rsf")),
    "pl.factor_maps": (spots, titles),
    "tl.inmf": (cells, integrated("inmf", max_iter=3)),
    "tl.online_inmf": (cells, integrated("online_inmf", n_epochs=1)),
    "tl.quantile_align": (cells, aligned),
    "tl.factor_markers": (cells, marked),
    "pp.deviant_genes": (cells, genes),
    "pl.cluster_composition": (cells, bars),
}
FORMS = {
    "unused": lambda x: pd.Categorical(x, categories=["a", *sorted(set(x)), "z"]),
    "string dtype": lambda x: pd.array(x, "string"),
}


@pytest.fixture(scope="module")
def expected():
    """What every verb gives for an array of strings."""
    plt.switch_backend("agg")
    return {name: verb(make()) for name, (make, verb) in VERBS.items()}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("verb", VERBS)
def test_verbs(expected, verb, form):
    make, function = VERBS[verb]
    adata = make()
    adata.obs["label"] = FORMS[form](adata.obs["label"])
    np.testing.assert_array_equal(function(adata), expected[verb])


@pytest.mark.parametrize(
    "verb",
    [
        name
        for name in VERBS
        if name not in {"tl.factor_markers", "pl.cluster_composition"}
    ],
)
def test_verbs_refuse_missing_labels(verb):
    make, function = VERBS[verb]
    adata = make()
    adata.obs["label"] = adata.obs["label"].astype(object)
    adata.obs.iloc[3:5, adata.obs.columns.get_loc("label")] = None
    with pytest.raises(ValueError, match=r"obs\['label'\] is missing for 2 observ"):
        function(adata)


def test_columns_of_lazy_data(tmp_path):
    """They are not pandas."""
    from anndata.experimental import read_lazy

    adata = counts()
    adata.write_zarr(tmp_path / "lazy.zarr")
    codes, names = read_sections(read_lazy(tmp_path / "lazy.zarr"), "batch")
    assert names.tolist() == ["a", "b"]
    np.testing.assert_array_equal(names[codes], adata.obs["batch"].astype(str))
