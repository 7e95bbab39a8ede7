"""Tissue layers from real sections, and the tools that follow."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score

import nonneg as nng
from testing.nonneg import needs, real_data

pytestmark = [
    pytest.mark.data,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # One spot of the olfactory bulb has two counts, none of them in deviant genes.
    pytest.mark.filterwarnings("ignore:adata.X has 1 observations and 0 variables"),
]


def agreement(adata, labels):
    """Mutual information of the leading factor and the labels, NaN dropped.

    The leading factor is the one closest to its own maximum, so that abundant
    factors do not lead everywhere.
    """
    known = adata.obs[labels].notna().to_numpy()
    leading = nng.get.factor_df(adata, normalize="max").to_numpy().argmax(1)
    return normalized_mutual_info_score(adata.obs[labels][known], leading[known])


@pytest.fixture(scope="module")
def mob():
    adata = ad.read_h5ad(real_data("mob.h5ad"))
    nng.pp.deviant_genes(adata, 2000, subset=True)
    nng.tl.nmf(adata, 10)
    return adata


def test_layers_of_the_olfactory_bulb(mob):
    known = mob.obs["layer"].notna().to_numpy()
    assert known.sum() == 260
    leading = mob.obsm["X_nmf"].argmax(1)
    nmi = normalized_mutual_info_score(mob.obs["layer"][known], leading[known])
    assert nmi >= 0.55


@pytest.mark.parametrize("k", [8, 10])
def test_regions_of_the_cortex(k):
    """osmFISH counts of 33 genes, as they are."""
    adata = ad.read_h5ad(real_data("osmfish_cortex.h5ad"))
    adata = adata[adata.obs["valid"].to_numpy(bool)].copy()
    assert adata.shape == (4839, 33)
    nng.tl.nmf(adata, k)
    assert agreement(adata, "region") >= 0.35


def test_deviant_genes_are_better_than_the_first_ones(mob):
    adata = ad.read_h5ad(real_data("mob.h5ad"))[:, :2000].copy()
    nng.tl.nmf(adata, 10)
    assert agreement(mob, "layer") > agreement(adata, "layer") + 0.05


@needs.igraph
@needs.leidenalg
def test_neighbours_and_clusters(mob):
    """scanpy reads the scores as it reads any representation."""
    import scanpy as sc

    adata = mob.copy()
    sc.pp.neighbors(adata, use_rep="X_nmf", random_state=0)
    sc.tl.leiden(adata, flavor="igraph", n_iterations=2, directed=False)
    known = adata.obs["layer"].notna().to_numpy()
    nmi = normalized_mutual_info_score(
        adata.obs["layer"][known], adata.obs["leiden"][known]
    )
    assert nmi > 0.35
    assert adata.uns["neighbors"]["params"]["use_rep"] == "X_nmf"


def test_spatial_statistics(mob):
    """squidpy reads the scores from obsm, and what they lead to from obs."""
    sq = pytest.importorskip("squidpy")
    adata = mob.copy()
    sq.gr.spatial_neighbors_knn(adata, n_neighs=6)
    sq.gr.spatial_autocorr(adata, attr="obsm", layer="X_nmf", mode="moran")
    moran = adata.uns["moranI"]["I"]
    assert len(moran) == 10
    assert moran.max() > 0.5
    # The same number by the formula, for the leading one.
    column = int(str(moran.index[0]))
    z = adata.obsm["X_nmf"][:, column] - adata.obsm["X_nmf"][:, column].mean()
    graph = adata.obsp["spatial_connectivities"]
    graph = graph.multiply(1 / graph.sum(1)).tocsr()
    assert moran.iloc[0] == pytest.approx(z @ (graph @ z) / (z @ z), rel=1e-3)
    adata.obs["leading"] = adata.obsm["X_nmf"].argmax(1).astype(str)
    adata.obs["leading"] = adata.obs["leading"].astype("category")
    sq.gr.nhood_enrichment(
        adata, cluster_key="leading", show_progress_bar=False, seed=0
    )
    scores = adata.uns["leading_nhood_enrichment"]["zscore"]
    # Spots of a layer lie together.
    assert np.median(np.diagonal(scores)) > 2
    off = scores[~np.eye(len(scores), dtype=bool)]
    assert np.nanmedian(off) < np.nanmedian(np.diagonal(scores))
