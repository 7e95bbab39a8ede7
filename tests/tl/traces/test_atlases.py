"""Components that are found again, and atlases that are compared by them."""

from __future__ import annotations

from functools import wraps
from importlib import import_module

import numpy as np
import pandas as pd
import pytest

import nonneg as nng


@pytest.fixture(scope="module")
def adata():
    return nng.datasets.widefield(form="svd", n_regions=4, n_frames=1200, rng=0)


def shifted(adata, by):
    """Regions of an atlas that is off by some pixels."""
    shape = adata.uns["volume"]["shape"]
    image = np.full(np.prod(shape), None, object)
    image[adata.obs["voxel"]] = adata.obs["region"].astype(str)
    image = np.roll(image.reshape(shape), by, axis=1)
    return pd.Categorical(image.ravel()[adata.obs["voxel"]])


def test_halves_of_a_session_have_the_same_components(adata):
    halves = [adata[:, :600].copy(), adata[:, 600:].copy()]
    for half in halves:
        nng.tl.locanmf(half, max_rank=5)
        # The movie of this half alone.
        u, v = (
            np.asarray(x, np.float64) for x in (half.obsm["X_svd"], half.varm["svd"])
        )
        left, s, right = np.linalg.svd(u @ (v - v.mean(0)).T, full_matrices=False)
        k = half.obsm["X_locanmf"].shape[1]
        half.obsm["X_svd"] = left[:, :k].astype(np.float32)
        half.varm["svd"] = (right[:k].T * s[:k]).astype(np.float32)
    components = nng.tl.match_components(*halves)
    singular = nng.tl.match_components(*halves, key="svd")
    assert components.mean_cosine >= 0.9
    assert singular.mean_cosine < components.mean_cosine - 0.2


def test_atlases_are_compared_on_frames_held_out(adata):
    for by in (2, 5):
        adata.obs[f"off by {by}"] = shifted(adata, by)
    atlases = ["region", "off by 2", "off by 5"]
    table = nng.tl.compare_atlases(
        adata,
        atlases,
        hemisphere_key=None,
        min_rank=3,
        max_rank=3,
        r2_threshold=0,
        loc_threshold=1,
    )
    assert len(table) == 6
    assert len(set(table["n_components"])) == 1
    r2 = table.groupby("atlas")["r2"].mean()
    assert r2["region"] > r2["off by 2"] > r2["off by 5"]
    assert "fitted" not in adata.uns


def test_frames_beside_a_block_are_not_fitted(adata, monkeypatch):
    module = import_module("nonneg.tl._locanmf.compare_atlases")
    fitted = []

    @wraps(nng.tl.locanmf)
    def noting(part, **kwargs):
        fitted.append(part.var["time"].to_numpy())
        nng.tl.locanmf(part, **kwargs)

    monkeypatch.setattr(module, "locanmf", noting)
    nng.tl.compare_atlases(adata, ["region"], max_rank=1, r2_threshold=0)
    time = adata.var["time"].to_numpy()
    assert fitted[0][0] > time[600]
    assert fitted[1][-1] < time[599]
    few = adata[:, :12].copy()
    with pytest.raises(ValueError, match="12 frames are too few for n_folds=6"):
        nng.tl.compare_atlases(few, ["region"], n_folds=6)


def test_atlases_that_are_refused(adata):
    with pytest.raises(KeyError, match=r"atlas\.annotate"):
        nng.tl.compare_atlases(adata, ["region", "other"])
    with pytest.raises(ValueError, match="n_folds=1"):
        nng.tl.compare_atlases(adata, ["region"], n_folds=1)
    for name in ("copy", "key_added"):
        with pytest.raises(TypeError, match=f"{name} cannot be given"):
            nng.tl.compare_atlases(adata, ["region"], **{name: "x"})
    adata.obs["none"] = pd.Categorical([None] * adata.n_obs)
    with pytest.raises(ValueError, match="No pixel has a region"):
        nng.tl.compare_atlases(adata, ["region", "none"])
