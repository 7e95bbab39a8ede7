"""Mistakes that users make, each in all verbs that know of it."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import nonneg as nng
from testing.nonneg import assert_same, snapshot

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SHORT = dict(max_iter=2)


@pytest.fixture
def adata():
    """Counts of two data sets with a place."""
    adata = nng.datasets.ggblocks(8, 20)
    adata.obs["batch"] = np.repeat([1, 2], adata.n_obs // 2)
    return adata


def integrated(adata, **kwargs):
    nng.tl.inmf(adata, 3, batch_key="batch", size_factors="total", **SHORT, **kwargs)
    return adata


@pytest.mark.parametrize("flag", [True, np.True_])
@pytest.mark.parametrize(
    "fit",
    [
        nng.tl.nmf,
        nng.tl.seminmf,
        nng.tl.pnmf,
        nng.tl.nsf,
        lambda adata, n: nng.tl.inmf(adata, n, batch_key="batch"),
        lambda adata, n: nng.tl.online_inmf(adata, n, batch_key="batch"),
    ],
)
def test_a_flag_is_no_number_of_components(adata, fit, flag):
    before = snapshot(adata)
    with pytest.raises(TypeError, match=r"n_components=.*True.* must be an integer"):
        fit(adata, flag)
    assert_same(snapshot(adata), before)


def test_a_flag_is_no_tolerance(adata):
    with pytest.raises(ValueError, match="tol=True must be a finite number"):
        nng.tl.nmf(adata, 3, tol=True)


def test_data_sets_named_by_numbers(adata):
    by_number = integrated(adata.copy(), lam={1: 5.0, 2: 1.0})
    by_name = integrated(adata.copy(), lam={"1": 5.0, "2": 1.0})
    np.testing.assert_array_equal(by_number.obsm["X_inmf"], by_name.obsm["X_inmf"])


def test_data_in_raw_only(adata):
    empty = ad.AnnData(obs=adata.obs)
    empty.raw = adata
    with pytest.raises(ValueError, match=r"Nor are there layers.*adata.raw.to_adata"):
        nng.tl.nmf(empty, 3)


@pytest.mark.parametrize(
    ("key", "verb"), [("nsf", "nsf"), ("deconv", "deconvolve"), ("mine", "nmf")]
)
def test_the_verb_that_fits_is_named(adata, key, verb):
    with pytest.raises(KeyError, match=rf"there are \['.*or fit .* `nonneg.tl.{verb}`"):
        nng.get.factors(adata, key)
    adata.uns.clear()
    with pytest.raises(KeyError, match=rf"Fit .* `nonneg.tl.{verb}`.*uns_merge"):
        nng.get.factors(adata, key)


def test_renamed_data_sets_are_told(adata):
    nng.tl.quantile_align(integrated(adata), key="inmf", min_cells=2)
    adata.obs["batch"] = np.where(adata.obs["batch"] == 1, "one", "two")
    with pytest.raises(ValueError, match=r"\['1', '2'\].*holds \['one', 'two'\]"):
        nng.tl.factor_markers(adata, min_cells=2)
    assert "inmf_markers" not in adata.uns


# Of other packages; raised again where warnings are caught.
OTHERS = [
    pytest.mark.filterwarnings(f"ignore::{kind}")
    for kind in ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning")
]


def of_others(test):
    for mark in OTHERS:
        test = mark(test)
    return test


@of_others
def test_logarithms_are_told(adata):
    adata.X = adata.X.astype(np.float32)
    with pytest.warns(UserWarning, match="are not converged|Not converged") as seen:
        integrated(adata.copy())
    assert not any("logarithms" in str(one.message) for one in seen)
    adata.X.data = np.log1p(adata.X.data)
    with pytest.warns(UserWarning, match="adata.X looks like logarithms"):
        integrated(adata)
    nng.tl.quantile_align(adata, key="inmf", min_cells=2)
    with pytest.warns(UserWarning, match="logarithms are taken again"):
        nng.tl.factor_markers(adata, min_cells=2)


def test_size_factors_that_nobody_has(adata):
    given = dict(size_factors=np.ones(adata.n_obs), length_scale=3.0)
    nng.tl.nsf(adata, 3, amplitude=1.0, temperature=1.0, **given, **SHORT)
    with pytest.raises(ValueError, match=r"array of size factors.*column of"):
        nng.tl.project(nng.datasets.ggblocks(8, 20, rng=1), adata, key="nsf")


def test_a_data_set_of_one_cell_has_no_alignment():
    x = np.random.default_rng(0).random((10, 3))
    with pytest.raises(ValueError, match=r"\['a'\] have one cell"):
        nng.metrics.alignment(x, ["a"] + ["b"] * 9)


@pytest.mark.parametrize("name", ["color", "save", "show", "figsize", "n_cols"])
def test_arguments_of_one_panel(adata, name):
    with pytest.raises(TypeError, match=f"does not take {name}=1: "):
        nng.pl.factor_maps(adata, "truth", **{name: 1})


@of_others
def test_depths_are_not_drawn_over_each_other_in_silence(adata):
    depth = np.arange(adata.n_obs) % 3
    adata.obsm["spatial"] = np.c_[adata.obsm["spatial"], depth]
    with pytest.warns(UserWarning, match="has 3 axes, of which the first two"):
        nng.pl.factor_maps(adata, "truth", factors=[0])
    adata.obsm["spatial"][:, 2] = 5
    assert len(nng.pl.factor_maps(adata, "truth", factors=[0])) == 1


def tables(*names):
    sd = pytest.importorskip("spatialdata")
    return sd.SpatialData(tables={name: nng.datasets.ggblocks(8, 20) for name in names})


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_spatialdata_with_one_table_is_read_and_drawn():
    sdata = tables("cells")
    pd.testing.assert_frame_equal(
        nng.get.factor_df(sdata, "truth"),
        nng.get.factor_df(sdata.tables["cells"], "truth"),
    )
    assert len(nng.pl.factor_maps(sdata, "truth", factors=[0])) == 1
    nng.tl.pnmf(sdata, 2, **SHORT)
    with pytest.raises(ValueError, match="pnmf"):
        nng.tl.predict(sdata, np.ones((1, 2)), key="pnmf")
    places = sdata.tables["cells"].obsm["spatial"][:3]
    two = tables("a", "b")
    nng.tl.rsf(two, 2, length_scale=3, temperature=1, table_key="b", **SHORT)
    for table_key, error in ((None, ValueError), ("c", KeyError)):
        with pytest.raises(error, match=r"\['a', 'b'\]"):
            nng.tl.predict(two, places, key="rsf", table_key=table_key)
    np.testing.assert_array_equal(
        nng.tl.predict(two, places, key="rsf", table_key="b").X,
        nng.tl.predict(two.tables["b"], places, key="rsf").X,
    )
    with pytest.raises(ValueError, match="only applies to a SpatialData"):
        nng.tl.predict(two.tables["b"], places, key="rsf", table_key="b")
    with pytest.raises(ValueError, match=r"2 tables.*table_key='a'"):
        nng.pl.loadings(tables("a", "b"), "truth")
    with pytest.raises(TypeError, match="Expected an AnnData or a SpatialData, not"):
        nng.get.factors("cells.h5ad")


def test_factors_that_are_gone(adata):
    """Stored results without columns, or of another kind."""
    nng.tl.nmf(adata, 2, **SHORT)
    adata.obs["region"] = np.where(np.arange(adata.n_obs) % 2, "a", "b")
    for values in (np.zeros((adata.n_obs, 0)), sp.csr_matrix(adata.obsm["X_nmf"])):
        changed = adata.copy()
        changed.obsm["X_nmf"] = values
        kind = type(values).__name__
        for show in (nng.get.factors, nng.pl.loadings, nng.pl.factor_merge):
            with pytest.raises(ValueError, match=rf"\['X_nmf'\] is a {kind} of shape"):
                show(changed)


def test_nothing_to_compare_patterns_with(adata):
    nng.tl.nmf(adata, 2, **SHORT)
    with pytest.raises(
        ValueError, match="two variables at least, but there are 64 and 1"
    ):
        nng.tl.compare_patterns(adata[:, :1].copy(), key="nmf", baselines=["pca"])


def test_a_search_over_nothing(adata):
    given = dict(batch_key="batch", size_factors="total")
    with pytest.raises(ValueError, match=r"n_components=\[\] .*must hold a number"):
        nng.tl.inmf_search(adata, [], **given)
    with pytest.raises(ValueError, match=r"lam=\[\] must hold a number"):
        nng.tl.inmf_search(adata, [2], lam=[], **given)


def test_labels_and_regions_of_another_kind():
    x, names = np.random.default_rng(0).random((4, 2)), ["a", "b"]
    with pytest.raises(TypeError, match="Labels must be text or numbers"):
        nng.metrics.purity([{}, {}, {}, {}], ["a", "b"] * 2)
    with pytest.raises(
        ValueError, match=r"component_regions \(2, 1\) must have shapes"
    ):
        nng.metrics.localization(x, names * 2, pd.DataFrame({"a": names}))
