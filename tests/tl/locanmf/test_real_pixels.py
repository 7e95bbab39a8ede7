"""Voltage imaging of a real cortex, with regions of a drawn grid."""

from __future__ import annotations

import numpy as np
import pytest

import nonneg as nng
from testing.nonneg import real_data

SIDE, TILE = 50, 10


@pytest.fixture(scope="module")
def movie():
    file = np.load(real_data("jedi1p_whisker.npz"))
    trials = file["EMXJ32_20220930"].transpose(3, 2, 0, 1)
    frames = trials.reshape(-1, SIDE, SIDE).astype(np.float32)
    adata = nng.io.read_video(frames, fs=200, spacing=0.1, mask=file["valid_mask"])
    tile = np.arange(SIDE) // TILE
    labels = tile[:, None] * (SIDE // TILE) + tile + 1
    nng.atlas.annotate(adata, nng.atlas.Atlas.from_arrays(labels, spacing=0.1))
    nng.pp.svd(adata, 30)
    return adata


@pytest.mark.data
@pytest.mark.parametrize("threshold", [0.7, 0.9])
@pytest.mark.filterwarnings("ignore:1 region has fewer than 20:UserWarning")
@pytest.mark.filterwarnings("ignore:.*components of a movie of rank 30:UserWarning")
@pytest.mark.filterwarnings("ignore:1 region has no component:UserWarning")
def test_regions_are_explained_by_components_of_their_own(movie, threshold):
    nng.tl.locanmf(movie, min_pixels=20, r2_threshold=threshold)
    fit = movie.uns["locanmf"]
    assert fit["converged"]
    assert fit["regions"]["r2"].min() >= threshold
    assert fit["localization"].min() >= 0.8
    assert (movie.obsm["X_locanmf"] >= 0).all()
    np.testing.assert_allclose(movie.obsm["X_locanmf"].max(axis=0), 1, rtol=1e-5)
