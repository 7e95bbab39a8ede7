"""Images in the space of an atlas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import nonneg as nng
from testing.nonneg import assert_same, real_data, snapshot

IMAGE = {"bregma": (5.0, 3.0), "left": (2.0, 1.0), "right": (8.0, 1.2), "base": (5, 8)}


def session():
    return nng.datasets.widefield(form="svd", shape=(40, 48), n_regions=2, n_frames=50)


def moved(points, matrix, shift):
    return {name: tuple(matrix @ np.array(p) + shift) for name, p in points.items()}


@pytest.mark.parametrize("transform", ["similarity", "affine"])
def test_finds_the_transformation(transform):
    adata = session()
    matrix = 1.3 * np.array([[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]])
    if transform == "affine":
        matrix = matrix @ [[1, 0.1], [0, 0.8]]
    shift = np.array([-4, 2])
    nng.atlas.align(adata, IMAGE, moved(IMAGE, matrix, shift), transform=transform)
    expected = adata.obsm["spatial"] @ matrix.T + shift
    np.testing.assert_allclose(adata.obsm["spatial_ccf"], expected, atol=1e-9)
    assert adata.uns["spatial_ccf"]["landmarks"]["residual"].max() < 1e-9


def test_residuals_are_distances():
    adata = session()
    there = {**IMAGE, "base": (5.0, 8.4)}
    nng.atlas.align(adata, pd.DataFrame(IMAGE, index=["x", "y"]).T, there)
    table = adata.uns["spatial_ccf"]["landmarks"]
    assert 0.05 < table["residual"].max() < 0.4


@pytest.mark.parametrize(
    "exchange",
    [
        lambda p: {**p, "left": p["right"], "right": p["left"]},
        lambda p: {name: (y, x) for name, (x, y) in p.items()},
    ],
)
def test_landmarks_that_are_exchanged(exchange):
    with pytest.warns(UserWarning, match=r"do not fit: '.*' ends .* mm from its"):
        nng.atlas.align(session(), IMAGE, exchange(IMAGE))


@pytest.mark.parametrize(
    ("landmarks", "arguments", "error", "message"),
    [
        ({**IMAGE, "lambda": (1, 1)}, {}, KeyError, "lambda.*they hold"),
        ({"bregma": (5, 3)}, {}, ValueError, "at least 2"),
        ({"bregma": (5, 3), "left": (5, 3)}, {}, ValueError, "one place"),
        (
            {"bregma": (5, 3), "left": (6, 4), "right": (7, 5)},
            {"transform": "affine"},
            ValueError,
            "one line",
        ),
        ({"bregma": (5, np.nan), "left": (6, 4)}, {}, ValueError, "finite.*bregma"),
        ({"bregma": (5, 3, 1)}, {}, ValueError, "x and y"),
        (pd.DataFrame({"row": [1]}), {}, ValueError, "lack the columns"),
        ([1, 2], {}, TypeError, "mapping"),
    ],
)
def test_refusals(landmarks, arguments, error, message):
    adata = session()
    before = snapshot(adata)
    with pytest.raises(error, match=message):
        nng.atlas.align(adata, landmarks, IMAGE, **arguments)
    assert_same(before, snapshot(adata))


def test_signed_labels_are_hemispheres():
    labels = np.array([[3, -3], [5, -5]])
    atlas = nng.atlas.Atlas.from_arrays(labels, {3: "MOp", 5: "VISp"})
    np.testing.assert_array_equal(atlas.labels, np.abs(labels))
    np.testing.assert_array_equal(atlas.hemispheres, [[1, 2], [1, 2]])
    marked = {3: "MOp_L", -3: "MOp_R", 5: "VISp_L", -5: "VISp_R"}
    atlas = nng.atlas.Atlas.from_arrays(labels, marked)
    assert atlas.structures["acronym"].tolist() == ["MOp", "VISp"]
    np.testing.assert_array_equal(atlas.hemispheres, [[1, 2], [1, 2]])
    atlas = nng.atlas.Atlas.from_arrays(-labels, marked)
    np.testing.assert_array_equal(atlas.hemispheres, [[2, 1], [2, 1]])
    reverse = {-number: name for number, name in marked.items()}
    atlas = nng.atlas.Atlas.from_arrays(-labels, reverse)
    assert atlas.structures["acronym"].tolist() == ["MOp", "VISp"]
    np.testing.assert_array_equal(atlas.hemispheres, [[1, 2], [1, 2]])
    with pytest.raises(ValueError, match="hemispheres are given"):
        nng.atlas.Atlas.from_arrays(labels, hemispheres="left-right")


def test_view_from_above():
    labels = np.zeros((2, 3, 2), int)
    labels[:, 1] = [[1, 2], [1, 0]]
    labels[:, 2] = 3
    labels[0, 0, 0] = 3
    atlas = nng.atlas.Atlas.from_arrays(labels, spacing=(1, 2, 3))
    view = atlas.dorsal()
    np.testing.assert_array_equal(view.labels, [[3, 2], [1, 3]])
    assert view.spacing == (1, 3)
    np.testing.assert_array_equal(atlas.dorsal(regions=[1]).labels, [[1, 0], [1, 0]])
    with pytest.raises(ValueError, match="no view"):
        view.dorsal()


def test_real_dorsal_cortex():
    labels = np.load(real_data("dorsal_cortex_atlases.npz"))["locanmf_540x540"]
    atlas = nng.atlas.Atlas.from_arrays(labels, spacing=0.02)
    adata = nng.datasets.widefield("paper", regions=labels[::4, ::4], n_frames=300)
    # The image is a quarter of the atlas's resolution.
    there = {name: tuple(np.array(p) * 1.1) for name, p in IMAGE.items()}
    nng.atlas.align(adata, IMAGE, there)
    nng.atlas.annotate(adata, atlas, spatial_key="spatial_ccf", key_added="area")
    assert adata.obs["area"].notna().mean() > 0.9
    x = adata.obsm["spatial_ccf"][:, 0]
    for side, on_side in (("left", x < 5), ("right", x > 5.8)):
        assert set(adata.obs["hemisphere"][on_side].dropna()) == {side}
