"""Genes of factors: importance, reconstruction, networks, sets of markers."""

from __future__ import annotations

import anndata as ad
import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import nonneg as nng
from testing.nonneg import assert_same, snapshot


@pytest.fixture(scope="module")
def _fitted():
    rng = np.random.default_rng(0)
    k, n, p = 4, 300, 60
    scores = rng.gamma(0.3, 1, (n, k)) + 0.1
    loadings = np.full((p, k), 0.02)
    loadings[np.arange(p), np.arange(p) % k] = rng.uniform(0.5, 2, p)
    loadings[-4:] = 1
    adata = ad.AnnData(rng.poisson(3 * scores @ loadings.T).astype(np.float32))
    adata.var_names = [f"g{j}" for j in range(p)]
    nng.tl.nmf(adata, k)
    return adata


@pytest.fixture
def fitted(_fitted):
    return _fitted.copy()


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
def test_reconstruction_is_that_of_the_whole_matrix(fitted, form):
    x = fitted.X
    fitted.X = form(x)
    nng.tl.gene_importance(fitted)
    whole = fitted.obsm["X_nmf"].astype(float) @ fitted.varm["nmf"].T.astype(float)
    expected = [np.corrcoef(x[:, j], whole[:, j])[0, 1] for j in range(x.shape[1])]
    np.testing.assert_allclose(fitted.var["nmf_reconstruction"], expected, atol=1e-5)


def test_genes_of_one_factor_are_important(fitted):
    nng.tl.gene_importance(fitted)
    own = fitted.var["nmf_importance"].to_numpy()
    assert own[:-4].min() > own[-4:].max()
    # Genes of one pattern are assigned to one factor.
    groups = fitted.var["nmf_assignment"].astype(str).to_numpy()
    for k in range(4):
        assert len(set(groups[k:-4:4])) == 1
    assert (fitted.var["nmf_n_factors"].iloc[-4:] == 4).all()


def test_masked_and_constant_genes(fitted):
    fitted.X[:, 7] = 0
    mask = np.arange(60) != 3
    with pytest.warns(UserWarning, match="1 variable that is all zero"):
        nng.tl.nmf(fitted, 3, mask_var=mask, key_added="part")
    nng.tl.gene_importance(fitted, key="part")
    for name in ("part_importance", "part_assignment", "part_reconstruction"):
        assert fitted.var[name].iloc[[3, 7]].isna().all()
        assert fitted.var[name].drop(["g3", "g7"]).notna().all()
    assert (fitted.var["part_n_factors"].iloc[[3, 7]] == 0).all()


def test_network(fitted, tmp_path):
    nng.tl.coexpression_network(fitted, quantile=0.9, edges=0.5)
    matrix = fitted.varp["nmf_coexpression"]
    assert abs(matrix - matrix.T).max() == 0
    nodes = fitted.uns["nmf_coexpression"]
    assert (nodes.groupby("factor").size() == 6).all()
    whole = fitted.obsm["X_nmf"] @ fitted.varm["nmf"].T
    expected = np.corrcoef(whole.T)
    i, j = matrix.nonzero()
    np.testing.assert_allclose(
        np.asarray(matrix[i, j]).ravel(), expected[i, j], atol=1e-5
    )
    fitted.write_h5ad(tmp_path / "x.h5ad")
    again = ad.read_h5ad(tmp_path / "x.h5ad")
    graph = nng.get.coexpression_graph(again)
    assert graph.number_of_edges() == matrix.nnz // 2
    assert graph.number_of_nodes() == nodes["gene"].nunique()
    one = nng.get.coexpression_graph(again, factors="nmf_1")
    assert set(nx.get_node_attributes(one, "factor").values()) == {"nmf_1"}


def test_measured_network_in_the_order_of_genes(fitted):
    nng.tl.coexpression_network(fitted, quantile=0.9, edges=1, similarity="measured")
    matrix = fitted.varp["nmf_coexpression"]
    expected = np.corrcoef(fitted.X.T)
    i, j = matrix.nonzero()
    assert i.size
    np.testing.assert_allclose(
        np.asarray(matrix[i, j]).ravel(), expected[i, j], atol=1e-5
    )


def test_subsets_keep_their_part_of_the_network(fitted):
    nng.tl.coexpression_network(fitted, quantile=0.9, edges=1)
    gene = fitted.uns["nmf_coexpression"]["gene"].iloc[0]
    rest = fitted[:, fitted.var_names != gene].copy()
    graph = nng.get.coexpression_graph(rest)
    assert gene not in graph
    assert graph.number_of_nodes()


def test_another_fit_takes_them_away(fitted):
    nng.tl.gene_importance(fitted)
    nng.tl.coexpression_network(fitted, quantile=0.9)
    nng.tl.nmf(fitted, 3)
    assert not [name for name in fitted.var if name.startswith("nmf_")]
    assert "nmf_coexpression" not in fitted.varp
    assert "nmf_coexpression" not in fitted.uns


def test_markers_of_patterns_are_found(fitted):
    sets = {f"pattern {k}": [f"g{j}" for j in range(k, 56, 4)] for k in range(4)}
    sets["all"] = [f"g{j}" for j in range(56, 60)]
    table = nng.get.marker_overlap(fitted, sets, n_genes=14)
    best = table.groupby("factor").first()
    assert sorted(best["set"]) == [f"pattern {k}" for k in range(4)]
    assert (best["p_adjusted"] < 1e-6).all()
    assert (best["auc"] > 0.95).all()
    assert (best["n_shared"] == 14).all()
    rest = table[table["set"] == "all"]
    assert (rest["p_adjusted"] > 0.05).all()
    frame = pd.DataFrame(
        [(name, gene) for name, some in sets.items() for gene in some],
        columns=["group", "names"],
    )
    pd.testing.assert_frame_equal(
        nng.get.marker_overlap(fitted, frame, n_genes=14), table
    )


def test_overlap_by_chance_is_not_significant(fitted):
    rng = np.random.default_rng(0)
    sets = {f"s{i}": rng.choice(fitted.var_names, 8, replace=False) for i in range(25)}
    table = nng.get.marker_overlap(fitted, sets, n_genes=10)
    assert (table["p"] < 0.05).mean() < 0.1
    assert abs(table["auc"].mean() - 0.5) < 0.05


REFUSED = {
    "share": (nng.tl.gene_importance, dict(min_share=1), ValueError, "below 1"),
    "key": (nng.tl.gene_importance, dict(key="x"), KeyError, "No factorization"),
    "quantile": (nng.tl.coexpression_network, dict(quantile=0), ValueError, "above 0"),
    "similarity": (
        nng.tl.coexpression_network,
        dict(similarity="cosine"),
        ValueError,
        "must be one of",
    ),
    "factor": (nng.tl.coexpression_network, dict(factors="x"), KeyError, "no factor"),
    "layer": (nng.tl.gene_importance, dict(layer="x"), KeyError, "'x'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case, fitted):
    verb, options, error, match = REFUSED[case]
    before = snapshot(fitted)
    with pytest.raises(error, match=match):
        verb(fitted, **options)
    assert_same(snapshot(fitted), before)


def test_names_of_genes_tell_them_apart(fitted):
    adata = fitted.copy()
    nng.tl.coexpression_network(adata, quantile=0.8)
    adata.var_names = ["gene"] * adata.n_vars
    for reader in (
        nng.tl.coexpression_network,
        nng.get.coexpression_graph,
        nng.pl.coexpression_network,
    ):
        with pytest.raises(ValueError, match="var_names_make_unique"):
            reader(adata)


def test_what_is_read_must_be_there(fitted):
    with pytest.raises(KeyError, match="coexpression_network` first"):
        nng.get.coexpression_graph(fitted)
    with pytest.raises(KeyError, match="No gene of markers"):
        nng.get.marker_overlap(fitted, {"a": ["none"]})
    with pytest.raises(TypeError, match="list of genes"):
        nng.get.marker_overlap(fitted, {"a": "g1"})
    with pytest.raises(ValueError, match="lacks the columns"):
        nng.get.marker_overlap(fitted, pd.DataFrame({"gene": ["g1"]}))
