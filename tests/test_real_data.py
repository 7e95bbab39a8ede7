"""Real sections and cells: known layers and types, and the tools that follow."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.stats import norm
from sklearn.metrics import normalized_mutual_info_score

import nonneg as nng
from testing.nonneg import needs, real_data

pytestmark = [
    pytest.mark.data,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # One spot of the olfactory bulb has two counts, none of them in deviant genes.
    pytest.mark.filterwarnings("ignore:adata.X has 1 observation that is all zero"),
    # As far as they are measured, genes are compared with what others integrate.
    pytest.mark.filterwarnings("ignore:.*found in, or carried by:UserWarning"),
]


SEEDS = pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]
)


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
@pytest.mark.slow  # compiles what scanpy calls
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


# Integration: bounds are what three seeds gave, with a margin.


def seen_in_all(adata, batch_key):
    """Without the genes that are zero in all cells of a data set."""
    seen = [
        np.asarray((adata[adata.obs[batch_key] == name].X != 0).sum(0)).ravel() > 0
        for name in adata.obs[batch_key].unique()
    ]
    return adata[:, np.all(seen, axis=0)].copy()


@pytest.fixture(scope="module")
def pbmc():
    """Control and stimulated cells, counts."""
    return seen_in_all(ad.read_h5ad(real_data("pbmc_ifnb.h5ad")), "batch")


def liger_genes(adata, batch_key):
    """Names of genes that vary more than counting explains in some data set."""
    chosen = set()
    for name in adata.obs[batch_key].unique():
        counts = adata[adata.obs[batch_key] == name].X.toarray().astype(float)
        total = counts.sum(1, keepdims=True)
        mean, var = (counts / total).mean(0), (counts / total).var(0, ddof=1)
        noise = (1 / total).mean()
        z = norm.ppf(1 - 0.99 / (2 * counts.shape[1]))
        above = var / noise > mean + z * np.sqrt(mean * noise / len(counts))
        above &= var > 10**0.1 * mean * noise
        chosen |= set(adata.var_names[above])
    return chosen


@pytest.fixture(scope="module")
def like_rliger():
    """The genes that rliger fitted, and each data set's own NMF of them."""
    raw = ad.read_h5ad(real_data("pbmc_ifnb.h5ad"))
    genes = sorted(liger_genes(raw, "batch"))
    # 173 for rliger, too, of which 50 are stored with its result.
    stored = np.load(real_data("pbmc_ifnb_rliger_k20_lambda5.npz"))["genes"]
    assert len(genes) == 173
    assert set(stored) <= set(genes)
    scores = {}
    for name in ("ctrl", "stim"):
        cells = raw[raw.obs["batch"] == name]
        x = cells.X.multiply(1 / cells.X.sum(1)).toarray()[:, raw.var_names.isin(genes)]
        x = (x / np.sqrt((x**2).sum(0) / (len(x) - 1))).astype(np.float32)
        alone = ad.AnnData(x)
        nng.tl.nmf(alone, 40, max_iter=500)
        scores[name] = alone.obsm["X_nmf"]
    return genes, scores


@SEEDS
def test_mixes_conditions_as_well_as_rliger(pbmc, like_rliger, seed):
    """The genes, 20 factors and the penalty of the result that came with the data.

    Measured with ten seeds: .881 to .981 aligned (mean .912), rliger .900; agreement
    with the structure of single data sets .401 to .437, rliger .395.
    """
    genes, alone = like_rliger
    adata = pbmc.copy()
    nng.tl.inmf(
        adata, 20, batch_key="batch", mask_var=genes, size_factors="total", rng=seed
    )
    nng.tl.quantile_align(adata)
    batch = adata.obs["batch"]
    before, ours, rliger = (
        (
            nng.metrics.alignment(adata.obsm[key], batch),
            nng.metrics.agreement(adata.obsm[key], alone, batch),
        )
        for key in ("X_inmf", "X_inmf_aligned", "rliger_Hnorm")
    )
    print(f"seed {seed}: before {before}, ours {ours}, rliger {rliger}")
    assert rliger == pytest.approx((0.900, 0.395), abs=0.01)
    assert ours[0] > rliger[0] - 0.04
    assert ours[0] > before[0] + 0.08
    assert ours[1] > rliger[1] - 0.02


def test_aligns_the_scores_of_rliger_as_rliger_did(pbmc):
    """Its own scores by our quantiles. Measured: a median correlation of .986."""
    stored = np.load(real_data("pbmc_ifnb_rliger_k20_lambda5.npz"))
    adata = pbmc.copy()
    adata.obsm["X_rliger"] = np.hstack([stored["H_ctrl"], stored["H_stim"]]).T
    adata.varm["rliger"] = np.zeros((adata.n_vars, 20))
    adata.uns["rliger"] = {
        "schema": 1,
        "method": "inmf",
        "params": {"batch_key": "batch"},
        "obsm_key": "X_rliger",
        "varm_key": "rliger",
    }
    nng.tl.quantile_align(adata, key="rliger")
    ours, theirs = adata.obsm["X_rliger_aligned"], adata.obsm["rliger_Hnorm"]
    r = np.diagonal(np.corrcoef(ours.T, theirs.T)[:20, 20:])
    print(f"correlations: median {np.median(r):.3f}, least {r.min():.3f}")
    assert np.median(r) > 0.95
    mixed = [nng.metrics.alignment(x, adata.obs["batch"]) for x in (ours, theirs)]
    assert mixed[0] == pytest.approx(mixed[1], abs=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_response_to_interferon_is_specific(pbmc, seed):
    """Genes of the response differ between data sets more than those of cell types.

    Measured: medians of .111 to .113 against .045 to .048; .89 to .95 of pairs.
    """
    adata = pbmc.copy()
    nng.tl.inmf(adata, 10, batch_key="batch", lam=1, size_factors="total", rng=seed)
    batch = adata.obs["batch"]
    mean = np.stack(
        [
            adata.obsm["X_inmf"][batch == name].mean(0)
            for name in adata.uns["inmf"]["batches"]
        ]
    )
    specific = (adata.varm["inmf_specific"] * mean).sum((1, 2))
    shared = (adata.varm["inmf"][:, None] * mean).sum((1, 2))
    share = pd.Series(specific / (specific + shared), index=adata.var_names)
    response = share[
        ["ISG15", "RSAD2", "CXCL10", "GBP1", "IFI27", "HERC6", "IDO1", "APOBEC3A"]
    ]
    types = share[["CD79A", "LYZ", "NKG7", "GNLY", "CD14", "FCGR3A", "CCR7", "MS4A7"]]
    above = (response.to_numpy()[:, None] > types.to_numpy()).mean()
    print(
        f"seed {seed}: medians {response.median():.3f}, {types.median():.3f}, "
        f"{above:.2f} of pairs"
    )
    assert response.median() > 1.5 * types.median()
    assert above > 0.75


@pytest.mark.parametrize("seed", range(3))
def test_integrates_rna_and_chromatin(seed):
    """Measured: .51 to .56 before, .79 to .87 after alignment to the RNA."""
    adata = seen_in_all(ad.read_h5ad(real_data("bmmc_rna_atac.h5ad")), "batch")
    nng.tl.inmf(adata, 10, batch_key="batch", size_factors="total", rng=seed)
    nng.tl.quantile_align(adata, reference="rna")
    before, after = (
        nng.metrics.alignment(adata.obsm[key], adata.obs["batch"])
        for key in ("X_inmf", "X_inmf_aligned")
    )
    print(f"seed {seed}: {before:.3f}, {after:.3f}")
    assert after > before + 0.1
    assert after > 0.65


@SEEDS
def test_undoes_gains_of_genes(seed):
    """Cells of one experiment in two halves, one with a gain for every gene.

    Measured: an NMF of both mixes them by .01 to .02, iNMF by 1.00 to 1.05; purity
    .744 to .781.
    """
    sc = pytest.importorskip("scanpy")
    adata = sc.datasets.pbmc68k_reduced().raw.to_adata()
    rng = np.random.default_rng(seed)
    half = rng.permutation(adata.n_obs) < adata.n_obs // 2
    gain = np.where(half[:, None], np.exp(rng.normal(0, 0.5, adata.n_vars)), 1)
    adata.X = sp.csr_matrix(adata.X.multiply(gain), dtype=np.float32)
    adata.obs["half"] = np.where(half, "a", "b")
    adata = seen_in_all(adata, "half")
    nng.tl.nmf(adata, 10, max_iter=500)
    nng.tl.inmf(adata, 10, batch_key="half", rng=seed)
    nng.tl.quantile_align(adata)
    together, apart = (
        nng.metrics.alignment(adata.obsm[key], adata.obs["half"])
        for key in ("X_inmf_aligned", "X_nmf")
    )
    purity = nng.metrics.purity(adata.obs["inmf_cluster"], adata.obs["bulk_labels"])
    print(f"seed {seed}: NMF {apart:.3f}, iNMF {together:.3f}, purity {purity:.3f}")
    assert apart < 0.1
    assert together > 0.9
    assert purity > 0.65
