"""Components of movies on the atlas."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

import nonneg as nng


@pytest.fixture
def adata():
    yield nng.datasets.widefield(form="svd", shape=(40, 48), n_regions=2, n_frames=100)
    plt.close("all")


def test_footprints_have_the_colour_of_their_region(adata):
    ax = nng.pl.footprints(adata, "truth", regions=["region_1_left"])
    image = ax.images[0].get_array()
    strong = image[image[..., 3] > 0.9][:, :3]
    assert len(strong)
    assert np.ptp(strong, axis=0).max() < 1e-6
    assert ax.collections  # borders
    with pytest.raises(KeyError, match="no components of"):
        nng.pl.footprints(adata, "truth", regions=["VISp_left"])
    with pytest.raises(ValueError, match="have no regions"):
        nng.pl.footprints(adata, "svd")


def test_traces_of_a_window(adata):
    ax = nng.pl.traces(adata, "truth", window=(1, 3))
    k = adata.varm["true_traces"].shape[1]
    assert len(ax.get_yticks()) == k
    time = ax.lines[0].get_xdata()
    assert 1 <= time.min() <= time.max() <= 3
    with pytest.raises(ValueError, match="no frame"):
        nng.pl.traces(adata, "truth", window=(90, 99))


def test_numbers_of_regions(adata):
    values = {"region_1_left": 1.0, "region_2": 3.0}
    ax = nng.pl.region_map(adata, values, annotate=True, label="rank")
    image = ax.images[1].get_array()
    number = adata.obs["region"].value_counts()
    assert np.sum(image == 1) == number["region_1_left"]
    assert np.sum(image == 3) == number[["region_2_left", "region_2_right"]].sum()
    assert {text.get_text() for text in ax.texts} >= {"1", "3"}
    with pytest.raises(KeyError, match="VISp"):
        nng.pl.region_map(adata, {"VISp": 1.0})
    with pytest.raises(ValueError, match="finite"):
        nng.pl.region_map(adata, {"region_2": np.nan})


def test_the_bar_has_the_unit_of_pixels(adata):
    def bar():
        return [text.get_text() for text in nng.pl.footprints(adata, "truth").texts]

    assert any(text.endswith(" mm") for text in bar())
    adata.uns["volume"]["spacing"] = np.ones(2)
    assert any(text.endswith(" pixels") for text in bar())
