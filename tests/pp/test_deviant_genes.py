"""Deviant genes: the numbers, the choice, and what is stored."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

import nonneg as nng
from testing.nonneg import assert_same, counts, poisson_deviance, snapshot


@pytest.fixture(params=[np.asarray, sp.csr_matrix], ids=["dense", "csr"])
def adata(request):
    result = counts()
    x = np.array(result.X)
    x[3], x[:, 4] = 0, 0
    result.X = request.param(x)
    return result


def dense(adata):
    return np.asarray(adata.X.toarray() if sp.issparse(adata.X) else adata.X, float)


def test_deviance(adata):
    nng.pp.deviant_genes(adata, 10)
    expected = poisson_deviance(dense(adata))
    np.testing.assert_allclose(adata.var["deviance"], expected, rtol=1e-4, atol=1e-3)
    assert adata.var["deviance"].iloc[4] == 0


def test_batches_are_added_up(adata):
    batch = adata.obs["batch"].to_numpy()
    nng.pp.deviant_genes(adata, 10, batch_key="batch")
    expected = sum(poisson_deviance(dense(adata)[batch == b]) for b in ("a", "b"))
    np.testing.assert_allclose(adata.var["deviance"], expected, rtol=1e-4, atol=1e-3)


def test_a_difference_between_batches_selects_no_genes(adata):
    x = dense(adata)
    rng = np.random.default_rng(0)
    x[:, 0] = rng.poisson(np.where(adata.obs["batch"] == "a", 40, 4))
    adata.X = x
    plain = nng.pp.deviant_genes(adata, 5, copy=True).var
    within = nng.pp.deviant_genes(adata, 5, batch_key="batch", copy=True).var
    assert plain["highly_variable_rank"].iloc[0] == 0
    assert within["deviance"].iloc[0] < 0.5 * plain["deviance"].iloc[0]


def test_choice(adata):
    nng.pp.deviant_genes(adata, 10)
    var = adata.var
    assert var["highly_variable"].dtype == bool
    assert var["highly_variable"].sum() == 10
    chosen = var[var["highly_variable"]]
    assert chosen["deviance"].min() > var[~var["highly_variable"]]["deviance"].max()
    by_rank = chosen.sort_values("highly_variable_rank")
    assert by_rank["highly_variable_rank"].tolist() == list(range(10))
    assert by_rank["deviance"].is_monotonic_decreasing
    assert var["highly_variable_rank"].isna().sum() == 30


def test_more_than_there_are(adata):
    nng.pp.deviant_genes(adata, 1000)
    assert adata.var["highly_variable"].all()


def test_subset(adata):
    marked = nng.pp.deviant_genes(adata, 10, copy=True)
    nng.pp.deviant_genes(adata, 10, subset=True)
    expected = marked[:, marked.var["highly_variable"]].copy()
    assert_same(snapshot(adata), snapshot(expected))


def test_layer(adata):
    expected = nng.pp.deviant_genes(adata, 10, copy=True).var["deviance"]
    adata.layers["counts"] = adata.X.copy()
    adata.X = None
    nng.pp.deviant_genes(adata, 10, layer="counts")
    np.testing.assert_array_equal(adata.var["deviance"], expected)


def test_views(adata):
    parent = snapshot(adata)
    view = adata[:, 5:]
    nng.pp.deviant_genes(view, 10)
    assert not view.is_view
    assert view.var["highly_variable"].sum() == 10
    assert_same(snapshot(adata), parent)


def test_ties_keep_their_order():
    adata = ad.AnnData(np.ones((6, 4), np.float32))
    nng.pp.deviant_genes(adata, 2)
    assert adata.var["highly_variable"].tolist() == [True, True, False, False]


def test_not_counts(adata):
    adata.X = adata.X * 0.37
    with pytest.warns(UserWarning, match="does not look like counts"):
        nng.pp.deviant_genes(adata, 10)
    assert adata.var["highly_variable"].sum() == 10


def test_scanpy_reads_the_choice(adata):
    import scanpy as sc

    nng.pp.deviant_genes(adata, 10)
    sc.pp.pca(adata, 3)
    assert not adata.varm["PCs"][~adata.var["highly_variable"].to_numpy()].any()
    assert adata.uns["pca"]["params"]["use_highly_variable"]
