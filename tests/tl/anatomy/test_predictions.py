"""Regions predicted from patterns, and patterns beside other methods."""

from __future__ import annotations

import re

import numpy as np
import pytest
import scanpy as sc
from sklearn.metrics import roc_auc_score

import nonneg as nng


def located(n_components=4):
    """Patterns on a grid, regions that are the tiles of its first one."""
    adata = nng.datasets.quilt(12, 40, background=1)
    x, y = adata.obsm["spatial"].T
    adata.obs["region"] = np.where(x < 6, "west", np.where(y < 6, "north", "south"))
    nng.tl.nmf(adata, n_components, tol=1e-3)
    return adata


def test_area_under_the_curve():
    rng = np.random.default_rng(0)
    inside = rng.random(500) < 0.3
    noise = rng.normal(size=(500, 2))
    assert nng.metrics.region_auc(inside + 0.01 * noise[:, 0], inside) == 1
    assert nng.metrics.region_auc(-5.0 * inside, inside) == 1
    assert abs(nng.metrics.region_auc(noise, inside) - 0.5) < 0.1
    # Of one pattern, the regression changes nothing but the direction.
    one = inside + 2 * noise[:, 0]
    expected = roc_auc_score(inside, one)
    assert nng.metrics.region_auc(one, inside) == pytest.approx(expected)
    # Units and a constant do not matter.
    both = np.stack([one, noise[:, 1]], 1)
    found = nng.metrics.region_auc(both, inside)
    scaled = np.column_stack([1e5 * both + 7, np.ones(500)])
    assert nng.metrics.region_auc(scaled, inside) == pytest.approx(found, abs=1e-4)


@pytest.mark.parametrize(
    ("patterns", "inside", "message"),
    [
        ([1, 2, 3], [True, False], "inside has shape (2,)"),
        ([1, 2], [True, True], "2 of 2 observations are inside"),
        ([1, np.nan], [True, False], "must be finite"),
    ],
)
def test_area_is_refused(patterns, inside, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        nng.metrics.region_auc(patterns, inside)


def test_a_region_from_the_patterns_that_make_it():
    adata = located()
    rng = np.random.default_rng(0)
    west = (adata.obs["region"] == "west").to_numpy(float)
    noise = rng.normal(size=(adata.n_obs, 8))
    # Neither of two patterns tells it, but their sum does.
    noise[:, 2] = west - noise[:, 5] + 0.05 * rng.normal(size=adata.n_obs)
    adata.obsm["maps"] = noise
    nng.tl.region_prediction(adata, "west", key="maps", factors=["maps_2", 5])
    found = adata.uns["maps_region_prediction"]
    assert found["factors"].tolist() == ["maps_2", "maps_5"]
    assert found["auc"] > 0.99
    assert len(found["random"]) == 27
    assert found["rank"] == 0
    chosen = adata.obsm["maps"][:, [2, 5]]
    assert found["auc"] == nng.metrics.region_auc(chosen, west > 0)
    nng.tl.region_prediction(adata, "west", key="maps", n_random=10)
    found = adata.uns["maps_region_prediction"]
    assert "maps_2" in found["factors"]
    assert len(set(found["random"]["factors"])) == 10
    assert ", ".join(sorted(found["factors"])) not in set(found["random"]["factors"])


def test_random_sets_are_different_where_there_are_many():
    adata = located()
    adata.obsm["maps"] = np.random.default_rng(0).normal(size=(adata.n_obs, 30))
    nng.tl.region_prediction(adata, ["west", "north"], key="maps", n_random=20)
    found = adata.uns["maps_region_prediction"]
    assert len(set(found["random"]["factors"])) == 20
    # Chosen for it, and yet little better than .5: noise is noise.
    assert found["auc"] < 0.75


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (dict(region="gone"), KeyError, "There is no region ['gone']"),
        (dict(region=[]), KeyError, "There is no region"),
        (dict(region=["west", "north", "south"]), ValueError, "some on either side"),
        (dict(n_factors=9), ValueError, "n_factors=9, but there are 4 patterns"),
        (dict(factors=[7]), KeyError, "There is no factor 7"),
    ],
)
def test_predictions_are_refused(change, error, message):
    adata = located()
    region = change.pop("region", "west")
    with pytest.raises(error, match=re.escape(message)):
        nng.tl.region_prediction(adata, region, **change)
    assert "nmf_region_prediction" not in adata.uns


def test_patterns_beside_other_methods():
    adata = located()
    nng.tl.compare_patterns(adata, key=["nmf", "truth"])
    table = adata.uns["pattern_comparison"]
    assert table.groupby("method", sort=False).size().to_dict() == {
        "nmf": 4, "truth": 4, "pca": 4, "kmeans": 4, "ward": 4,
    }  # fmt: skip
    nng.tl.region_correlation(adata, null=None)
    own = table[table["method"] == "nmf"]
    expected = nng.get.region_sets(adata)["score"].to_numpy()
    np.testing.assert_allclose(own["region_score"], expected)
    # Scanpy's on the same neighbours.
    import squidpy as sq

    sq.gr.spatial_neighbors_grid(adata, n_neighs=4)
    graph = adata.obsp["spatial_connectivities"]
    scores = np.ascontiguousarray(adata.obsm["X_nmf"].T.astype(np.float64))
    expected = sc.metrics.morans_i(graph.astype(np.float64), scores)
    np.testing.assert_allclose(own["morans_i"], expected, rtol=1e-6)
    nng.tl.compare_patterns(adata, region_key=None, baselines=["pca"])
    graphed = adata.uns["pattern_comparison"]
    np.testing.assert_allclose(graphed["morans_i"][:4], expected, rtol=1e-6)
    assert "region_score" not in graphed
    # Clusters are where they lead.
    clusters = table[table["method"].isin(["kmeans", "ward"])]
    np.testing.assert_allclose(clusters["morans_i"], clusters["morans_i_leading"])


def test_leading_maps_need_a_threshold():
    from nonneg.tl._anatomy.compare_patterns import _leading

    values = np.array([[1, 0, 0], [0.5, 20, 0], [0.01, 0.1, 0], [-0.8, 2, 0]])
    expected = [[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]]
    assert _leading(values, 0.05).tolist() == expected


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (dict(baselines=["ica"]), ValueError, "baselines='ica' must be one of"),
        (dict(key=[]), ValueError, "key names no patterns"),
        (dict(key="gone"), KeyError, "key='gone'"),
        (dict(threshold=-1), ValueError, "threshold=-1 must be"),
    ],
)
def test_comparisons_are_refused(change, error, message):
    adata = located()
    with pytest.raises(error, match=re.escape(message)):
        nng.tl.compare_patterns(adata, **change)
    assert "pattern_comparison" not in adata.uns
