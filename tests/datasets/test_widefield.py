"""Simulated sessions of widefield imaging."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

import nonneg as nng
from testing.nonneg import assert_same, snapshot

SMALL = dict(shape=(40, 48), n_regions=3, n_frames=150)


def energy_inside(adata):
    """Part of every footprint's energy that is in its region."""
    a = adata.obsm["true_footprints"] ** 2
    inside = (
        adata.obs["region"].to_numpy()[:, None] == adata.uns["truth"]["region"][None]
    )
    return (a * inside).sum(0) / a.sum(0)


def test_session():
    adata = nng.datasets.widefield()
    assert adata.X.dtype == adata.layers["violet"].dtype == np.uint16
    assert adata.n_vars == 900
    regions = adata.uns["truth"]["region"]
    ranks = [int((regions == r).sum()) for r in dict.fromkeys(regions)]
    assert set(ranks) == {1, 2, 3, 4}
    a, c = adata.obsm["true_footprints"], adata.varm["true_traces"]
    np.testing.assert_allclose(a.max(0), 1, rtol=1e-3)
    assert a.min() >= 0
    assert np.linalg.matrix_rank(c) == regions.size
    inside = energy_inside(adata)
    assert 0.85 < inside.min() < 0.97
    # Those in a region overlap, but are not the same.
    for r in dict.fromkeys(regions):
        own = a[:, regions == r] / np.linalg.norm(a[:, regions == r], axis=0)
        pairs = (own.T @ own)[np.triu_indices(own.shape[1], 1)]
        assert (pairs > 0.1).all()
        assert (pairs < 0.95).all()
    assert set(adata.obs["hemisphere"]) == {"left", "right"}


def test_frames_are_those_of_the_model():
    adata = nng.datasets.widefield(**SMALL, motion=0, noise=0)
    hemo = adata.obsm["true_hemo_maps"] @ adata.varm["true_hemo"].T
    neural = adata.obsm["true_footprints"] @ adata.varm["true_traces"].T
    kappa = adata.obs["true_hemo_coef"].to_numpy()[:, None]
    x = adata.X.astype(float)
    expected = 1 + neural + kappa * hemo
    rest = x.mean(1, keepdims=True) / expected.mean(1, keepdims=True)
    # Counts are whole numbers.
    np.testing.assert_allclose(x, rest * expected, atol=1)
    assert 0.4 < neural.std() / hemo.std() < 1.5
    # The violet channel sees the hemodynamics alone, half a frame later.
    violet = adata.layers["violet"].astype(float)
    change = violet / violet.mean(1, keepdims=True) - 1
    assert np.corrcoef(change.mean(0), hemo.mean(0))[0, 1] > 0.95
    alone = nng.datasets.widefield(**SMALL, motion=0, noise=0, hemodynamics=0)
    assert np.ptp(alone.layers["violet"], axis=1).max() == 0
    assert np.ptp(alone.X, axis=1).min() > 0


def test_shot_noise():
    quiet, noisy = (
        nng.datasets.widefield(**SMALL, motion=0, noise=n).X.astype(float)
        for n in (0, 1)
    )
    ratio = ((noisy - quiet) ** 2).mean() / quiet.mean()
    assert np.isclose(ratio, 1, atol=0.02)


def test_motion_moves_the_image():
    """A shift by whole pixels is one of the array."""
    still, moved = (
        nng.datasets.widefield(**SMALL, motion=m, noise=0, mask=False, hemodynamics=0)
        for m in (0, 1)
    )
    assert still.n_obs == 40 * 48
    shifts = moved.varm["true_shifts"]
    assert not still.varm["true_shifts"].any()
    assert 0.5 < shifts.std() < 1.5
    t = int(np.abs(shifts - np.rint(shifts)).sum(1).argmin())
    a, b = (x.X[:, t].reshape(40, 48).astype(float) for x in (still, moved))
    back = np.roll(b, -np.rint(shifts[t]).astype(int), (0, 1))
    inner = np.s_[6:-6, 6:-6]
    assert np.corrcoef(a[inner].ravel(), back[inner].ravel())[0, 1] > 0.99


def test_events_and_behavior_are_carried_by_one_region():
    adata = nng.datasets.widefield(n_frames=3000, form="svd")
    regions = adata.uns["truth"]["region"]
    c, events = adata.varm["true_traces"], adata.uns["events"]
    time = adata.var["time"].to_numpy()
    assert set(events["label"]) == {"left", "right"}
    frame = np.searchsorted(time, events["time"])
    after = c[frame + 5].mean(0) / c.std(0)
    informative = regions == adata.uns["truth"]["informative_region"]
    assert after[informative].max() > 2 * after[~informative].max()
    r = np.array([np.corrcoef(adata.var["behavior"], x)[0, 1] for x in c.T])
    assert regions[r.argmax()] == adata.uns["truth"]["informative_region"]


def test_forms_agree(tmp_path):
    da = pytest.importorskip("dask.array")
    tifffile = pytest.importorskip("tifffile")
    dense = nng.datasets.widefield(**SMALL, tiff=tmp_path / "movie.tif", mask=False)
    lazy = nng.datasets.widefield(**SMALL, form="dask", mask=False)
    assert isinstance(lazy.X, da.Array)
    np.testing.assert_array_equal(lazy.X.compute(), dense.X)
    np.testing.assert_array_equal(
        lazy.layers["violet"].compute(), dense.layers["violet"]
    )
    frames = tifffile.imread(tmp_path / "movie.tif")
    assert frames.shape == (300, 40, 48)
    for i, values in enumerate((dense.X, dense.layers["violet"])):
        np.testing.assert_array_equal(frames[i::2].reshape(150, -1).T, values)
    low = nng.datasets.widefield(**SMALL, form="svd")
    assert low.X is None
    neural = low.obsm["true_footprints"] @ low.varm["true_traces"].T
    product = low.obsm["X_svd"] @ low.varm["svd"].T
    product += low.obs["svd_mean"].to_numpy()[:, None]
    np.testing.assert_allclose(product, neural, atol=1e-6)


@pytest.mark.parametrize("kind", ["session", "paper"])
def test_seed_and_round_trip(kind, tmp_path):
    first, again = (nng.datasets.widefield(kind, **SMALL) for _ in range(2))
    assert_same(snapshot(first), snapshot(again))
    other = nng.datasets.widefield(kind, **SMALL, rng=1)
    assert other.uns["truth"]["params"]["seed"] == 1
    first.write_h5ad(tmp_path / "a.h5ad")
    read = ad.read_h5ad(tmp_path / "a.h5ad")
    assert nng.get.factors(read, "truth").n_obs == first.n_obs


def test_paper():
    """In full, without pixels x frames: that would be 8 GB."""
    adata = nng.datasets.widefield("paper")
    assert adata.uns["volume"]["shape"].tolist() == [534, 533]
    assert adata.n_vars == 10_000
    assert adata.X is None
    u, v = adata.obsm["X_svd"], adata.varm["svd"]
    np.testing.assert_allclose(u.T @ u, np.eye(u.shape[1]), atol=1e-4)
    np.testing.assert_allclose(v.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(
        np.linalg.norm(v, axis=0), adata.uns["svd"]["singular_values"], rtol=1e-4
    )
    rows = np.random.default_rng(0).integers(0, adata.n_obs, 40)
    truth = adata.obsm["true_footprints"][rows] @ adata.varm["true_traces"].T
    product = u[rows] @ v.T + adata.obs["svd_mean"].to_numpy()[rows, None]
    np.testing.assert_allclose(product, truth, atol=1e-4)
    assert adata.uns["truth"]["region"].size == 58
    # Ten frequencies, each with any phase.
    assert u.shape[1] == 20


def test_given_regions():
    """Signs are hemispheres; small regions have no component."""
    labels = np.zeros((30, 40), int)
    labels[5:25, 2:18] = 7
    labels[5:25, 22:38] = -7
    labels[:2, :2] = 3
    adata = nng.datasets.widefield("paper", regions=labels, n_frames=50)
    assert adata.uns["truth"]["region"].tolist() == ["region_7_left", "region_7_right"]
    left = adata.obs["region"] == "region_7_left"
    assert (adata.obsm["spatial"][left, 0] < 5).all()
    atlas = nng.atlas.Atlas.from_arrays(
        np.abs(labels), {3: "S", 7: "VISp"}, hemispheres="left-right", spacing=0.1
    )
    adata = nng.datasets.widefield("paper", regions=atlas, n_frames=50)
    assert adata.uns["truth"]["region"].tolist() == ["VISp_left", "VISp_right"]
    assert adata.uns["volume"]["spacing"].tolist() == [0.1, 0.1]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"kind": "else"}, "kind='else' must be one of"),
        ({"form": "sparse"}, "form='sparse'"),
        ({"kind": "paper", "form": "dense"}, "form='svd'"),
        ({"n_sources": (3, 2)}, "ascending"),
        ({"fs": 0.0}, "fs=0"),
        ({"noise": -1}, "noise=-1"),
        ({"min_pixels": 10_000}, "min_pixels=10000"),
        ({"regions": np.zeros((5, 5), int)}, "0 labels"),
        ({"regions": np.zeros((5, 5))}, "dtype is float64"),
    ],
)
def test_refusals(change, error):
    with pytest.raises((ValueError, TypeError), match=error):
        nng.datasets.widefield(**{**SMALL, **change})
