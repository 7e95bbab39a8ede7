"""Missing entries from nearest locations."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import scipy.sparse as sp
from anndata import AnnData
from scipy.spatial import cKDTree

import nonneg as nng
from testing.nonneg import assert_same, real_data, snapshot


def by_search(x, coords, k):
    """A search among the observed locations of each gene, one after the other."""
    filled = x.astype(float)
    for column in filled.T:
        known, lost = np.flatnonzero(~np.isnan(column)), np.isnan(column)
        distance, near = cKDTree(coords[known]).query(coords[lost], k=k)
        distance, near = distance.reshape(-1, k), near.reshape(-1, k)
        column[lost] = np.average(column[known][near], axis=1, weights=1 / distance)
    return filled


def scattered(n=400, p=5, missing=0.3, seed=0):
    """Locations without ties, so that neighbours are unique."""
    rng = np.random.default_rng(seed)
    x = rng.gamma(1, 1, (n, p)).astype(np.float32)
    x[rng.random((n, p)) < missing] = np.nan
    adata = AnnData(x)
    adata.obsm["spatial"] = rng.random((n, 3))
    return adata


@pytest.mark.parametrize("k", [1, 6, 20])
@pytest.mark.parametrize("missing", [0.05, 0.3, 0.9])
def test_equal_to_a_search_for_each_gene(k, missing):
    """Also where so much is missing that shared neighbours are not enough."""
    adata = scattered(missing=missing)
    x = adata.X.copy()
    nng.pp.impute_knn(adata, k)
    expected = by_search(x, adata.obsm["spatial"], k)
    np.testing.assert_allclose(adata.X, expected, rtol=1e-5)
    observed = ~np.isnan(x)
    np.testing.assert_array_equal(adata.X[observed], x[observed])
    np.testing.assert_array_equal(adata.var["n_imputed"], (~observed).sum(0))
    assert "n_missing_planes" not in adata.var


def test_blocks_of_candidates(monkeypatch):
    from nonneg.models.volume import impute

    whole = nng.pp.impute_knn(scattered(), copy=True)
    monkeypatch.setattr(impute, "_CANDIDATES", 100)
    monkeypatch.setattr(impute, "_COLUMNS", 2)
    parts = nng.pp.impute_knn(scattered(), copy=True)
    np.testing.assert_array_equal(parts.X, whole.X)


def test_genes_do_not_mix_and_order_does_not_matter():
    adata = scattered()
    order = np.random.default_rng(1).permutation(adata.n_obs)
    shuffled, single = adata[order].copy(), adata[:, 2].copy()
    for each in (adata, shuffled, single):
        nng.pp.impute_knn(each)
    np.testing.assert_allclose(shuffled.X, adata.X[order], rtol=1e-6)
    np.testing.assert_allclose(single.X[:, 0], adata.X[:, 2], rtol=1e-6)


def test_smooth_fields():
    """Of a linear field on a grid, the mean of the neighbours on both sides is exact."""
    z, y, x = np.indices((9, 9, 9)).reshape(3, -1)
    adata = AnnData((2.0 * z + y + 5 * x)[:, None].astype(np.float32))
    adata.obsm["spatial"] = np.stack([x, y, z], 1).astype(float)
    truth = adata.X.copy()
    middle = (z == 4) & (y == 4) & (x == 4)
    adata.X[middle] = np.nan
    nng.pp.impute_knn(adata)
    np.testing.assert_allclose(adata.X, truth, rtol=1e-6)


def test_few_observed_and_coinciding_locations():
    adata = scattered(30, 2, 0)
    adata.X[3:, 0] = np.nan
    adata.obsm["spatial"][7] = adata.obsm["spatial"][0]
    nng.pp.impute_knn(adata)
    assert np.isfinite(adata.X).all()
    # A mean of all there are; at no distance, that value.
    assert adata.X[:, 0].min() >= adata.X[:3, 0].min()
    np.testing.assert_allclose(adata.X[7, 0], adata.X[0, 0], rtol=1e-4)


def test_nothing_missing():
    adata = scattered(missing=0)
    x = adata.X.copy()
    nng.pp.impute_knn(adata)
    np.testing.assert_array_equal(adata.X, x)
    assert not adata.var["n_imputed"].any()


@pytest.mark.parametrize(("plane", "axis"), [("coronal", 0), ("sagittal", 2)])
def test_missing_planes_are_flagged(plane, axis):
    adata = nng.datasets.atlas_expression((10, 8, 9), 6, 2, missing_planes=0)
    index = np.stack(np.unravel_index(adata.obs["voxel"], (10, 8, 9)), 1)
    adata.X[index[:, axis] == 4, 0] = np.nan
    adata.X[index[:, axis] == 5, :2] = np.nan
    adata.X[np.flatnonzero(index[:, axis] == 3)[1:], 3] = np.nan  # all but one
    nng.pp.impute_knn(adata, plane=plane)
    assert adata.var["n_missing_planes"].tolist() == [2, 1, 0, 0, 0, 0]
    expected = np.zeros((6, (10, 8, 9)[axis]), bool)
    expected[0, 4:6] = expected[1, 5] = True
    np.testing.assert_array_equal(adata.varm["missing_planes"], expected)
    number = np.array([0, 0, 0, 0, 1, 2, 0, 0, 0, 0])
    np.testing.assert_array_equal(adata.obs["n_missing_planes"], number[index[:, axis]])
    assert np.isfinite(adata.X).all()


def test_layers():
    adata = scattered()
    adata.layers["raw"] = adata.X.copy()
    nng.pp.impute_knn(adata, layer="raw")
    assert np.isnan(adata.X).any()
    assert np.isfinite(adata.layers["raw"]).all()


def test_refusals():
    adata = scattered()
    before = snapshot(adata)
    with pytest.raises(ValueError, match="at least 1"):
        nng.pp.impute_knn(adata, 0)
    with pytest.raises(ValueError, match="must be one of"):
        nng.pp.impute_knn(adata, plane="axial")
    with pytest.raises(KeyError, match="'X_ccf' is not in"):
        nng.pp.impute_knn(adata, spatial_key="X_ccf")
    with pytest.raises(KeyError, match=r"'raw' is not in adata.layers"):
        nng.pp.impute_knn(adata, layer="raw")
    assert_same(snapshot(adata), before)
    adata.X[:, 3] = np.nan
    with pytest.raises(ValueError, match=r"no value at all of 1 variable,.*'3'"):
        nng.pp.impute_knn(adata)
    adata.X[:, 3] = np.inf
    with pytest.raises(ValueError, match="infinite"):
        nng.pp.impute_knn(adata)
    adata.X = sp.csr_matrix(np.ones(adata.shape, np.float32))
    with pytest.raises(TypeError, match="must be a dense array in memory"):
        nng.pp.impute_knn(adata)


@cache
def real():
    with np.load(real_data("allen_p56_grid.npz")) as stored:
        labels = stored["P56_Mouse_gridAnnotation_gridAnnotation"]
    return nng.io.read_allen_grid(real_data("allen_p56"), annotation=labels)


def hide(chosen, *, n_neighbors):
    """Correlation of hidden entries, by gene, with what is filled in."""
    adata = real().copy()
    hidden = chosen & ~np.isnan(adata.X)
    adata.X[hidden] = np.nan
    nng.pp.impute_knn(adata, n_neighbors)
    return [
        np.corrcoef(adata.X[h, j], real().X[h, j])[0, 1] for j, h in enumerate(hidden.T)
    ]


@pytest.mark.data
def test_hidden_voxels():
    rng = np.random.default_rng(0)
    chosen = rng.random(real().shape) < 0.05
    six, one = (hide(chosen, n_neighbors=k) for k in (6, 1))
    assert min(six) >= 0.97
    assert (np.array(six) > np.array(one) + 0.05).all()


@pytest.mark.data
@pytest.mark.parametrize("planes", [(12, 28, 44), (16, 32, 48), (20, 36, 52)])
def test_hidden_planes(planes):
    number = np.unravel_index(real().obs["voxel"], (67, 41, 58))[0]
    chosen = np.isin(number, planes)[:, None] & np.ones(2, bool)
    six, one = (hide(chosen, n_neighbors=k) for k in (6, 1))
    assert six[0] >= 0.75
    assert six[1] >= 0.92
    assert (np.array(six) > one).all()


@pytest.mark.data
def test_planes_that_are_missing():
    adata = real().copy()
    nng.pp.impute_knn(adata)
    assert adata.var["n_missing_planes"].tolist() == [8, 5]
    assert np.flatnonzero(adata.varm["missing_planes"][0]).tolist() == [*range(1, 9)]
    assert np.flatnonzero(adata.varm["missing_planes"][1]).tolist() == [*range(1, 6)]
    assert np.isfinite(adata.X).all()
