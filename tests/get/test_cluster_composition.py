"""Numbers and shares of cells by cluster and data set."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import nonneg as nng


@pytest.fixture
def adata():
    found = nng.datasets.batches((30, 20, 10), 40, 4)
    labels = found.obs["cell_type"].cat.codes.astype(str).astype(object)
    # Without a cluster, in both ways.
    labels.iloc[:3], labels.iloc[3:5] = "-1", np.nan
    found.obs["truth_cluster"] = pd.Categorical(labels)
    return found


def test_counts(adata):
    table = nng.get.cluster_composition(adata, "truth")
    named = adata.obs["truth_cluster"].notna() & (adata.obs["truth_cluster"] != "-1")
    cells = adata.obs[named]
    expected = pd.crosstab(cells["truth_cluster"].astype(str), cells["batch"])
    np.testing.assert_array_equal(table, expected)
    assert table.index.tolist() == expected.index.tolist()
    assert table.columns.tolist() == ["batch_0", "batch_1", "batch_2"]
    assert (table.index.name, table.columns.name) == ("truth_cluster", "batch")


def test_shares(adata):
    counts = nng.get.cluster_composition(adata, "truth")
    of_batch = nng.get.cluster_composition(adata, "truth", normalize="batch")
    np.testing.assert_allclose(of_batch, counts / [30, 20, 10])
    np.testing.assert_allclose(of_batch.sum(), [25 / 30, 1, 1])
    of_cluster = nng.get.cluster_composition(adata, "truth", normalize="cluster")
    np.testing.assert_allclose(of_cluster.sum(axis=1), 1)
    for name in counts.index:
        rates = counts.loc[name] / [30, 20, 10]
        np.testing.assert_allclose(of_cluster.loc[name], rates / rates.sum())


def test_sizes_of_data_sets_do_not_matter_to_shares(adata):
    """The same cells twice in one data set leave whose cells a cluster would be."""
    import anndata as ad

    more = adata[adata.obs["batch"] == "batch_0"]
    twice = ad.concat([adata, more], index_unique="-")
    keys = {"cluster_key": "truth_cluster", "batch_key": "batch"}
    for by in ("batch", "cluster"):
        one, two = (
            nng.get.cluster_composition(some, **keys, normalize=by)
            for some in (adata, twice)
        )
        np.testing.assert_allclose(one, two)


def test_refusals(adata):
    with pytest.raises(ValueError, match="normalize"):
        nng.get.cluster_composition(adata, "truth", normalize="rows")
    with pytest.raises(KeyError, match="quantile_align"):
        nng.get.cluster_composition(adata, "truth", cluster_key="none")
    with pytest.raises(KeyError):
        nng.get.cluster_composition(adata, "nothing")
