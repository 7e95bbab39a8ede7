"""Results are written as a whole, or not at all, and leave nothing of the last one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

import nonneg as nng
from nonneg._adata import write
from nonneg._adata.keys import SIDE_KEYS, FactorKeys, side_key
from nonneg._adata.views import read_factors
from testing.nonneg import assert_same, assert_same_fit, counts, snapshot

from .conftest import KEY, METHODS, spots

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
# What was made later of these is not part of their entries.
LATER = {"aligned", "regions", "locanmf"}
ATTRIBUTES = ("obs", "var", "obsm", "varm", "uns")


def keys_of(adata):
    return {name: list(getattr(adata, name)) for name in ATTRIBUTES}


def sets_of(adata):
    return {name: set(keys) for name, keys in keys_of(adata).items()}


def write_again(adata, fitted):
    """Write the factorization of another AnnData, as the method that made it did."""
    factors = read_factors(fitted, KEY)
    entry = factors.entry
    side = {
        attr: {
            kind: getattr(fitted, attr)[side_key(factors.keys, attr, kind)]
            for kind in SIDE_KEYS[attr]
            if side_key(factors.keys, attr, kind) in names
        }
        for attr, names in entry.side_keys.items()
    }
    head = {
        *("method", "params", "obsm_key", "varm_key", "side_keys", "loadings"),
        *("columns", "align"),
    }
    write.write_factors(
        adata,
        FactorKeys(KEY, KEY, KEY),
        method=entry.method,
        scores=factors.scores,
        loadings=factors.loadings,
        params=entry.params,
        info={k: v for k, v in vars(entry).items() if k not in head},
        columns=entry.columns,
        side=side,
    )


@pytest.mark.parametrize("second", [m for m in METHODS if m not in LATER])
@pytest.mark.parametrize("first", METHODS)
def test_a_second_method_under_a_key_leaves_nothing_of_the_first(fits, first, second):
    adata = fits[first].copy()
    write_again(adata, fits[second])
    assert sets_of(adata) == sets_of(fits[second])
    after, expected = snapshot(adata), snapshot(fits[second])
    for name in ("obsm", "varm"):
        assert_same(after[name], expected[name])
    for name in ("obs", "var"):
        assert_same(after[name].sort_index(axis=1), expected[name].sort_index(axis=1))


@pytest.mark.parametrize(
    ("first", "second"),
    [("nsfh", "nmf"), ("aligned", "fa"), ("rsf", "inmf"), ("pnmf", "nsf")],
)
def test_a_second_fit_under_a_key_leaves_nothing_of_the_first(fits, first, second):
    adata = fits[first].copy()
    METHODS[second](adata)
    assert sets_of(adata) == sets_of(fits[second])


def test_what_is_not_ours_stays(fits):
    adata = spots()
    adata.obsm[f"{KEY}_std"] = np.ones((adata.n_obs, 2))
    adata.varm[f"{KEY}_specific"] = np.ones((adata.n_vars, 2))
    adata.var[f"{KEY}_dispersion"] = 1.0
    adata.obs[f"{KEY}_cluster"] = "mine"
    adata.uns[f"{KEY}_markers"] = {"mine": 1}
    before = snapshot(adata)
    for _ in range(2):
        METHODS["nmf"](adata)
    after = snapshot(adata)
    for name in ("obsm", "varm", "uns"):
        del after[name][KEY]
    assert_same(after, before)


def test_keys_that_another_entry_names_stay():
    """A copied entry names the arrays of the first."""
    adata = spots()
    nng.tl.nmf(adata, 3, max_iter=2)
    adata.uns[KEY] = dict(adata.uns["nmf"])
    before = snapshot(adata)
    METHODS["nmf"](adata)
    after = snapshot(adata)
    for name in ("obsm", "varm", "uns"):
        after[name].pop(KEY)
    del before["uns"][KEY]
    assert_same(after, before)


def test_the_default_key_may_be_named():
    """Scores move from ``X_nmf`` to ``nmf``."""
    adata = spots()
    nng.tl.nmf(adata, 3, max_iter=2)
    nng.tl.nmf(adata, 3, max_iter=2, key_added="nmf")
    assert set(adata.obsm) == {"spatial", "X_pca", "nmf"}
    assert set(adata.varm) == {"nmf"}


WRONG = {
    "scores": dict(scores=np.ones((3, 2))),
    "loadings": dict(loadings=np.ones((3, 2))),
    "varm": dict(side={"varm": {"specific": np.ones((3, 2, 2))}}),
    "var": dict(side={"var": {"dispersion": np.ones(3)}}),
    "obs": dict(side={"obs": {"importance": np.ones(3)}}),
    "field": dict(info={"nonsense": 1}),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("view", [False, True])
@pytest.mark.parametrize("first", ["nmf", "nsfh", "aligned", None])
def test_nothing_changes_when_a_write_fails(fits, first, wrong, view):
    adata = spots() if first is None else fits[first].copy()
    if view:
        adata = adata[::2]
    before, keys = snapshot(adata), keys_of(adata)
    n_obs, n_vars = adata.shape
    arguments = dict(
        method="nsf",
        scores=np.ones((n_obs, 2)),
        loadings=np.ones((n_vars, 2)),
        params={},
        info={},
        side={
            "obsm": {"std": np.ones((n_obs, 2))},
            "var": {"center": np.ones(n_vars)},
        },
    )
    with pytest.raises((ValueError, TypeError)):
        write.write_factors(
            adata, FactorKeys(KEY, KEY, KEY), **arguments | WRONG[wrong]
        )
    after = snapshot(adata)
    # A view may have become an object of its own, with the same contents.
    for parts in (before, after):
        del parts["is_view"]
    assert_same(after, before)
    assert keys_of(adata) == keys


@pytest.mark.parametrize("first", ["nsfh", "aligned"])
def test_nothing_changes_when_a_removal_fails(fits, first, monkeypatch):
    remove, removed = write._remove, []

    def fail_at_last(adata, attr, name):
        removed.append(name)
        if len(removed) == 3:
            msg = "no"
            raise RuntimeError(msg)
        remove(adata, attr, name)

    adata = fits[first].copy()
    before, keys = snapshot(adata), sets_of(adata)
    monkeypatch.setattr(write, "_remove", fail_at_last)
    with pytest.raises(RuntimeError):
        METHODS["nmf"](adata)
    assert len(removed) >= 3
    after = snapshot(adata)
    for name in ("obs", "var"):
        pd.testing.assert_frame_equal(
            after.pop(name), before.pop(name), check_like=True
        )
    assert_same(after, before)
    assert sets_of(adata) == keys


def test_a_copy_keeps_its_columns(fits):
    """Frames may be shared between objects."""
    adata = fits["nsfh"].copy()
    shared = nng.get.factors(adata, KEY)
    METHODS["nmf"](adata)
    assert f"{KEY}_spatial_importance" in shared.obs
    assert f"{KEY}_spatial_importance" not in adata.obs


FOREIGN = {
    "uns": lambda adata: adata.uns.update({KEY: {"base": 2.0}}),
    "obsm": lambda adata: adata.obsm.update({KEY: adata.obsm["spatial"]}),
    "varm": lambda adata: adata.varm.update({KEY: np.ones((adata.n_vars, 2))}),
}


def keys_like(adata, key):
    """Where something under a key, or beside it, is."""
    return {
        (attr, name)
        for attr in ATTRIBUTES
        for name in getattr(adata, attr)
        if name.startswith(key)
    }


@pytest.mark.parametrize(
    ("attr", "method"),
    # What is made of an element of obsm has nothing in varm.
    sorted({*product(FOREIGN, METHODS)} - {("varm", "nmf of obsm")}),
)
def test_what_is_not_a_factorization_is_not_replaced(attr, method):
    adata = spots()
    FOREIGN[attr](adata)
    stored = getattr(adata, attr)[KEY]
    with pytest.raises(ValueError, match=f"'{KEY}'\\] holds something.*key_added"):
        METHODS[method](adata)
    assert getattr(adata, attr)[KEY] is stored or np.array_equal(
        getattr(adata, attr)[KEY], stored
    )
    assert {key for _, key in keys_like(adata, KEY)} == {KEY}


def test_a_key_does_not_take_the_arrays_of_another():
    adata = spots()
    nng.tl.nmf(adata, 2, max_iter=2)
    before = snapshot(adata)
    with pytest.raises(ValueError, match="holds what is stored with key='nmf'"):
        nng.tl.nmf(adata, 3, key_added="X_nmf")
    assert_same(snapshot(adata), before)


def test_arrays_under_default_names_are_replaced():
    """As in scanpy."""
    adata = spots()
    adata.obsm["X_nmf"] = adata.obsm["spatial"]
    nng.tl.nmf(adata, 3, max_iter=2)
    assert adata.obsm["X_nmf"].shape == (adata.n_obs, 3)


@pytest.mark.parametrize("name", ["comparison", "deconv_learned", "inmf_search"])
def test_tables_of_another_kind_are_not_replaced(name):
    adata = spots()
    adata.uns[name] = {"base": 2.0}
    verbs = {
        "comparison": lambda: nng.tl.compare(adata, "intercept"),
        "deconv_learned": lambda: nng.tl.learn_deconvolution(
            adata, adata, cell_type_key="batch"
        ),
        "inmf_search": lambda: nng.tl.inmf_search(adata, (2, 3), batch_key="batch"),
    }
    with pytest.raises(ValueError, match=f"'{name}'\\] holds something else"):
        verbs[name]()
    assert adata.uns[name] == {"base": 2.0}


def test_columns_of_lazy_data_are_removed(tmp_path):
    """Their `obs` is no data frame of pandas."""
    import anndata as ad

    given = dict(batch_key="batch", size_factors="total", max_iter=3)
    adata = counts()
    nng.tl.inmf(adata, 3, **given)
    nng.tl.quantile_align(adata, min_cells=2)
    adata.write_zarr(tmp_path / "lazy.zarr")
    lazy = ad.experimental.read_lazy(tmp_path / "lazy.zarr")
    columns = list(lazy.obs.columns)
    assert "inmf_cluster" in columns
    nng.tl.inmf(lazy, 3, **given)
    assert list(lazy.obs.columns) == [c for c in columns if c != "inmf_cluster"]
    assert "X_inmf_aligned" not in lazy.obsm
    assert_same_fit(lazy, adata, "inmf", rtol=1e-4)
