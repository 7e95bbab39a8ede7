"""A simulated expression atlas."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

import nonneg as nng
from testing.nonneg import assert_same, real_data, snapshot


def matched_cosine(a, b):
    a, b = (x / np.linalg.norm(x, axis=0) for x in (a, b))
    pairs = linear_sum_assignment(-(a.T @ b))
    return (a.T @ b)[pairs]


def test_content():
    adata = nng.datasets.atlas_expression((14, 10, 12), 60, 5)
    k, shape = 5, (14, 10, 12)
    assert adata.obsm["truth"].shape == (adata.n_obs, k)
    assert adata.varm["truth"].shape == (60, k)
    np.testing.assert_allclose(adata.obsm["truth"].max(0), 1)
    np.testing.assert_array_equal(
        adata.varm["truth"].argmax(1), adata.var["pattern"].cat.codes
    )
    # Whole planes are missing, of each gene some.
    plane = np.unravel_index(adata.obs["voxel"], shape)[0]
    lost = adata.varm["truth_missing"]
    np.testing.assert_array_equal(np.isnan(adata.X), lost.T[plane])
    assert 1 < lost.sum(1).mean() < 3
    assert not np.isnan(adata.X).all(0).any()
    # Means are those of the model.
    mean = (adata.obsm["truth"] @ adata.varm["truth"].T) * (
        adata.varm["truth_gain"].T[plane]
    )
    known = ~np.isnan(adata.X)
    assert np.isclose(adata.X[known].sum() / mean[known].sum(), 1, atol=0.01)
    assert (adata.X[known] >= 0).all()
    spread = (adata.X[known] / mean[known])[mean[known] > 0.01].std()
    assert np.isclose(spread, 0.3, atol=0.02)
    # Patterns are the same on both sides.
    pattern = nng.get.image(adata, "truth_0")
    np.testing.assert_allclose(pattern, pattern[..., ::-1], rtol=1e-5)
    assert adata.obs["region"].nunique() == 12
    assert set(adata.obs["hemisphere"]) == {"left", "right"}


def test_seed_and_round_trip(tmp_path):
    adata = nng.datasets.atlas_expression((8, 8, 8), 9, 3)
    again = nng.datasets.atlas_expression((8, 8, 8), 9, 3, rng=0)
    assert_same(snapshot(adata), snapshot(again))
    other = nng.datasets.atlas_expression((8, 8, 8), 9, 3, rng=1)
    assert not np.array_equal(other.obsm["truth"], adata.obsm["truth"])
    adata.write_h5ad(tmp_path / "a.h5ad")
    stored = ad.read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(stored.X, adata.X)
    assert nng.get.factors(stored, "truth").n_vars == 3


def test_exact_without_noise():
    adata = nng.datasets.atlas_expression(
        (8, 8, 8), 9, 3, noise=0, missing_planes=0, slice_gain=0
    )
    np.testing.assert_allclose(
        adata.X, adata.obsm["truth"] @ adata.varm["truth"].T, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_patterns_can_be_recovered(seed):
    adata = nng.datasets.atlas_expression(missing_planes=0, slice_gain=0, rng=seed)
    truth = adata.obsm["truth"] / np.linalg.norm(adata.obsm["truth"], axis=0)
    assert np.triu(truth.T @ truth, 1).max() < 0.85
    nng.tl.nmf(adata, 11)
    cosine = matched_cosine(adata.obsm["X_nmf"], adata.obsm["truth"])
    assert cosine.mean() > 0.985


def test_given_labels():
    labels = np.zeros((6, 7, 8), int)
    labels[1:5, 1:6, 1:7] = np.arange(4)[:, None, None] + 5
    adata = nng.datasets.atlas_expression(labels, 5, 2)
    np.testing.assert_array_equal(
        np.nan_to_num(nng.get.image(adata, "region_id")), labels
    )
    # More patterns than regions could make blocks of.
    many = nng.datasets.atlas_expression(np.minimum(labels, 1), 5, 6)
    assert np.isfinite(many.obsm["truth"]).all()


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (dict(labels=(8, 8)), ValueError, "three sides"),
        (dict(labels=(8, 8, 3)), ValueError, "at least 6"),
        (dict(labels=(8, 8, 8.5)), TypeError, "must be an integer"),
        (dict(labels=np.ones((4, 4), int)), ValueError, "must be a volume"),
        (dict(labels=np.ones((4, 4, 4))), TypeError, "must be integers"),
        (dict(n_genes=0), ValueError, "at least 1"),
        (dict(n_components=2.5), TypeError, "must be an integer"),
        (dict(concentration=0), ValueError, "positive"),
        (dict(noise=-1), ValueError, "at least 0"),
        (dict(missing_planes=-1), ValueError, "at least 0"),
        (dict(slice_gain=np.nan), ValueError, "at least 0"),
    ],
)
def test_refusals(change, error, match):
    with pytest.raises(error, match=match):
        nng.datasets.atlas_expression(**change)


@pytest.mark.data
def test_real_geometry():
    with np.load(real_data("allen_p56_grid.npz")) as stored:
        labels = stored["P56_Mouse_gridAnnotation_gridAnnotation"]
    atlas = nng.atlas.Atlas.from_arrays(
        labels,
        real_data("allen_structure_tree.csv"),
        spacing=0.2,
        hemispheres="left-right",
    )
    adata = nng.datasets.atlas_expression(atlas, 10)
    assert adata.n_obs == 62529
    assert adata.obs["region"].nunique() == 649
    truth = adata.obsm["truth"] / np.linalg.norm(adata.obsm["truth"], axis=0)
    assert np.triu(truth.T @ truth, 1).max() < 0.85
