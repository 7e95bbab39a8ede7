"""Factors against cell types, regions and numbers; and what other packages take."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

import nonneg as nng
from testing.nonneg import assert_same, snapshot


@pytest.fixture
def adata():
    adata = nng.datasets.quilt(12, 30)
    x, _ = adata.obsm["spatial"].T
    adata.obs["side"] = pd.Categorical(np.where(x < 6, "west", "east"))
    adata.obs["depth"] = adata.X.sum(1)
    adata.obsm["types"] = pd.DataFrame(
        np.random.default_rng(0).random((adata.n_obs, 3)),
        index=adata.obs_names,
        columns=["a", "b", "c"],
    )
    return adata


def test_as_numpy_and_scipy(adata):
    before = snapshot(adata)
    scores, types = adata.obsm["truth"], adata.obsm["types"].to_numpy()
    found = nng.get.factor_correlation(adata, "types", key="truth")
    assert list(found.columns) == ["a", "b", "c"]
    assert list(found.index) == [f"truth_{i}" for i in range(4)]
    np.testing.assert_allclose(
        found, np.corrcoef(scores.T, types.T)[:4, 4:], atol=1e-12
    )
    ranks = nng.get.factor_correlation(adata, "types", key="truth", method="spearman")
    expected = spearmanr(scores, types).statistic[:4, 4:]
    np.testing.assert_allclose(ranks, expected, atol=1e-12)
    side = nng.get.factor_correlation(adata, "side", key="truth")
    west = (adata.obs["side"] == "west").to_numpy(float)
    np.testing.assert_allclose(
        side["west"], np.corrcoef(scores.T, west)[:4, 4], atol=1e-12
    )
    np.testing.assert_allclose(side["west"], -side["east"], atol=1e-12)
    depth = nng.get.factor_correlation(adata, "depth", key="truth")
    assert depth.shape == (4, 1)
    assert_same(snapshot(adata), before)


def test_what_does_not_vary_or_is_missing(adata):
    adata.obsm["types"]["b"] = 0.1
    adata.obsm["types"].iloc[:7, 0] = np.nan
    found = nng.get.factor_correlation(adata, "types", key="truth")
    assert found["b"].isna().all()
    rest = np.corrcoef(adata.obsm["truth"][7:].T, adata.obsm["types"]["a"][7:])
    np.testing.assert_allclose(found["a"], rest[:4, 4], atol=1e-12)


def test_numbers_beside_results_of_the_same_name(adata):
    adata.obs["depth"] = pd.array(range(adata.n_obs), "Int64")
    adata.uns["depth"] = {}
    found = nng.get.factor_correlation(adata, "depth", key="truth")
    rest = np.corrcoef(adata.obsm["truth"].T, np.arange(adata.n_obs))
    np.testing.assert_allclose(found["depth"], rest[:4, 4], atol=1e-12)
    adata.obs["depth"] = np.arange(adata.n_obs) * 1j
    with pytest.raises(ValueError, match="holds complex numbers"):
        nng.get.factor_correlation(adata, "depth", key="truth")


def test_refusals(adata):
    with pytest.raises(KeyError, match=r"other='cell_type' is neither .*'types'"):
        nng.get.factor_correlation(adata, "cell_type", key="truth")
    with pytest.raises(ValueError, match="method='kendall'"):
        nng.get.factor_correlation(adata, "side", key="truth", method="kendall")
    adata.obsm["types"].iloc[2:] = np.nan
    with pytest.raises(ValueError, match="but 2 have both"):
        nng.get.factor_correlation(adata, "types", key="truth")


def test_picture(adata):
    """Columns beside the factors that they go with."""
    adata.obsm["types"] = pd.DataFrame(
        np.column_stack([np.ones(adata.n_obs), adata.obsm["truth"][:, ::-1]]),
        index=adata.obs_names,
        columns=["none", "d", "c", "b", "a"],
    )
    ax = nng.pl.factor_correlation(adata, "types", key="truth", factors=[0, 1, 2, 3])
    labels = [text.get_text() for text in ax.get_xticklabels()]
    assert [label for label in labels if label != "none"] == ["a", "b", "c", "d"]
    shown = np.asarray(ax.images[0].get_array())[:, [labels.index(x) for x in "abcd"]]
    np.testing.assert_allclose(np.diag(shown), 1)
    part = nng.pl.factor_correlation(
        adata, "side", key="truth", factors="truth_2", ax=plt.figure().subplots()
    )
    assert [text.get_text() for text in part.get_yticklabels()] == ["truth_2"]


@pytest.mark.parametrize("order", [["w", "x", "e", "m"], ["e", "m", "w"]])
def test_categories_keep_their_order(adata, order):
    """In tables and pictures, whichever factors they go with."""
    names = np.array(["w", "e", "m"])[adata.obsm["truth"][:, :3].argmax(axis=1)]
    adata.obs["layer"] = pd.Categorical(names, categories=order)
    used = [name for name in order if name != "x"]
    table = nng.get.factor_correlation(adata, "layer", key="truth")
    assert list(table.columns) == used
    ax = nng.pl.factor_correlation(adata, "layer", key="truth")
    assert [text.get_text() for text in ax.get_xticklabels()] == used
    np.testing.assert_allclose(ax.images[0].get_array(), table)


# What docs/spatial_models.md shows.


@pytest.fixture
def sets():
    """One set of the genes of each pattern of the simulation."""
    truth = nng.datasets.quilt(12, 60)
    # No set fits without a rest.
    truth.varm["truth"] += np.random.default_rng(0).random((60, 4)).astype(np.float32)
    pattern = truth.var["pattern"].astype(str)
    return truth, {
        name: list(genes) for name, genes in truth.var_names.groupby(pattern).items()
    }


@pytest.mark.filterwarnings("ignore")
def test_hand_over_to_decoupler(sets):
    dc = pytest.importorskip("decoupler", minversion="2")
    adata, genes = sets
    net = pd.DataFrame(
        [(name, gene) for name, own in genes.items() for gene in own],
        columns=["source", "target"],
    )
    loadings = nng.get.loadings_df(adata, "truth", normalize="spde").dropna()
    scores, _ = dc.mt.ulm(loadings.T, net, tmin=3)
    assert list(scores.index) == [f"truth_{i}" for i in range(4)]
    assert sorted(scores.idxmax(axis=1)) == sorted(scores.columns)


@pytest.mark.filterwarnings("ignore")
def test_hand_over_to_gseapy(sets):
    gp = pytest.importorskip("gseapy")
    adata, genes = sets
    found = []
    top = nng.get.top_genes(adata, 10, key="truth", method="specificity")
    for _, own in top.groupby("factor"):
        result = gp.enrich(
            gene_list=own["gene"].tolist(),
            gene_sets=genes,
            background=adata.var_names.tolist(),
            outdir=None,
        )
        found.append(result.results.sort_values("P-value")["Term"].iloc[0])
    assert sorted(found) == sorted(genes)
