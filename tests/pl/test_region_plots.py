"""Plots of patterns and regions: what is drawn, read from the axes."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.collections import PathCollection

import nonneg as nng


@pytest.fixture(scope="module")
def fitted():
    adata = nng.datasets.quilt(12, 30)
    x, y = adata.obsm["spatial"].T
    adata.obs["region"] = np.where(x < 5, "west", np.where(y < 4, "north", "south"))
    nng.tl.region_correlation(adata, key="truth", n_surrogates=39)
    nng.tl.region_prediction(adata, "west", key="truth", n_factors=2)
    nng.tl.compare_patterns(adata, key="truth")
    return adata


def texts(labels):
    return [label.get_text() for label in labels]


def test_bubbles(fitted):
    ax = nng.pl.region_correlation(fitted, "truth", factors=[2, 0])
    assert texts(ax.get_yticklabels()) == ["truth_2", "truth_0"]
    names = texts(ax.get_xticklabels())
    assert sorted(names) == ["north", "south", "west"]
    found = fitted.uns["truth_region_correlation"]
    order = [found["regions"]["region"].tolist().index(name) for name in names]
    shown = np.asarray(ax.collections[0].get_array()).reshape(2, 3)
    np.testing.assert_allclose(shown, found["scores"][order][:, [2, 0]].T)
    sizes = ax.collections[0].get_sizes()
    area = np.abs(shown.ravel())
    np.testing.assert_allclose(sizes / sizes.max(), area / area.max())
    # Rings are the best sets.
    rings = ax.collections[1].get_offsets()
    ringed = {(int(y), names[int(x)]) for x, y in rings}
    sets = nng.get.region_sets(fitted, "truth")["regions"]
    assert ringed == {(0, r) for r in sets.iloc[2]} | {(1, r) for r in sets.iloc[0]}
    ax = nng.pl.region_correlation(fitted, "truth", regions=["south"])
    assert texts(ax.get_xticklabels()) == ["south"]


def test_matrix(fitted):
    ax = nng.pl.region_matrix(fitted, "truth", factors=[1, 3])
    found = fitted.uns["truth_region_correlation"]
    shown = ax.images[0].get_array()
    np.testing.assert_allclose(shown, found["matrix"][np.ix_([1, 3], [1, 3])])
    table = nng.get.region_sets(fitted, "truth")
    stars = {int(text.get_position()[0]) for text in ax.texts}
    significant = table["p_adjusted"].iloc[[1, 3]].to_numpy() <= 0.05
    assert stars == set(np.flatnonzero(significant))


def test_prediction(fitted):
    ax = nng.pl.region_prediction(fitted, "truth")
    found = fitted.uns["truth_region_prediction"]
    assert sum(bar.get_height() for bar in ax.patches) == len(found["random"])
    assert ax.lines[0].get_xdata()[0] == found["auc"]
    assert ax.lines[1].get_xdata()[0] == found["random"]["auc"].median()
    assert ax.get_title() == "west"


def test_comparison(fitted):
    axes = nng.pl.compare_patterns(fitted)
    table = fitted.uns["pattern_comparison"]
    for ax, column in zip(
        axes, ["morans_i", "morans_i_leading", "region_score"], strict=True
    ):
        dots = [c for c in ax.collections if isinstance(c, PathCollection)]
        drawn = np.concatenate([c.get_offsets()[:, 1] for c in dots])
        np.testing.assert_allclose(drawn, table[column].dropna())
        assert texts(ax.get_xticklabels()) == ["truth", "pca", "kmeans", "ward"]


def test_maps_of_a_grid(fitted):
    axes = nng.pl.region_sets(fitted, "truth", factors=[0, 2])
    assert len(axes) == 4
    x, y = fitted.obsm["spatial"].T.astype(int)
    image = np.full((12, 12), np.nan)
    image[y, x] = fitted.obsm["truth"][:, 0]
    np.testing.assert_allclose(axes[0].images[0].get_array(), image)
    names = nng.get.region_sets(fitted, "truth")["regions"].iloc[0]
    codes = axes[1].images[0].get_array()
    inside = fitted.obs["region"].isin(names).to_numpy()
    assert (codes[y, x] >= 0).tolist() == inside.tolist()
    legend = axes[1].get_legend()
    assert tuple(texts(legend.get_texts())) == names
    # The set is outlined on the pattern.
    assert len(axes[0].collections) == 1


def test_maps_of_points_and_sections(fitted):
    adata = fitted.copy()
    rng = np.random.default_rng(0)
    adata.obsm["spatial"] = adata.obsm["spatial"] + rng.uniform(-0.4, 0.4, (144, 2))
    adata.obs["section"] = np.where(np.arange(144) < 72, "a", "b")
    axes = nng.pl.region_sets(
        adata, "truth", factors=1, n_regions=2, library_key="section"
    )
    assert len(axes) == 4
    n_drawn = [len(ax.collections[0].get_offsets()) for ax in axes]
    assert n_drawn == [72, 72, 72, 72]
    assert axes[2].get_title() == "b"


def test_planes_of_a_volume():
    place = np.stack(np.indices((6, 5, 7)), -1).reshape(-1, 3)
    adata = AnnData(obs=pd.DataFrame(index=np.arange(210).astype(str)))
    adata.obsm["spatial"] = place[:, ::-1] * 0.5
    z, _, x = place.T
    adata.obs["region"] = np.where(z < 2, "front", np.where(x < 3, "left", "right"))
    rng = np.random.default_rng(0)
    adata.obsm["maps"] = np.stack([z < 2, (z >= 2) & (x < 3)], 1) + 0.1 * rng.random(
        (210, 2)
    )
    nng.tl.region_correlation(adata, key="maps", null=None)
    axes = nng.pl.region_sets(adata, "maps", factors=1)
    assert len(axes) == 6
    shapes = [ax.images[0].get_array().shape for ax in axes]
    assert shapes == [(5, 7)] * 2 + [(6, 7)] * 2 + [(5, 6)] * 2
    at = int(float(axes[0].get_title().split("= ")[1]) / 0.5)
    expected = adata.obsm["maps"][:, 1].reshape(6, 5, 7)[at]
    np.testing.assert_allclose(axes[0].images[0].get_array(), expected)
    # Without a grid, seen along the shortest axis.
    adata.obsp["spatial_connectivities"] = np.eye(210, k=1) + np.eye(210, k=-1)
    adata.obsm["spatial"] = adata.obsm["spatial"] + rng.uniform(0, 0.2, (210, 3))
    axes = nng.pl.region_sets(adata, "maps", factors=[0])
    assert len(axes) == 2
    assert len(axes[0].collections[0].get_offsets()) == 210


def test_not_there(fitted):
    adata = fitted.copy()
    for plot in (
        nng.pl.region_correlation,
        nng.pl.region_matrix,
        nng.pl.region_prediction,
        nng.pl.region_sets,
    ):
        with pytest.raises(KeyError, match=r"nonneg\.tl\.region_"):
            plot(adata, "nmf")
    with pytest.raises(KeyError, match="There are no regions"):
        nng.pl.region_correlation(adata, "truth", regions=["gone"])
    with pytest.raises(KeyError, match="no factor 'gone'"):
        nng.pl.region_matrix(adata, "truth", factors="gone")
    del adata.uns["pattern_comparison"]
    with pytest.raises(KeyError, match="compare_patterns"):
        nng.pl.compare_patterns(adata)
    adata.obs["region"] = "gone"
    adata.obs.loc[adata.obs_names[0], "region"] = "two"
    with pytest.raises(KeyError, match="any more"):
        nng.pl.region_sets(adata, "truth")
    plt.close("all")
