"""The table of side keys is what is written, and what is documented."""

from __future__ import annotations

from pathlib import Path

import pytest

from nonneg._adata.keys import SIDE_KEYS, FactorKeys, side_key
from nonneg._adata.views import read_factors

from .conftest import KEY, METHODS, spots

DOCS = (Path(__file__).parents[2] / "docs" / "keys.md").read_text()
ALL = {(attr, kind) for attr, kinds in SIDE_KEYS.items() for kind in kinds}


# Verbs of time courses that write an entry of their own.
OF_TRACES = {"region_cca", "event_average", "demixed_pca", "decode_events"}


def written(adata):
    """Keys of the table that an AnnData has."""
    keys = FactorKeys(KEY, KEY, KEY)
    return {
        (attr, kind)
        for attr, kind in ALL
        if side_key(keys, attr, kind) in getattr(adata, attr)
    }


def test_every_side_key_is_written_by_some_method(fits):
    # History is of models that data sets were added to; its tests are with these.
    assert set().union(*map(written, fits.values())) == ALL - {("varm", "history")}


def test_every_side_key_is_documented():
    for attr, kind in ALL:
        assert f"foo{SIDE_KEYS[attr][kind]}`" in DOCS, (attr, kind)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_else_is_written(fits, method):
    adata, bare = fits[method], spots()
    keys = FactorKeys(KEY, KEY, KEY)
    expected = {("obsm", KEY), ("uns", KEY)} | {
        (attr, side_key(keys, attr, kind)) for attr, kind in written(adata)
    }
    if "varm" in method or read_factors(adata, KEY).entry.varm_key is not None:
        expected.add(("varm", KEY))
    new = {
        (attr, key)
        for attr in ("obs", "var", "obsm", "varm", "obsp", "varp", "uns", "layers")
        for key in set(getattr(adata, attr)) - set(getattr(bare, attr))
    }
    assert new == expected


@pytest.mark.parametrize("method", METHODS)
def test_an_entry_names_what_was_written(fits, method):
    named = {
        (attr, str(name))
        for attr, names in fits[method].uns[KEY]["side_keys"].items()
        for name in names
    }
    keys = FactorKeys(KEY, KEY, KEY)
    later = {("obsm", "aligned"), ("obs", "cluster"), ("uns", "markers")}
    later |= {("uns", "region_correlation"), ("uns", "region_prediction")}
    later |= {(attr, kind) for attr, kind in ALL if kind in OF_TRACES}
    assert named == {
        (attr, side_key(keys, attr, kind))
        for attr, kind in written(fits[method]) - later
    }
