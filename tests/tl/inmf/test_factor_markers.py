"""Marker genes of factors: the table, what is a marker, names, refusals."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.stats import false_discovery_control, norm, rankdata

import nonneg as nng
from testing.nonneg import assert_same, snapshot

COLUMNS = [
    "factor",
    "kind",
    "dataset",
    "gene",
    "rank",
    "weight",
    "score",
    "log_fold_change",
    "p_adjusted",
    "n_datasets",
]


def clustered(n_obs=(160, 130, 110), n_vars=30, k=3, **kwargs):
    adata = nng.datasets.batches(n_obs, n_vars, k, **kwargs)
    adata.obs["truth_cluster"] = adata.obs["cell_type"].cat.codes.astype(str)
    return adata


def markers(adata, **kwargs):
    nng.tl.factor_markers(adata, key="truth", **kwargs)
    return adata.uns["truth_markers"]


def log_normal(adata):
    x = adata.X.toarray().astype(np.float64)
    total = x.sum(axis=1, keepdims=True)
    return np.log1p(x / total * np.median(total)).astype(np.float32)


def wilcoxon(x, y):
    """Normal score of the rank sum of x, corrected for ties."""
    n, m = len(x), len(y)
    ranks = rankdata(np.concatenate([x, y]))
    _, ties = np.unique(ranks, return_counts=True)
    correction = 1 - (ties**3 - ties).sum() / ((n + m) ** 3 - (n + m))
    sd = np.sqrt(correction * n * m * (n + m + 1) / 12)
    return (ranks[:n].sum() - n * (n + m + 1) / 2) / sd if sd > 0 else 0.0


def compare(x, y):
    """Score, fold change and adjusted p of every gene."""
    score = np.array([wilcoxon(a, b) for a, b in zip(x.T, y.T, strict=True)])
    p = false_discovery_control(2 * norm.sf(np.abs(score)))
    ratio = (np.expm1(x.mean(0)) + 1e-9) / (np.expm1(y.mean(0)) + 1e-9)
    return np.array([score, np.log2(ratio), p])


def slow_markers(adata, n_genes, max_specificity, min_cells):
    """The table in loops over factors, data sets and genes."""
    x = log_normal(adata)
    W, V = adata.varm["truth"], adata.varm["truth_specific"]
    factor = adata.obs["truth_cluster"].astype(int).to_numpy()
    batch = adata.obs["batch"].cat.codes.to_numpy()
    names = list(adata.obs["batch"].cat.categories)
    table = nng.get.dataset_specificity(adata, key="truth")
    rows = []

    def add(k, kind, dataset, weight, tested, n_datasets):
        score, change, p = tested
        passed = np.flatnonzero(
            (score > 0) & (change >= 1) & (p <= 0.05) & (weight > 0)
        )
        order = passed[np.argsort(-weight[passed], kind="stable")][:n_genes]
        for rank, j in enumerate(order, 1):
            tests = [score[j], change[j], p[j], n_datasets]
            name = f"truth_{k}"
            rows.append([name, kind, dataset, f"gene_{j}", rank, weight[j], *tests])

    for k in range(W.shape[1]):
        parts = []
        for d in range(len(names)):
            here, rest = (batch == d) & (factor == k), (batch == d) & (factor != k)
            if min(here.sum(), rest.sum()) >= min_cells:
                parts.append(compare(x[here], x[rest]))
        if parts:
            score, change, p = np.stack(parts, axis=1)
            weakest = score.min(axis=0), change.min(axis=0), p.max(axis=0)
            weight = W[:, k] + V[:, :, k].min(axis=1)
            add(k, "shared", "", weight, weakest, len(parts))
        if table.iloc[k].abs().max() > max_specificity:
            continue
        enough = [
            d
            for d in range(len(names))
            if ((batch == d) & (factor == k)).sum() >= min_cells
            and ((batch != d) & (factor == k)).sum() >= min_cells
        ]
        for d in enough:
            here, rest = (batch == d) & (factor == k), (batch != d) & (factor == k)
            tested = compare(x[here], x[rest])
            add(k, "specific", names[d], V[:, d, k], tested, len(enough))
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.mark.parametrize("n_obs", [(160, 130), (160, 130, 110)])
def test_against_loops(n_obs):
    adata = clustered(n_obs, specific=0.5, depth=150)
    found = markers(adata, n_genes=3, max_specificity=20, min_cells=35)
    expected = slow_markers(adata, n_genes=3, max_specificity=20, min_cells=35)
    # Both kinds, and not of all factors and data sets alike.
    assert set(expected["kind"]) == {"shared", "specific"}
    assert expected["rank"].max() == 3
    assert list(found.columns) == COLUMNS
    pd.testing.assert_frame_equal(
        found.reset_index(drop=True), expected, rtol=1e-4, check_dtype=False
    )


def test_only_factors_alike_in_all_data_sets():
    adata = clustered((160, 130), specific=1, n_vars=60)
    values = nng.get.dataset_specificity(adata, key="truth").iloc[:, 0].abs()
    threshold = float(np.sort(values)[1])
    found = markers(adata, max_specificity=threshold)
    specific = found[found["kind"] == "specific"]
    assert set(specific["factor"]) == set(values.index[values <= threshold])
    assert set(found.loc[found["kind"] == "shared", "factor"]) == set(values.index)
    # A tight threshold leaves none, and the table is still one.
    assert set(markers(adata, max_specificity=0)["kind"]) == {"shared"}


def test_finds_the_truth():
    adata = clustered((400, 300), 100, 4, specific=0.5)
    W, V = adata.varm["truth"], adata.varm["truth_specific"]
    found = markers(adata, max_specificity=100)
    names = list(adata.obs["batch"].cat.categories)
    j = adata.var_names.get_indexer(found["gene"])
    k = found["factor"].str.removeprefix("truth_").astype(int).to_numpy()
    shared = (found["kind"] == "shared").to_numpy()
    # Means of shared markers are higher in cells of the factor, in both data sets.
    factor = adata.obs["truth_cluster"].astype(int).to_numpy()
    for d, name in enumerate(names):
        batch = (adata.obs["batch"] == name).to_numpy()
        mean = np.log1p(adata.obsm["truth"] @ (W + V[:, d]).T)
        for gene, of in zip(j[shared], k[shared], strict=True):
            inside = mean[batch & (factor == of), gene].mean()
            assert inside > mean[batch & (factor != of), gene].mean()
    d = np.array([names.index(name) for name in found.loc[~shared, "dataset"]])
    assert (V[j[~shared], d, k[~shared]] > 0).all()
    # The gene that leads a specific metagene and no shared one is found.
    lead = np.where(W[:, None] == 0, V, 0).argmax(axis=0)
    listed = set(zip(found["factor"], found["dataset"], found["gene"], strict=True))
    for d, name in enumerate(names):
        for k in range(4):
            assert (f"truth_{k}", name, f"gene_{lead[d, k]}") in listed


def test_batch_effects_make_no_shared_marker():
    """A factor of one data set mainly, and a gene that this data set has more of."""
    adata = clustered((300, 300), depth=300)
    rng = np.random.default_rng(0)
    x = adata.X.toarray()
    first = (adata.obs["batch"] == "batch_0").to_numpy()
    is_0 = (adata.obs["truth_cluster"] == "0").to_numpy()
    keep = ~is_0 | first | (np.arange(adata.n_obs) % 5 == 0)
    x[:, 7] = rng.poisson(np.where(first, 20, 1))
    adata.varm["truth"][7] = 1
    adata.X = x
    adata = adata[keep].copy()
    found = markers(adata)
    genes = found.loc[(found["kind"] == "shared") & (found["factor"] == "truth_0")]
    assert len(genes)
    assert "gene_7" not in set(genes["gene"])
    # It would be one if cells were pooled.
    inside = (adata.obs["truth_cluster"] == "0").to_numpy()
    pooled = np.log1p(np.asarray(adata.X)[:, 7])
    assert wilcoxon(pooled[inside], pooled[~inside]) > 5


def test_any_names():
    names = ["rest", "a/b", "nan"]
    plain = clustered()
    expected = markers(plain)
    adata = clustered()
    renamed = dict(zip(adata.obs["batch"].cat.categories, names, strict=True))
    adata.obs["batch"] = adata.obs["batch"].cat.rename_categories(renamed)
    adata.uns["truth"]["batches"] = np.array(names)
    found = markers(adata)
    assert {"rest", "a/b", "nan", ""} == set(found["dataset"])
    expected["dataset"] = expected["dataset"].replace(renamed)
    pd.testing.assert_frame_equal(found, expected)


def test_repeated_gene_names():
    adata = clustered()
    expected = markers(adata)
    adata.var_names = ["same"] * adata.n_vars
    found = markers(adata)
    assert set(found["gene"]) == {"same"}
    pd.testing.assert_frame_equal(
        found.drop(columns="gene"), expected.drop(columns="gene")
    )


def test_labels_by_name_or_number():
    adata = clustered()
    expected = markers(adata)
    number = adata.obs["truth_cluster"].astype(int)
    for labels in (number, "truth_" + number.astype(str), number.astype("category")):
        adata.obs["truth_cluster"] = labels
        pd.testing.assert_frame_equal(markers(adata), expected)


def test_cells_without_a_cluster_count_nowhere():
    adata = clustered()
    adata.X = log_normal(adata)
    out = np.arange(adata.n_obs) % 7 == 0
    expected = markers(adata[~out].copy(), log_normalized=True)
    for label in ("-1", np.nan):
        labels = adata.obs["truth_cluster"].astype(object)
        labels[out] = label
        adata.obs["truth_cluster"] = labels
        pd.testing.assert_frame_equal(markers(adata, log_normalized=True), expected)


def test_genes_outside_the_mask():
    adata = clustered()
    x = log_normal(adata)
    expected = markers(ad.AnnData(x, **parts(adata))[:, 6:].copy(), log_normalized=True)
    for key in ("truth", "truth_specific"):
        adata.varm[key][:6] = np.nan
    # Totals are those of all genes.
    pd.testing.assert_frame_equal(markers(adata), expected, rtol=1e-4)


def parts(adata):
    return dict(
        obs=adata.obs,
        var=adata.var,
        obsm=dict(adata.obsm),
        varm=dict(adata.varm),
        uns=dict(adata.uns),
    )


def test_layers_and_normalisation():
    # An odd number of cells, whose median is the total of one of them.
    adata = clustered((160, 130, 111))
    expected = markers(adata)
    adata.layers["log"] = log_normal(adata)
    found = markers(adata, layer="log", log_normalized=True)
    pd.testing.assert_frame_equal(found, expected, rtol=1e-4)
    adata.X = adata.X.toarray()
    pd.testing.assert_frame_equal(markers(adata), expected)
    # Depth has no part in it, except for the median, which stays.
    total = adata.X.sum(axis=1, keepdims=True)
    adata.X = adata.X * 4.0 ** np.sign(total - np.median(total))
    pd.testing.assert_frame_equal(markers(adata), expected, rtol=1e-4)


def test_empty_cells_and_no_markers():
    adata = clustered()
    adata.X = sp.csr_matrix(adata.X.multiply(np.arange(adata.n_obs)[:, None] > 2))
    assert len(markers(adata))
    assert len(markers(adata, min_cells=10_000)) == 0
    assert adata.uns["truth_markers"].dtypes["score"] == np.float64


@pytest.mark.parametrize("min_cells", [10, 10_000])
def test_round_trip(tmp_path, min_cells):
    adata = clustered()
    table = markers(adata, min_cells=min_cells)
    adata.write_h5ad(tmp_path / "markers.h5ad")
    read = ad.read_h5ad(tmp_path / "markers.h5ad").uns["truth_markers"]
    pd.testing.assert_frame_equal(read, table, check_dtype=False)


def test_many_factors():
    """More groups than pandas adds as columns without a warning."""
    adata = clustered((600, 500), 60, 40)
    found = markers(adata, min_cells=2)
    assert found["factor"].nunique() > 30


def test_one_data_set():
    adata = clustered()
    first = adata[adata.obs["batch"] == "batch_0"].copy()
    first.uns["truth"]["batches"] = np.array(["batch_0"])
    first.varm["truth_specific"] = first.varm["truth_specific"][:, :1]
    found = markers(first)
    assert set(found["kind"]) == {"shared"}
    assert (found["n_datasets"] == 1).all()


def test_refusals(tmp_path):
    adata = clustered()
    before = snapshot(adata)
    for name, value in (
        ("n_genes", 0),
        ("min_cells", 0),
        ("max_specificity", -1),
        ("min_log_fold_change", -1),
        ("max_p", 0),
    ):
        with pytest.raises(ValueError, match=f"{name}={value}"):
            markers(adata, **{name: value})
    with pytest.raises(KeyError, match=r"'none' is not in adata.layers"):
        markers(adata, layer="none")
    assert_same(snapshot(adata), before)

    adata.layers["centred"] = adata.X.toarray() - 1
    for normalised in (False, True):
        with pytest.raises(ValueError, match=r"negative entries.* log_normalized=True"):
            markers(adata, layer="centred", log_normalized=normalised)
    for value, error, match in (
        (np.nan, ValueError, "contains NaN"),
        ("many", TypeError, "must hold numbers, but its dtype is object"),
    ):
        wrong = adata.copy()
        wrong.layers["wrong"] = wrong.X.toarray().astype(object)
        wrong.layers["wrong"][0, 0] = value
        if error is ValueError:
            wrong.layers["wrong"] = wrong.layers["wrong"].astype(np.float32)
        for normalised in (False, True):
            with pytest.raises(error, match=rf"layers\['wrong'\] {match}"):
                markers(wrong, layer="wrong", log_normalized=normalised)
    adata.write_h5ad(tmp_path / "backed.h5ad")
    backed = ad.read_h5ad(tmp_path / "backed.h5ad", backed="r")
    with pytest.raises(TypeError, match=r"in memory. Call `adata.to_memory"):
        markers(backed)
    adata.obs["truth_cluster"] = "Astro"
    with pytest.raises(ValueError, match=r"factors of 'truth'.*\['Astro'\]. Call `non"):
        markers(adata)
    del adata.obs["truth_cluster"]
    with pytest.raises(KeyError, match=r"Call `nonneg.tl.quantile_align` first"):
        markers(adata)
    del adata.obs["batch"]
    adata.obs["truth_cluster"] = "0"
    with pytest.raises(KeyError, match=r"'batch' is not in adata.obs"):
        markers(adata)
