"""Weights that are learned: as numbers, in files, for other sections."""

from __future__ import annotations

import inspect
from unittest import mock

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import nonneg as nng
from testing.nonneg import assert_same, snapshot

QUICK = dict(
    cell_type_key="cell_type",
    n_genes=60,
    n_layers=5,
    n_maps=2,
    n_validation=1,
    n_locations=60,
    batch_size=2,
    max_iter=6,
)


@pytest.fixture(scope="session")
def _learned(_tissue):
    adata, reference = (each.copy() for each in _tissue)
    nng.tl.learn_deconvolution(adata, reference, **QUICK)
    return adata.uns["deconv_learned"]


@pytest.fixture
def learned(_learned):
    return dict(_learned)


def deconvolve(tissue, **kwargs):
    adata, reference = tissue
    options = dict(cell_type_key="cell_type", effects=False) | kwargs
    nng.tl.deconvolve(adata, reference, **options)
    return adata.obsm["X_deconv"]


def test_same_seed_same_numbers(tissue, learned):
    copy = nng.tl.learn_deconvolution(*tissue, **QUICK, copy=True)
    again = copy.uns["deconv_learned"]
    pd.testing.assert_frame_equal(again["curve"], learned["curve"])
    assert again["graph_weight"] == learned["graph_weight"]
    other = nng.tl.learn_deconvolution(*tissue, **QUICK, rng=1, copy=True)
    assert other.uns["deconv_learned"]["graph_weight"] != learned["graph_weight"]


def test_what_is_stored(learned):
    assert learned["n_iter"] == 6
    assert not learned["interrupted"]
    assert list(learned["curve"]) == ["step", "training", "validation"]
    assert learned["validation_error"] <= learned["start_error"]
    assert learned["params"]["seed"] == 0
    elsewhere = {"adata", "reference", "rng", "chunk_size"}
    where_to = {"key_added", "copy", "table_key"}
    names = set(inspect.signature(nng.tl.learn_deconvolution).parameters)
    names -= elsewhere | where_to
    assert names <= set(learned) | set(learned["params"])


def test_numbers_survive_a_file(tissue, learned, tmp_path):
    tissue.adata.uns["deconv_learned"] = learned
    found = deconvolve(tissue, learned="deconv_learned")
    info = tissue.adata.uns["deconv"]
    assert info["tuning"]["graph_weight"] == learned["graph_weight"]
    assert info["n_iter"] == learned["n_layers"] == 5
    tissue.adata.write_h5ad(tmp_path / "a.h5ad")
    stored = ad.read_h5ad(tmp_path / "a.h5ad")
    assert stored.uns["deconv"]["params"]["learned"]["n_layers"] == 5
    del stored.obsm["X_deconv"]
    again = deconvolve((stored, tissue.reference), learned="deconv_learned")
    np.testing.assert_array_equal(again, found)


@pytest.mark.slow
def test_for_another_section(learned, rmse):
    other = nng.datasets.spots(10, 150, rng=5)
    found = deconvolve(other, learned=learned | {"n_layers": 12})
    assert rmse(found, other.adata.obsm["truth"]) < 0.08


def test_with_regions(tissue, rmse):
    nng.tl.learn_deconvolution(*tissue, **QUICK, region_key="region")
    info = tissue.adata.uns["deconv_learned"]
    assert info["has_regions"]
    deconvolve(tissue, learned="deconv_learned", region_key="region")
    with pytest.raises(ValueError, match="with a region_key"):
        deconvolve(tissue, learned="deconv_learned")


def test_with_compositions(tissue):
    regions = tissue.adata.obs["region"].cat.categories
    table = pd.DataFrame(
        np.eye(len(regions), 5) + 0.1,
        index=regions,
        columns=[f"type_{k}" for k in range(5)],
    )
    nng.tl.learn_deconvolution(
        *tissue, **QUICK, region_key="region", compositions=table, key_added="mine"
    )
    info = tissue.adata.uns["mine"]
    assert info["graph_weight"] > 0
    pd.testing.assert_frame_equal(info["params"]["compositions"], table)
    with pytest.raises(ValueError, match=r"lacks the cell types.*type_0"):
        nng.tl.learn_deconvolution(
            *tissue,
            **QUICK,
            region_key="region",
            compositions=table.drop(columns="type_0"),
        )


@pytest.mark.slow
def test_least_squares(tissue, rmse):
    nng.tl.learn_deconvolution(*tissue, **QUICK, likelihood="gaussian")
    found = deconvolve(tissue, likelihood="gaussian", learned="deconv_learned")
    assert rmse(found, tissue.adata.obsm["truth"]) < 0.1


def test_interruption(tissue):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with (
        mock.patch("nonneg.models.deconvolution.train.TrainingSolver.finished", stop),
        pytest.warns(UserWarning, match="Interrupted after 1 steps"),
    ):
        nng.tl.learn_deconvolution(*tissue, **QUICK)
    assert tissue.adata.uns["deconv_learned"]["interrupted"]


UNSUITED = {
    "likelihood": (dict(likelihood="gaussian"), {}, "training with likelihood"),
    "gene weights": (dict(gene_weights=False), {}, "training with gene_weights"),
    "regions": (dict(region_key="region"), {}, "training with no region_key"),
    "compositions": (
        dict(region_key="region", compositions=pd.DataFrame()),
        {"has_regions": True},
        "compositions.*part of what was learned",
    ),
    "no coordinates": (dict(spatial_key=None), {}, "needs coordinates"),
    "weights": (dict(graph_weight=3), {}, "graph_weight.*part of what was learned"),
    "steps": (dict(max_iter=3), {}, "max_iter.*part of what was learned"),
    "neighbours": (dict(n_neighbors=9), {}, "n_neighbors.*part of what was learned"),
    "newer": ({}, {"schema": 99}, "schema=99.*Update nonneg"),
    "other": ({}, {"method": "nmf"}, "not the result of"),
    "changed": ({}, {"width": -1.0}, "width.*out of range"),
}


@pytest.mark.parametrize("case", UNSUITED)
def test_learned_for_something_else(case, tissue, learned):
    options, change, match = UNSUITED[case]
    before = snapshot(tissue.adata)
    with pytest.raises(ValueError, match=match):
        deconvolve(tissue, learned=learned | change, **options)
    assert_same(snapshot(tissue.adata), before)


def test_incomplete_or_absent(tissue, learned):
    del learned["width"]
    with pytest.raises(ValueError, match=r"incomplete.*width"):
        deconvolve(tissue, learned=learned)
    with pytest.raises(KeyError, match="learn_deconvolution"):
        deconvolve(tissue, learned="nothing")


REFUSED = {
    "likelihood": (dict(likelihood="negative_binomial"), "must be one of"),
    "range": (dict(concentration=(5.0, 1.0)), "ascending order"),
    "maps": (dict(n_maps=0), "n_maps=0"),
    "noise": (dict(noise=-1.0), "noise"),
    "compositions": (dict(compositions=pd.DataFrame()), "pass region_key"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case, tissue):
    options, match = REFUSED[case]
    before = snapshot(tissue.adata)
    with pytest.raises(ValueError, match=match):
        nng.tl.learn_deconvolution(*tissue, **QUICK | options)
    assert_same(snapshot(tissue.adata), before)


def test_signatures_have_no_cells(tissue):
    table = nng.pp.signatures(tissue.reference, "cell_type")
    with pytest.raises((TypeError, KeyError, ValueError)):
        nng.tl.learn_deconvolution(tissue.adata, table, **QUICK)
    with pytest.raises(TypeError, match="AnnData of cells"):
        nng.tl.learn_deconvolution(tissue.adata, table.to_df(), **QUICK)
