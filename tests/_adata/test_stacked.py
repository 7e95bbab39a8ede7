"""Sections on top of each other are noticed, and nothing else is."""

from __future__ import annotations

import inspect
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import nonneg as nng
from nonneg._adata.places import read_places


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
    read_places(adata, "spatial", library_key)


def silent(adata, library_key=None):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        look(adata, library_key)


def test_the_column_is_named(stacked):
    match = r"53% of the locations .* tells them apart, such as library_key='slide'"
    with pytest.warns(UserWarning, match=match):
        look(stacked)
    silent(stacked, "slide")


def test_a_column_that_does_not_tell_them_apart(stacked):
    with pytest.warns(UserWarning, match=r"such as library_key='slide'"):
        look(stacked, "cluster")


def test_no_column(stacked):
    del stacked.obs["slide"]
    match = r"tells them apart\. Where cells are listed twice .* keep one of each"
    with pytest.warns(UserWarning, match=match) as found:
        look(stacked)
    advice = str(found[0].message).rpartition("each: ")[2]
    page = {"adata": stacked, "pd": pd}
    exec(advice, page)
    assert page["adata"].n_obs == 100
    silent(page["adata"])


def test_numbers_that_name_sections_on_one_lattice(stacked):
    stacked.obs["slide"] = np.repeat([1, 2], [100, 36])
    with pytest.warns(UserWarning, match=r"such as library_key='slide'\.$"):
        look(stacked)


def test_cells_listed_twice_within_sections(stacked):
    """Those of another section at the same place stay."""
    twice = np.r_[np.arange(stacked.n_obs), np.arange(10)]
    names = [f"cell_{i}" for i in range(len(twice))]
    obs = stacked.obs.iloc[twice].set_axis(names)
    places = {"spatial": stacked.obsm["spatial"][twice]}
    adata = ad.AnnData(stacked.X[twice], obs=obs, obsm=places)
    match = r"Those of one adata\.obs\['slide'\] are treated as one section .* keep one"
    with pytest.warns(UserWarning, match=match) as found:
        look(adata, "slide")
    page = {"adata": adata, "pd": pd}
    exec(str(found[0].message).rpartition("each: ")[2], page)
    assert page["adata"].n_obs == stacked.n_obs
    silent(page["adata"], "slide")


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
    with pytest.warns(UserWarning, match=r"\['a', 'b'\].*such as library_key='slide'"):
        look(stacked)
    silent(stacked, "slide")
    # Of which one is left.
    silent(stacked[stacked.obs["slide"] == "a"].copy())


def cells(n, seed, size=1000.0):
    return np.random.default_rng(seed).uniform(0, size, (n, 2))


@pytest.fixture
def mixed():
    """Two sections whose cells lie among each other, without a place in common."""
    adata = ad.AnnData(np.ones((300, 2), np.float32))
    adata.obsm["spatial"] = np.concatenate([cells(220, 1), cells(80, 2)])
    adata.obs["cluster"] = np.random.default_rng(0).choice(["x", "y"], 300)
    adata.obs["n_counts"] = np.arange(300)
    return adata


@pytest.mark.parametrize(
    "name",
    [
        "library_id",
        "sample",
        "Section",
        "slice_nr",
        "batch",
        "donor-id",
        "sampleID",
        "fov",
        "brain_section_label",
        "image_id",
        "slide1",
        "orig.ident",
        "tissue_section_id",
        "sample_name",
    ],
)
def test_sections_without_a_place_in_common(name, mixed):
    labels = np.repeat(["a", "b"], [220, 80])
    mixed.obs[name] = pd.Categorical(labels)
    match = rf"obs\['{name}'\] lie among .* such as library_key='{name}'\."
    with pytest.warns(UserWarning, match=match) as found:
        look(mixed)
    assert len(found) == 1
    silent(mixed, name)
    # One is left.
    silent(mixed[mixed.obs[name] == "a"].copy())
    # Of another name, the column may be of cells within a section.
    mixed.obs["state"] = mixed.obs.pop(name)
    silent(mixed)


def test_numbers_that_name_sections(mixed):
    mixed.obs["slice"] = np.repeat([1, 2], [220, 80])
    with pytest.warns(UserWarning, match="such as library_key='slice'"):
        look(mixed)
    mixed.obs["slice"] = np.arange(300)
    silent(mixed)
    mixed.obs["slice"] = mixed.obs["slice"] / 7
    silent(mixed)
    # Counts of a sample's barcode, not a sample.
    mixed.obs["sample_1"] = np.random.default_rng(0).poisson(2, 300)
    silent(mixed)


@pytest.mark.parametrize(
    "name",
    [
        "sample_qc",
        "image_cluster",
        "mouse_celltype",
        "library_size_bin",
        "batch_corrected_leiden",
        "slide_quality",
        "n_samples",
        "num-slices",
        "good_batch",
        "in_sample",
        "train_batch",
        "doublet_donor",
        "qc_batch",
        "nearest_section",
    ],
)
def test_other_columns_with_such_words(name, mixed):
    mixed.obs[name] = np.repeat(["a", "b"], [220, 80])
    silent(mixed)


def test_labels_that_are_missing(mixed):
    """They name no section, and those that are there still tell two apart."""
    labels = np.repeat(np.array(["a", "b"], object), [220, 80])
    labels[::3] = None
    mixed.obs["donor"] = labels
    match = r"library_key='donor' \(after a label is given to 100 observations without one\)"
    with pytest.warns(UserWarning, match=match):
        look(mixed)
    mixed.obs["donor"] = np.where(np.arange(300) < 220, "a", None)
    silent(mixed)


def test_columns_of_anything(mixed):
    """They are not looked at, and hinder no fit."""
    labels = np.repeat(["a", "b"], [220, 80])
    twice = pd.DataFrame(dict.fromkeys("xy", labels)).set_axis(["sample"] * 2, axis=1)
    others = {
        "batch": [{"a": 1}] * 300,
        ("sample", 1): labels,
        "slide": pd.to_datetime(np.repeat(["2024-01-01", "2024-01-02"], [220, 80])),
        "slice": pd.cut(np.repeat([1, 2], [220, 80]), 2),
    }
    mixed.obs = pd.concat([twice, pd.DataFrame(others)], axis=1).set_axis(
        mixed.obs_names, axis=0
    )
    silent(mixed)


def test_sections_that_overlap_in_part(mixed):
    mixed.obs["sample"] = mixed.obs["batch"] = np.repeat(["a", "b"], [220, 80])
    mixed.obsm["spatial"][220:, 0] += 600
    match = "such as library_key='sample' or library_key='batch'"
    with pytest.warns(UserWarning, match=match):
        look(mixed)


@pytest.mark.parametrize("side", [6, 20])
def test_parts_of_one_section(side):
    """They touch, and are one piece of tissue."""
    adata = ad.AnnData(np.ones((side**2, 2), np.float32))
    adata.obsm["spatial"] = xy = lattice(side)
    adata.obs["sample"] = np.where(xy[:, 0] < side / 2, "a", "b")
    adata.obs["slide"] = adata.obs["sample"] + np.where(xy[:, 1] < side / 2, "c", "d")
    silent(adata)


def test_slices_of_a_volume(mixed):
    """Depth tells them apart."""
    mixed.obs["slice"] = np.repeat(["a", "b"], [220, 80])
    depth = np.repeat([0.0, 1.0], [220, 80])
    mixed.obsm["spatial"] = np.column_stack([mixed.obsm["spatial"], depth])
    silent(mixed)


CALLS = {
    "nsf": dict(n_components=2),
    "nsfh": dict(n_components=2),
    "rsf": dict(n_components=2),
    "deconvolve": dict(n_types=2),
    "learn_deconvolution": dict(cell_type_key="cluster"),
    "compare": dict(models="pnmf", n_components=2),
}


def test_all_verbs_with_sections_are_here():
    verbs = {
        name
        for name in nng.tl.__all__
        if "library_key" in inspect.signature(getattr(nng.tl, name)).parameters
    }
    assert verbs == set(CALLS)


@pytest.mark.parametrize("verb", CALLS)
def test_verbs_tell_it_before_they_fit(verb, mixed):
    """Warnings are errors here, so that nothing is fitted."""
    mixed.obs["sample"] = np.repeat(["a", "b"], [220, 80])
    given = (mixed, mixed) if verb == "learn_deconvolution" else (mixed,)
    with pytest.raises(UserWarning, match="such as library_key='sample'"):
        getattr(nng.tl, verb)(*given, **CALLS[verb])
