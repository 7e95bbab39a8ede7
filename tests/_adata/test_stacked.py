"""Sections on top of each other are noticed, and nothing else is."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from nonneg._adata.labels import read_sections
from nonneg._adata.stacked import warn_stacked


def lattice(side):
    return np.stack(np.divmod(np.arange(side * side), side), 1).astype(float)


@pytest.fixture
def stacked():
    """Two sections on one lattice, of which the second is smaller."""
    first, second = lattice(10), lattice(6)
    n = len(first) + len(second)
    adata = ad.AnnData(np.ones((n, 2), np.float32))
    adata.obsm["spatial"] = np.concatenate([first, second])
    rng = np.random.default_rng(0)
    adata.obs["slide"] = pd.Categorical(np.repeat(["a", "b"], [100, 36]))
    adata.obs["cluster"] = rng.choice(["x", "y", "z"], n)
    adata.obs["total"] = np.arange(n)
    adata.obs["barcode"] = adata.obs_names.to_numpy()
    return adata


def look(adata, library_key=None):
    section, _ = read_sections(adata, library_key)
    warn_stacked(
        adata,
        adata.obsm["spatial"],
        section,
        spatial_key="spatial",
        library_key=library_key,
    )


def silent(adata, library_key=None):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        look(adata, library_key)


def test_the_column_is_named(stacked):
    match = r"53% of the locations .* tells them apart, such as \['slide'\]"
    with pytest.warns(UserWarning, match=match):
        look(stacked)
    silent(stacked, "slide")


def test_a_column_that_does_not_tell_them_apart(stacked):
    with pytest.warns(UserWarning, match=r"such as \['slide'\]"):
        look(stacked, "cluster")


def test_no_column(stacked):
    del stacked.obs["slide"]
    with pytest.warns(UserWarning, match=r"tells them apart\.$"):
        look(stacked)


def test_cells_that_share_a_place(stacked):
    """A few, as after rounding."""
    one = stacked[stacked.obs["slide"] == "a"].copy()
    silent(one)
    one.obsm["spatial"][1] = one.obsm["spatial"][0]
    silent(one)


@pytest.mark.parametrize("known_by", ["squidpy", "SpatialData"])
def test_sections_side_by_side(known_by, stacked):
    """Of several that have names, and no place in common."""
    stacked.obsm["spatial"] = stacked.obsm["spatial"] + np.where(
        stacked.obs["slide"] == "b", 30.5, 0
    ).reshape(-1, 1)
    silent(stacked)
    if known_by == "squidpy":
        stacked.uns["spatial"] = {"a": {}, "b": {}}
    else:
        stacked.uns["spatialdata_attrs"] = {"region": ["a", "b"]}
    with pytest.warns(UserWarning, match=r"\['a', 'b'\].*such as \['slide'\]"):
        look(stacked)
    silent(stacked, "slide")
    # Of which one is left.
    silent(stacked[stacked.obs["slide"] == "a"].copy())
