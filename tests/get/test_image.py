from __future__ import annotations

import os
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from anndata import AnnData

import nonneg as nng

DATA = Path(os.environ.get("NONNEG_DATA", "../shared/data"))


def on_grid(shape, keep=None, *, seed=0):
    """Observations on a raster, shuffled, and their values as an image."""
    rng = np.random.default_rng(seed)
    places = np.stack([axis.ravel() for axis in np.indices(shape)], axis=1)
    if keep is not None:
        places = places[rng.permutation(len(places))[:keep]]
    places = rng.permutation(places)
    adata = AnnData(rng.random((len(places), 2)).astype(np.float32))
    adata.obsm["spatial"] = places[:, ::-1].astype(float)  # x first
    adata.obs["value"] = rng.random(len(places))
    image = np.full(shape, np.nan)
    image[tuple(places.T)] = adata.obs["value"]
    return adata, image


@pytest.mark.parametrize("shape", [(5, 8), (3, 4, 6), (1, 7), (1, 1)])
def test_grid(shape):
    adata, image = on_grid(shape)
    np.testing.assert_array_equal(nng.get.image(adata, "value"), image)


def test_missing_observations_are_nan():
    adata, image = on_grid((9, 12), keep=60)
    np.testing.assert_array_equal(nng.get.image(adata, "value"), image)
    assert np.isnan(image).sum() == 48


@pytest.mark.parametrize("offset", [(0, 0), (-310.5, 7000)])
@pytest.mark.parametrize("spacing", [(1, 1), (55.0, 55.0), (0.25, 3.0)])
def test_spacing_and_origin_are_inferred(spacing, offset):
    adata, image = on_grid((9, 12), keep=80)
    adata.obsm["spatial"] = adata.obsm["spatial"] * spacing + offset
    np.testing.assert_array_equal(nng.get.image(adata, "value"), image)


def test_spots_off_their_place():
    adata, image = on_grid((60, 40))
    jitter = np.random.default_rng(1).uniform(-0.12, 0.12, (2400, 2))
    adata.obsm["spatial"] = 100 * (adata.obsm["spatial"] + jitter)
    np.testing.assert_array_equal(nng.get.image(adata, "value"), image)


def test_missing_rows_and_columns():
    adata, image = on_grid((12, 20))
    kept = ~np.isin(adata.obsm["spatial"][:, 0], [3, 4, 5, 11])
    image[:, [3, 4, 5, 11]] = np.nan
    np.testing.assert_array_equal(nng.get.image(adata[kept].copy(), "value"), image)


def test_most_columns_missing():
    adata, image = on_grid((6, 20))
    columns = [0, 1, 4, 7, 10, 13, 16, 19]  # the median gap is not the spacing
    missing = np.setdiff1d(np.arange(20), columns)
    image[:, missing] = np.nan
    kept = np.isin(adata.obsm["spatial"][:, 0], columns)
    np.testing.assert_array_equal(nng.get.image(adata[kept].copy(), "value"), image)


def test_sources():
    adata = nng.datasets.quilt(12, 30)
    adata.obs["half"] = (adata.obs["array_row"] < 6).map({True: "up", False: "down"})
    adata.obs["half"] = adata.obs["half"].astype("category")
    adata.obs["flag"] = adata.obs["array_col"] == 3
    truth = adata.obsm["truth"]

    def as_image(values):
        return np.asarray(values, float).reshape(12, 12)

    np.testing.assert_array_equal(
        nng.get.image(adata, "truth_2"), as_image(truth[:, 2])
    )
    np.testing.assert_array_equal(
        nng.get.image(adata, "gene_4"), as_image(adata.X[:, 4].toarray())
    )
    np.testing.assert_array_equal(
        nng.get.image(adata, "half")[[0, 11], 0], [1, 0]
    )  # codes
    assert np.flatnonzero(nng.get.image(adata, "flag")[0]).tolist() == [3]
    np.testing.assert_array_equal(
        nng.get.image(adata, np.arange(144)), as_image(np.arange(144))
    )
    assert nng.get.image(adata, truth[:, 0]).dtype == np.float32
    # A column of obs comes before a factor of the same name.
    adata.obs["truth_0"] = 7.0
    assert (nng.get.image(adata, "truth_0") == 7).all()


def test_missing_category_is_nan():
    adata, _ = on_grid((2, 2))
    adata.obs["part"] = np.array(["a", "b", None, "a"], object)
    adata.obs["part"] = adata.obs["part"].astype("category")
    values = nng.get.image(adata, "part")
    assert sorted(values[~np.isnan(values)]) == [0, 0, 1]


def test_shape():
    adata, image = on_grid((4, 5))
    adata.obsm["spatial"] += [2, 1]
    framed = nng.get.image(adata, "value", shape=(6, 9))
    assert framed.shape == (6, 9)
    np.testing.assert_array_equal(framed[1:5, 2:7], image)
    assert np.isnan(framed).sum() == 54 - 20


def test_refusals():
    adata, _ = on_grid((6, 6))
    with pytest.raises(KeyError, match="'Gad1' is neither a column of"):
        nng.get.image(adata, "Gad1")
    with pytest.raises(KeyError, match=r"'X_spatial' is not in adata.obsm"):
        nng.get.image(adata, "value", spatial_key="X_spatial")
    with pytest.raises(ValueError, match=r"for each of the 36 .* shape is \(35,\)"):
        nng.get.image(adata, np.zeros(35))
    adata.obs["name"] = "a"
    with pytest.raises(ValueError, match="'name' must hold numbers"):
        nng.get.image(adata, "name")
    with pytest.raises(
        ValueError, match=r"from \[0, 0\] to \[5, 5\], outside .*\(5, 6\)"
    ):
        nng.get.image(adata, "value", shape=(5, 6))
    with pytest.raises(ValueError, match=r"shape=\(6, 6, 1\) must have 2 entries"):
        nng.get.image(adata, "value", shape=(6, 6, 1))
    adata.obsm["half"] = adata.obsm["spatial"] / 2
    with pytest.raises(ValueError, match="must hold whole numbers"):
        nng.get.image(adata, "value", shape=(6, 6), spatial_key="half")
    adata.obsm["nan"] = np.where(adata.obsm["spatial"] == 3, np.nan, 0)
    with pytest.raises(ValueError, match="11 observations without finite"):
        nng.get.image(adata, "value", spatial_key="nan")
    adata.obsm["X_pca"] = np.zeros((36, 5))
    with pytest.raises(ValueError, match=r"2 or 3 columns, but its shape is \(36, 5\)"):
        nng.get.image(adata, "value", spatial_key="X_pca")


def test_several_observations_on_one_place():
    adata, _ = on_grid((6, 6))
    adata.obsm["spatial"][7] = adata.obsm["spatial"][8]
    with pytest.raises(ValueError, match=r"36 observations .* only 35 places"):
        nng.get.image(adata, "value")


@pytest.mark.parametrize("kind", ["random", "rotated", "integers"])
def test_no_grid(kind):
    adata, _ = on_grid((20, 20))
    rng = np.random.default_rng(0)
    if kind == "rotated":
        turn = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
        adata.obsm["spatial"] = adata.obsm["spatial"] @ turn
    elif kind == "random":
        adata.obsm["spatial"] = rng.random((400, 2))
    else:  # positions of cells in pixels
        adata.obsm["spatial"] = rng.integers(10_000, size=(400, 2)).astype(float)
    with pytest.raises(
        ValueError, match=r"not a regular grid.*nonneg\.pl\.factor_maps"
    ):
        nng.get.image(adata, "value")


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "is_grid"),
    [("mob", True), ("pdac_a_spatial", True), ("osmfish_cortex", False)],
)
def test_real_coordinates(name, is_grid):
    path = DATA / f"{name}.h5ad"
    if not path.exists():
        pytest.skip(f"{path} is not there; set NONNEG_DATA")
    adata = ad.read_h5ad(path)
    values = np.arange(adata.n_obs)
    if is_grid:
        image = nng.get.image(adata, values)
        assert max(image.shape) < 40
        np.testing.assert_array_equal(np.sort(image[~np.isnan(image)]), values)
    else:
        with pytest.raises(ValueError, match="not a regular grid"):
            nng.get.image(adata, values)
