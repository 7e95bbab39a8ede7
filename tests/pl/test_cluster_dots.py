"""Dots of clusters and data sets."""

from __future__ import annotations

import numpy as np
import pytest

import nonneg as nng


@pytest.fixture
def adata():
    return nng.datasets.batches((300, 200, 100), 20, 6)


def dots(ax):
    """Places, areas and values of the dots of the table."""
    found = ax.collections[0]
    return found.get_offsets(), found.get_sizes(), found.get_array()


def test_content(adata):
    ax = nng.pl.cluster_dots(adata, "truth", cluster_key="cell_type")
    of_batch, of_cluster = (
        nng.get.cluster_composition(
            adata, "truth", cluster_key="cell_type", normalize=by
        ).to_numpy()
        for by in ("batch", "cluster")
    )
    places, areas, values = dots(ax)
    columns, rows = places[:, 0].astype(int), places[:, 1].astype(int)
    assert len(places) == np.count_nonzero(of_batch)
    np.testing.assert_allclose(
        areas / areas.max(), of_batch[rows, columns] / of_batch.max()
    )
    np.testing.assert_allclose(values, of_cluster[rows, columns])
    assert [t.get_text() for t in ax.get_xticklabels()] == [
        "batch_0",
        "batch_1",
        "batch_2",
    ]
    assert ax.yaxis_inverted()
    legend = [t.get_text() for t in ax.get_legend().get_texts()]
    assert legend[-1] == f"{of_batch.max():.1%}"


def test_classes_are_set_apart(adata):
    code = adata.obs["cell_type"].cat.codes.to_numpy()
    adata.obs["class"] = np.where(code % 2, "odd", "even")
    # Most cells of a cluster tell its class.
    adata.obs.loc[adata.obs_names[:20], "class"] = "odd"
    ax = nng.pl.cluster_dots(adata, "truth", cluster_key="cell_type", group_key="class")
    names = [t.get_text() for t in ax.get_yticklabels()]
    assert names == [f"type_{i}" for i in (0, 2, 4, 1, 3, 5)]
    gaps = np.diff(ax.get_yticks())
    np.testing.assert_allclose(gaps, [1, 1, 1.6, 1, 1])
    assert [t.get_text() for t in ax.texts] == ["even", "odd"]


def test_refusals(adata):
    adata.obs["none"] = "-1"
    with pytest.raises(ValueError, match="nothing to show"):
        nng.pl.cluster_dots(adata, "truth", cluster_key="none")
    with pytest.raises(KeyError, match="classes"):
        nng.pl.cluster_dots(
            adata, "truth", cluster_key="cell_type", group_key="classes"
        )
