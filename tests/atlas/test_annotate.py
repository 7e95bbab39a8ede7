"""Regions of observations."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import nonneg as nng
from testing.nonneg import assert_same, snapshot

TREE = pd.DataFrame(
    {
        "id": [1, 10, 11, 12, 20],
        "acronym": ["brain", "CTX", "MO", "SS", "TH"],
        "parent": [0, 1, 10, 10, 1],
        "color": ["ffffff", "00ff00", "00aa00", "00bb00", "ff0000"],
    }
)


def labels():
    array = np.zeros((4, 6, 8), int)
    array[1:3, 1:3, 1:7] = 11
    array[1:3, 3:4, 1:7] = 12
    array[1:3, 4:5, 1:7] = 20
    return array


def make(**kwargs):
    return nng.atlas.Atlas.from_arrays(
        labels(),
        TREE,
        **{"spacing": (1.0, 0.5, 0.2), "hemispheres": "left-right"} | kwargs,
    )


def cells(index, *, offset=0.0):
    """Cells at positions of the array, within a voxel."""
    adata = AnnData(np.ones((len(index), 2), np.float32))
    adata.obsm["spatial"] = ((np.array(index) + offset) * (1.0, 0.5, 0.2))[:, ::-1]
    return adata


INDEX = [(1, 1, 1), (1, 3, 6), (2, 4, 3), (0, 0, 0), (9, 1, 1), (1, 1, -1)]


@pytest.mark.parametrize("offset", [-0.49, 0, 0.4, (0.3, -0.3, 0.49)])
def test_nearest_position(offset):
    adata = cells(INDEX, offset=offset)
    nng.atlas.annotate(adata, make())
    assert adata.obs["region"].astype(object).fillna("").tolist() == [
        *("MO", "SS", "TH"),
        *("", "", ""),
    ]
    assert adata.obs["region_id"].tolist() == [11, 12, 20, 0, 0, 0]
    assert adata.obs["hemisphere"].astype(object).fillna("").tolist() == [
        *("left", "right", "left"),
        *("", "", ""),
    ]
    # In the order of the ontology.
    assert adata.obs["region"].cat.categories.tolist() == ["MO", "SS", "TH"]
    assert adata.uns["region_colors"].tolist() == ["#00aa00", "#00bb00", "#ff0000"]


def test_origin_and_axis_order():
    adata = cells(INDEX)
    nng.atlas.annotate(adata, make())
    adata.obsm["spatial"] += [7, -3, 0.5]
    adata.obsm["ccf"] = adata.obsm["spatial"][:, ::-1].copy()
    moved = make(origin=(0.5, -3, 7))
    nng.atlas.annotate(adata, moved, key_added="moved")
    nng.atlas.annotate(
        adata, moved, spatial_key="ccf", axis_order="zyx", key_added="reverse"
    )
    for key in ("moved", "reverse"):
        np.testing.assert_array_equal(adata.obs[f"{key}_id"], adata.obs["region_id"])


def test_levels():
    adata = cells(INDEX)
    nng.atlas.annotate(adata, make(), level=1)
    assert adata.obs["region_id"].tolist() == [10, 10, 20, 0, 0, 0]
    nng.atlas.annotate(adata, make(), regions=["CTX", "SS"], key_added="some")
    assert adata.obs["some_id"].tolist() == [10, 12, 0, 0, 0, 0]
    # With what is above them.
    found = adata.uns["some"]["structures"]
    assert found["acronym"].tolist() == ["brain", "CTX", "SS"]
    assert adata.uns["region"]["level"] == 1


def test_volume():
    adata = nng.datasets.atlas_expression(labels(), 3, 2, missing_planes=0)
    inside = labels()[labels() > 0]
    nng.atlas.annotate(adata, make(spacing=0.2))
    np.testing.assert_array_equal(adata.obs["region_id"], inside)
    # A finer atlas of the same box.
    fine = nng.atlas.Atlas.from_arrays(
        np.repeat(np.repeat(np.repeat(labels(), 2, 0), 2, 1), 2, 2),
        TREE,
        spacing=0.1,
        origin=-0.05,
    )
    nng.atlas.annotate(adata, fine, key_added="fine")
    np.testing.assert_array_equal(adata.obs["fine_id"], inside)
    for wrong in (labels().T, labels()[:-1]):
        other = nng.atlas.Atlas.from_arrays(wrong, TREE, spacing=0.2)
        with pytest.raises(ValueError, match="do not cover the same box"):
            nng.atlas.annotate(adata, other)
    with pytest.raises(ValueError, match="do not cover the same box"):
        nng.atlas.annotate(adata, make(spacing=200.0))


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_round_trip(suffix, tmp_path):
    adata = cells(INDEX)
    nng.atlas.annotate(adata, make(name="tiny"))
    getattr(adata, f"write_{suffix}")(tmp_path / f"a.{suffix}")
    again = getattr(ad, f"read_{suffix}")(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(again.obs["region_id"], adata.obs["region_id"])
    pd.testing.assert_series_equal(again.obs["region"], adata.obs["region"])
    table = again.uns["region"]["structures"]
    assert table["parent"].tolist() == [0, 1, 10, 10, 1]
    assert again.uns["region"]["atlas"] == "tiny"
    assert again.uns["region"]["level"] is None


def test_without_colors_or_sides():
    atlas = nng.atlas.Atlas.from_arrays(labels(), spacing=(1.0, 0.5, 0.2))
    adata = cells(INDEX)
    nng.atlas.annotate(adata, atlas)
    assert "hemisphere" not in adata.obs
    assert "region_colors" not in adata.uns


def test_refusals():
    adata = cells(INDEX)
    before = snapshot(adata)
    with pytest.raises(KeyError, match=r"'X_ccf' is not in adata.obsm"):
        nng.atlas.annotate(adata, make(), spatial_key="X_ccf")
    flat = nng.atlas.Atlas.from_arrays(labels()[1])
    with pytest.raises(ValueError, match="3 columns, but the atlas has 2 axes"):
        nng.atlas.annotate(adata, flat)
    with pytest.raises(ValueError, match="must be one of"):
        nng.atlas.annotate(adata, make(), axis_order="yxz")
    with pytest.raises(ValueError, match="levels are 0 to 2"):
        nng.atlas.annotate(adata, make(), level=5)
    with pytest.raises(KeyError, match="'HY' is neither"):
        nng.atlas.annotate(adata, make(), regions=["HY"])
    # In micrometres.
    adata.obsm["um"] = np.array([[200.0, 500, 1000]] * adata.n_obs)
    with pytest.raises(ValueError, match="They must be in mm"):
        nng.atlas.annotate(adata, make(), spatial_key="um")
    del adata.obsm["um"]
    with pytest.raises(ValueError, match="in one of the regions"):
        nng.atlas.annotate(adata[:1].copy(), make(), regions=["TH"])
    assert_same(snapshot(adata), before)
