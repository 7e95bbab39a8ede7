"""Experiments, hemispheres and slices of volumes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import nonneg as nng
from testing.nonneg import assert_same, real_data, snapshot

SHAPE = (12, 10, 9)


def simulated(n_genes=6, k=2, **kwargs):
    return nng.datasets.atlas_expression(SHAPE, n_genes, k, **kwargs)


# Experiments


def test_average_experiments():
    adata = simulated()
    adata.var["gene"] = ["b", "a", "b", "c", "b", "c"]
    adata.var["plane"] = "coronal"
    mean = nng.pp.average_experiments(adata)
    assert mean.var_names.tolist() == ["b", "a", "c"]
    assert mean.var["n_experiments"].tolist() == [3, 1, 2]
    assert mean.var.columns.tolist() == ["plane", "n_experiments"]
    columns = pd.DataFrame(adata.X.T).groupby(adata.var["gene"].to_numpy()).mean().T
    np.testing.assert_allclose(mean.X, columns[["b", "a", "c"]], rtol=1e-6)
    # Missing where all are, and only there.
    lost = adata.varm["truth_missing"]
    np.testing.assert_array_equal(
        np.isnan(mean[:, "c"].X.ravel()),
        (lost[3] & lost[5])[np.unravel_index(adata.obs["voxel"], SHAPE)[0]],
    )
    pd.testing.assert_frame_equal(mean.obs, adata.obs)
    assert nng.get.image(mean, "a").shape == SHAPE


def test_average_refusals():
    adata = simulated()
    with pytest.raises(KeyError, match=r"'symbol' is not in adata.var"):
        nng.pp.average_experiments(adata, "symbol")
    adata.var["gene"] = ["a", None, "b", "b", "b", "b"]
    with pytest.raises(ValueError, match="missing for 1"):
        nng.pp.average_experiments(adata)


# Hemispheres


def test_mirror_mean():
    adata = simulated(missing_planes=0, slice_gain=0)
    adata.X[::3, 0] = np.nan
    before = nng.get.image(adata, "gene_0")
    nng.pp.mirror_hemispheres(adata)
    image = nng.get.image(adata, "gene_0")
    pair = np.ma.masked_invalid([before, before[..., ::-1]])
    np.testing.assert_allclose(image, pair.mean(axis=0).filled(np.nan), rtol=1e-6)
    noise = [
        np.std((x - adata.obsm["truth"] @ adata.varm["truth"].T)[:, 1:])
        for x in (adata.X, simulated(missing_planes=0, slice_gain=0).X)
    ]
    assert noise[0] < 0.8 * noise[1]


def test_mirror_fill():
    adata = simulated(missing_planes=0)
    x = adata.X.copy()
    adata.X[::3] = np.nan
    lost = np.isnan(adata.X)
    nng.pp.mirror_hemispheres(adata, method="fill")
    np.testing.assert_array_equal(adata.X[~lost], x[~lost])
    filled = lost & ~np.isnan(adata.X)
    assert filled.any()
    image = nng.get.image(adata, "gene_0")
    pairs = filled[:, 0]
    index = np.unravel_index(adata.obs["voxel"][pairs], SHAPE)
    np.testing.assert_array_equal(
        image[index], image[index[0], index[1], SHAPE[2] - 1 - index[2]]
    )


def test_midline():
    adata = simulated(missing_planes=0)
    middle = nng.pp.mirror_hemispheres(adata, copy=True)
    given = nng.pp.mirror_hemispheres(adata, midline=0.2 * 4, copy=True)
    np.testing.assert_array_equal(given.X, middle.X)
    # Off by a voxel: at the border there is no mirror image, nothing changes there.
    moved = nng.pp.mirror_hemispheres(adata, midline=0.2 * 4.5, copy=True)
    x = np.unravel_index(adata.obs["voxel"], SHAPE)[2]
    np.testing.assert_array_equal(moved.X[x == 0], adata.X[x == 0])
    for wrong, match in ((0.83, "halfway between two"), (0.2, "mirror image across")):
        with pytest.raises(ValueError, match=match):
            nng.pp.mirror_hemispheres(adata, midline=wrong)
    with pytest.raises(ValueError, match="must be one of"):
        nng.pp.mirror_hemispheres(adata, method="max")
    one = adata[adata.obs["hemisphere"] == "left"].copy()
    with pytest.raises(ValueError, match="voxels of both hemispheres"):
        nng.pp.mirror_hemispheres(one, midline=0.8)


def test_volume_is_needed():
    adata = nng.datasets.quilt(12, 30)
    adata.X = adata.X.toarray()
    before = snapshot(adata)
    for function in (nng.pp.mirror_hemispheres, nng.pp.correct_slices):
        with pytest.raises(KeyError, match=r"Volumes come from `nonneg.io"):
            function(adata)
    assert_same(snapshot(adata), before)
    volume = simulated()
    volume.obs["voxel"] = 0
    with pytest.raises(ValueError, match="more than once"):
        nng.pp.mirror_hemispheres(volume)
    volume.obs["voxel"] = 10**6
    with pytest.raises(ValueError, match="positions in a box"):
        nng.get.image(volume, "gene_0")


# Slices


def tall(**kwargs):
    return nng.datasets.atlas_expression(
        (60, 12, 14), 20, 4, **{"noise": 0.1, "missing_planes": 0} | kwargs
    )


def log_gain(adata):
    """Logarithms of gains that were found and of those simulated, around their means."""
    found = np.log(adata.varm["slice_gain"])
    known = np.isfinite(found) & ~adata.varm["truth_missing"]
    truth = np.where(known, np.log(adata.varm["truth_gain"]), np.nan)
    truth -= np.nanmean(truth, axis=1, keepdims=True)
    return found[known], truth[known]


@pytest.mark.parametrize("missing", [0, 3])
def test_gains_are_found(missing):
    adata = tall(slice_gain=0.2, missing_planes=missing)
    mean = adata.obsm["truth"] @ adata.varm["truth"].T
    corrected = nng.pp.correct_slices(adata, copy=True)
    found, truth = log_gain(corrected)
    # The slow part of gains, a quarter of their variance, is left to anatomy, whose
    # sharp borders count as gains.
    assert np.corrcoef(found, truth)[0, 1] > 0.6
    observed = ~np.isnan(adata.X)
    np.testing.assert_array_equal(np.isnan(corrected.X), ~observed)
    fit = [
        np.mean(
            [np.corrcoef(x[o, j], mean[o, j])[0, 1] for j, o in enumerate(observed.T)]
        )
        for x in (adata.X, corrected.X)
    ]
    assert fit[1] > fit[0] + 0.01


@pytest.mark.parametrize("period", [8, 16])
def test_single_slices(period):
    """A slice twice as strong: 1 - 2 / period of the logarithm is found."""
    plain, doubled = tall(slice_gain=0), tall(slice_gain=0)
    plane = np.unravel_index(doubled.obs["voxel"], (60, 12, 14))[0]
    doubled.X[plane == 30] *= 2
    change = []
    for adata in (plain, doubled):
        nng.pp.correct_slices(adata, period=period, max_gain=10)
        change.append(np.log(adata.varm["slice_gain"]))
    found = (change[1] - change[0]).mean(axis=0) / np.log(2)
    np.testing.assert_allclose(found[30], 1 - 2 / period, atol=0.05)
    # What is not found there is spread over the neighbours.
    assert np.nanmax(np.abs(np.delete(found, 30))) < 0.3


def test_scale_and_limits():
    adata = tall(slice_gain=0.4)
    plain = nng.pp.correct_slices(adata, copy=True)
    assert np.nanmin(plain.varm["slice_gain"]) >= 0.5
    assert np.nanmax(plain.varm["slice_gain"]) <= 2
    scaled = adata.copy()
    scaled.X = scaled.X * 100
    nng.pp.correct_slices(scaled)
    np.testing.assert_allclose(scaled.X, 100 * plain.X, rtol=1e-4)
    # Along another axis there are no gains to be found.
    other = nng.pp.correct_slices(adata, plane="sagittal", copy=True)
    assert other.varm["slice_gain"].shape == (20, 14)
    one = nng.pp.correct_slices(adata, max_gain=1, copy=True)
    np.testing.assert_array_equal(one.X, adata.X)


def test_slice_refusals():
    adata = tall()
    for change, match in (
        (dict(period=1), "at least 2"),
        (dict(period=1e300), r"period=1e\+300 must be at most 1e\+06 planes"),
        (dict(period=np.inf), "period=inf"),
        (dict(max_gain=0.5), "at least 1"),
        (dict(plane="axial"), "must be one of"),
    ):
        with pytest.raises(ValueError, match=match):
            nng.pp.correct_slices(adata, **change)
    adata.X[0, 0] = -1
    with pytest.raises(ValueError, match="negative entries"):
        nng.pp.correct_slices(adata)


@pytest.mark.data
def test_real_hemispheres_and_slices():
    with np.load(real_data("allen_p56_grid.npz")) as stored:
        labels = stored["P56_Mouse_gridAnnotation_gridAnnotation"]
    adata = nng.io.read_allen_grid(real_data("allen_p56"), annotation=labels)
    mirrored = nng.pp.mirror_hemispheres(adata, copy=True)
    changed = ~np.isclose(mirrored.X, adata.X, equal_nan=True)
    # The midline of the Allen grid is in the middle of its 58 planes.
    image = nng.get.image(mirrored, mirrored.var_names[0])
    paired = (labels > 0) & (labels[..., ::-1] > 0)
    np.testing.assert_array_equal(image[paired], image[..., ::-1][paired])
    assert changed.mean() > 0.5
    nng.pp.impute_knn(adata)
    nng.pp.correct_slices(adata)
    gain = adata.varm["slice_gain"]
    assert gain.shape == (2, 67)
    assert 0.03 < np.nanstd(np.log(gain)) < 0.3
