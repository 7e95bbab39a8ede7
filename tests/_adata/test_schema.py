"""Entries are read as they were written, and others are refused with a reason."""

from __future__ import annotations

from dataclasses import fields

import anndata as ad
import numpy as np
import pytest

import nonneg as nng
from nonneg._adata.schema import ENTRIES, SCHEMA, from_uns, to_uns
from testing.nonneg import assert_same

from .conftest import KEY, METHODS


def assert_is(found, stored):
    """The same; dictionaries, which are made anew, hold the same."""
    if not isinstance(stored, dict):
        assert found is stored
        return
    assert type(found) is dict
    assert set(found) == set(stored)
    for name, value in stored.items():
        assert_is(found[name], value)


@pytest.mark.parametrize("method", METHODS)
def test_entries_are_read_as_they_were_written(fits, method):
    stored = fits[method].uns[KEY]
    assert stored["schema"] == SCHEMA == 1
    entry = from_uns(stored, "here")
    assert type(entry) is ENTRIES[stored["method"]]
    assert set(stored) - {"schema"} <= {f.name for f in fields(entry)}
    again = to_uns(entry)
    assert set(again) == set(stored)
    for name, value in stored.items():
        assert_is(again[name], value)


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
@pytest.mark.parametrize("method", ["nmf of obsm", "nsfh", "aligned"])
def test_entries_survive_files(fits, method, form, tmp_path):
    path = tmp_path / f"fit.{form}"
    getattr(fits[method], f"write_{form}")(path)
    read = getattr(ad, f"read_{form}")(path)
    first, second = (from_uns(a.uns[KEY], "here") for a in (fits[method], read))
    assert type(first) is type(second)
    for f in fields(first):
        one, other = getattr(first, f.name), getattr(second, f.name)
        assert (one is None) == (other is None), f.name
    np.testing.assert_array_equal(first.objective, second.objective)
    assert {a: list(map(str, k)) for a, k in first.side_keys.items()} == {
        a: list(map(str, k)) for a, k in second.side_keys.items()
    }
    # What was written before is known to be ours after reading, too.
    nng.tl.nmf(read, 3, max_iter=200, tol=1.0, key_added=KEY)
    assert set(read.varm) == {KEY}
    assert not [name for name in read.obs if name.startswith(KEY)]


REFUSED = {
    "no schema": ({"schema": None}, "development version.*Fit again"),
    "newer": ({"schema": 2}, "newer nonneg.*schema 2, here 1.*Update"),
    "text": ({"schema": "1"}, "schema='1'.*Fit again"),
    "array": ({"schema": np.array([1, 2])}, "schema=.*Fit again"),
    "zero": ({"schema": 0}, "schema=0"),
    "unknown method": ({"method": "later"}, "made by 'later'.*does not know"),
    "no method": ({"method": None}, "made by None"),
    "array of methods": ({"method": np.array(["a", "b"])}, "made by array"),
    "params": ({"params": 3}, r"changed: \['params'\]"),
    "keys": ({"obsm_key": 3, "varm_key": ["a"]}, r"\['obsm_key', 'varm_key'\]"),
    "side keys": ({"side_keys": "all"}, r"\['side_keys'\]"),
    "align": ({"align": 1}, r"\['align'\]"),
}
READERS = {
    "get.factors": lambda adata: nng.get.factors(adata, KEY),
    "get.top_genes": lambda adata: nng.get.top_genes(adata, key=KEY),
    "get.image": lambda adata: nng.get.image(adata, f"{KEY}_0"),
    "get.dataset_specificity": lambda adata: nng.get.dataset_specificity(
        adata, key=KEY
    ),
    "pl.factor_maps": lambda adata: nng.pl.factor_maps(adata, KEY),
    "pl.objective": lambda adata: nng.pl.objective(adata, KEY),
    "tl.project": lambda adata: nng.tl.project(adata, adata, key=KEY),
    "tl.predict": lambda adata: nng.tl.predict(adata, np.ones((1, 2)), key=KEY),
    "tl.quantile_align": lambda adata: nng.tl.quantile_align(adata, key=KEY),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(fits, case):
    change, match = REFUSED[case]
    adata = fits["nsf"].copy()
    adata.uns[KEY] = {
        name: value
        for name, value in (adata.uns[KEY] | change).items()
        if name != "schema" or value is not None
    }
    for read in READERS.values():
        with pytest.raises(ValueError, match=match) as caught:
            read(adata)
        assert str(caught.value).startswith(f"adata.uns['{KEY}'] ")
    # It can be replaced, and what it names is not taken for ours.
    nng.tl.nmf(adata, 3, tol=1.0, key_added=KEY)
    assert f"{KEY}_std" in adata.obsm


def test_missing_fields_are_named(fits):
    adata = fits["nmf"].copy()
    adata.uns[KEY] = {k: v for k, v in adata.uns[KEY].items() if k != "params"}
    with pytest.raises(ValueError, match=r"incomplete: \['params'\] are missing"):
        nng.get.factors(adata, KEY)


def test_unknown_fields_do_not_matter(fits):
    adata = fits["nmf"].copy()
    adata.uns[KEY] = adata.uns[KEY] | {"future": np.ones(3)}
    assert_same(nng.get.factors(adata, KEY).X, nng.get.factors(fits["nmf"], KEY).X)


@pytest.mark.parametrize("foreign", [{"mine": 1}, 3, "text", np.ones(3), None])
def test_what_is_not_ours_is_not_found(fits, foreign):
    adata = fits["nmf"].copy()
    adata.uns[KEY] = foreign
    for name, read in READERS.items():
        if name == "get.image":
            continue
        with pytest.raises(
            KeyError, match=f"No factorization is stored under key='{KEY}'"
        ):
            read(adata)
