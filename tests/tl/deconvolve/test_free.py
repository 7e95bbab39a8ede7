"""Types without a reference: their signatures, names, and what must not change them."""

from __future__ import annotations

import anndata as ad
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.decomposition import NMF
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score

import nonneg as nng
from nonneg.models.deconvolution.fit import make_layer, weigh
from nonneg.models.deconvolution.free import FreeLayer
from nonneg.models.deconvolution.graph import neighbour_graph
from nonneg.models.deconvolution.naming import match_markers
from nonneg.models.deconvolution.problem import Mixture, Tuning
from nonneg.models.deconvolution.solver import DeconvolutionSolver
from testing.nonneg import assert_same, real_data, snapshot

TYPES = [f"type_{i}" for i in range(5)]


@pytest.fixture(scope="module")
def simulated():
    adata, reference = nng.datasets.spots(16, 200, rng=1)
    types = nng.pp.signatures(reference, "cell_type")
    marker_of = types.var["marker_of"]
    strong = types.var["log2_fold_change"] > 1.5
    markers = {t: list(types.var_names[(marker_of == t) & strong]) for t in TYPES}
    return adata, markers


@pytest.fixture
def section(simulated):
    return simulated[0].copy()


@pytest.fixture
def markers(simulated):
    return dict(simulated[1])


@pytest.fixture(scope="module")
def fitted(simulated):
    return nng.tl.deconvolve(simulated[0], markers=simulated[1], copy=True)


def cosine(a, b):
    """Smallest and mean cosine of matched signatures, over genes that both have."""
    found = nng.metrics.match_factors(a, b).similarity
    return found.min(), found.mean()


def test_truth_is_found_and_named(fitted):
    adata = fitted
    truth = adata.varm["truth"] / adata.varm["truth"].sum(0)
    assert sorted(adata.uns["deconv"]["cell_types"]) == TYPES
    frame = nng.get.factor_df(adata, "deconv")[TYPES]
    r = [
        np.corrcoef(frame[t], adata.obsm["truth_rna"][:, i])[0, 1]
        for i, t in enumerate(TYPES)
    ]
    assert np.median(r) > 0.97
    assert min(r) > 0.85
    assert cosine(adata.varm["deconv"], truth)[1] > 0.95
    used = adata.var["deconv_used"].to_numpy()
    np.testing.assert_allclose(adata.varm["deconv"][used].sum(0), 1, rtol=1e-4)
    # Of cells nothing is known.
    np.testing.assert_allclose(adata.obsm["X_deconv"], adata.obsm["X_deconv_rna"])


@pytest.mark.slow
def test_better_than_a_plain_factorization():
    """Of the same counts, from scikit-learn, by the same divergence."""
    adata, _ = nng.datasets.spots(16, 200, rng=3)
    truth = adata.obsm["truth_rna"]
    plain = NMF(
        5, init="nndsvda", solver="mu", beta_loss="kullback-leibler", max_iter=500
    )
    scores = plain.fit_transform(adata.X) * plain.components_.sum(1)
    scores /= scores.sum(1, keepdims=True)
    nng.tl.deconvolve(adata, n_types=5)
    ours, theirs = (
        nng.metrics.match_factors(x, truth, metric="pearson").similarity.mean()
        for x in (adata.obsm["X_deconv"], scores)
    )
    assert ours > theirs


class TestSameEachRun:
    def test_seeds(self, section, markers, fitted):
        nng.tl.deconvolve(section, markers=markers, rng=7)
        np.testing.assert_array_equal(section.obsm["X_deconv"], fitted.obsm["X_deconv"])

    def test_order(self, section, markers, fitted):
        rng = np.random.default_rng(0)
        rows, genes = (rng.permutation(n) for n in section.shape)
        turned = section[rows][:, genes].copy()
        nng.tl.deconvolve(turned, markers=markers)
        assert list(turned.uns["deconv"]["cell_types"]) == list(
            fitted.uns["deconv"]["cell_types"]
        )
        np.testing.assert_allclose(
            turned.obsm["X_deconv"], fitted.obsm["X_deconv"][rows], atol=0.01
        )

    def test_other_counts_of_the_same_tissue(self, section, fitted):
        """Four fifths of the counts have the same types."""
        rng = np.random.default_rng(0)
        thinned = section.X.copy()
        thinned.data = rng.binomial(thinned.data.astype(int), 0.8).astype(np.float32)
        section.X = thinned
        nng.tl.deconvolve(section, n_types=5)
        assert cosine(section.varm["deconv"], fitted.varm["deconv"])[1] > 0.97


def test_objective_never_rises():
    """Plain and extrapolated steps, in amounts and signatures together."""
    rng = np.random.default_rng(0)
    x = sp.csr_matrix(rng.poisson(rng.gamma(0.5, 4, (60, 40))), dtype=np.float32)
    x = x[np.asarray(x.sum(1)).ravel() > 0]
    n = x.shape[0]
    coords = rng.random((n, 2))
    graph = neighbour_graph(coords, np.zeros(n, np.intp))
    profiles = rng.dirichlet(np.ones(40), 4)
    mixture = Mixture(x, profiles, graph, np.zeros(n, np.intp))
    tuning = Tuning(graph_weight=5.0, group_weight=2.0, gene_weights=False)
    scaled = weigh(mixture, tuning, None)
    layer = FreeLayer(make_layer("poisson", scaled, tuning, None), 1.0)
    for accelerate in (False, True):
        solver = DeconvolutionSolver(layer, 0.0, 60, accelerate)
        even = np.full((n, 4), 0.5)
        state = solver.init(np.concatenate([even, np.sqrt(profiles.T)]))
        values = [float(state.objective)]
        for _ in range(60):
            state = solver.step(state)
            values.append(float(state.objective))
        assert np.max(np.diff(values)) <= 1e-6 * abs(values[0])
        sums = (np.asarray(layer.split(state.roots).signatures) ** 2).sum(0)
        np.testing.assert_allclose(sums, 1, rtol=1e-5)


def test_a_step_is_that_of_the_divergence():
    """Without neighbours: expectation maximisation, written out."""
    rng = np.random.default_rng(0)
    x = rng.poisson(3.0, (30, 20)).astype(np.float32)
    b = rng.dirichlet(np.ones(20), 3)
    mixture = Mixture(sp.csr_matrix(x), b, None, np.zeros(30, np.intp))
    tuning = Tuning(gene_weights=False)
    layer = FreeLayer(
        make_layer("poisson", weigh(mixture, tuning, None), tuning, None), 1.0
    )
    u = rng.dirichlet(np.ones(3), 30)
    roots = jnp.concatenate([np.sqrt(u), np.sqrt(b.T)]).astype(jnp.float32)
    moved, objective = layer(roots)
    d = x.sum(1, keepdims=True)
    mean = d * (u @ b)
    ratio = x / mean
    expected = u * (ratio @ b.T)
    signatures = b * ((u * d).T @ ratio)
    signatures /= signatures.sum(1, keepdims=True)
    halves = layer.split(np.asarray(moved) ** 2)
    np.testing.assert_allclose(halves.amounts, expected, rtol=1e-4)
    np.testing.assert_allclose(halves.signatures, signatures.T, rtol=1e-4)
    # Depths are constants: the layer leaves them out of the logarithm.
    value = mean.sum() - (x * np.log(mean / d)).sum()
    np.testing.assert_allclose(float(objective), value, rtol=1e-5)


@pytest.mark.slow
def test_unrelated_locations(section, fitted):
    """Without coordinates the same types are found, less well."""
    del section.obsm["spatial"]
    nng.tl.deconvolve(section, n_types=5, spatial_key=None)
    assert section.uns["deconv"]["tuning"]["graph_weight"] == 0
    truth = section.obsm["truth_rna"]
    without, with_ = (
        nng.metrics.match_factors(
            a.obsm["X_deconv"], truth, metric="pearson"
        ).similarity.mean()
        for a in (section, fitted)
    )
    assert 0.8 < without <= with_ + 0.02


class TestNames:
    def test_one_to_one(self):
        """Of two sets for one signature, the one that stands out most is its name."""
        rng = np.random.default_rng(0)
        b = rng.gamma(5, 1, (3, 300))
        b[0, :20] *= 20
        b[1, 20:40] *= 20
        b /= b.sum(1, keepdims=True)
        sets = [np.arange(10), np.arange(20), np.arange(25, 40), np.arange(200, 220)]
        assert match_markers(b, sets).factor.tolist() == [-1, 0, 1, -1]

    def test_some(self, section, markers):
        """Types without markers have numbers; sets without a type are named."""
        sets = {"type_0": markers["type_0"], "any": list(section.var_names[::40])}
        with pytest.warns(UserWarning, match=r"1 of 2 marker sets.*\['any'\]"):
            nng.tl.deconvolve(section, n_types=5, markers=sets, graph_weight=30)
        names = list(section.uns["deconv"]["cell_types"])
        assert names.count("type_0") == 1
        assert sum(name.startswith("factor_") for name in names) == 4
        scores = section.uns["deconv"]["marker_scores"]
        table = scores.pivot_table(index="markers", columns="cell_type", values="score")
        assert set(table.index) == set(sets)
        assert set(table.columns) == set(names)
        assert table.loc["type_0"].idxmax() == "type_0"

    def test_with_a_slash(self, section, markers, tmp_path):
        """Of names that files do not take as keys."""
        sets = {"T/NK": markers["type_0"]}
        nng.tl.deconvolve(section, n_types=5, markers=sets, graph_weight=30)
        assert "T/NK" in list(section.uns["deconv"]["cell_types"])
        section.write_h5ad(tmp_path / "a.h5ad")
        again = ad.read_h5ad(tmp_path / "a.h5ad")
        assert "T/NK" in set(again.uns["deconv"]["marker_scores"]["cell_type"])

    def test_more_sets_than_types(self, section, markers):
        with pytest.warns(UserWarning, match="2 of 5 marker sets"):
            nng.tl.deconvolve(section, n_types=3, markers=markers, graph_weight=30)
        assert set(section.uns["deconv"]["cell_types"]) < set(TYPES)


def test_what_follows_takes_it(fitted, tmp_path):
    """Files, accessors and predictions."""
    adata = fitted.copy()
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    assert_same(snapshot(again), snapshot(adata))
    assert again.uns["deconv"]["params"]["n_types"] == 5
    assert nng.get.presence(again).shape == (256, 5)
    assert nng.get.cell_type_counts(again, "type_0").n_obs == 256
    assert set(nng.get.top_genes(again, key="deconv")["factor"]) == set(TYPES)
    assert nng.tl.predict(again, [[1.5, 2.5]], key="deconv").shape == (1, 5)


def test_empty_locations_and_few_genes(section):
    x = section.X.toarray()
    x[[3, 7]] = 0
    section.X = sp.csr_matrix(x)
    with pytest.warns(UserWarning, match="2 of 256 locations have no counts"):
        nng.tl.deconvolve(section, n_types=3, n_genes=80, graph_weight=0)
    assert np.flatnonzero(np.isnan(section.obsm["X_deconv"]).all(1)).tolist() == [3, 7]
    assert section.var["deconv_used"].sum() == 80


def test_unfinished_signatures():
    """However well the last step, with known signatures, ends."""
    section, _ = nng.datasets.spots(10, 60)
    with pytest.warns(ConvergenceWarning, match="after 30 iterations"):
        nng.tl.deconvolve(section, n_types=5, graph_weight=30, max_iter=30)
    assert section.uns["deconv"]["n_iter"] < 30
    assert not section.uns["deconv"]["converged"]


def test_one_warning_of_stacked_sections(section):
    section.obsm["spatial"] = section.obsm["spatial"] // 2
    with pytest.warns(UserWarning, match="have the coordinates") as found:
        nng.tl.deconvolve(section, n_types=3, graph_weight=30)
    assert len(found) == 1


REFUSED = {
    "nothing said": ({}, ValueError, "n_types, or markers"),
    "one type": (dict(n_types=1), ValueError, "two types or more"),
    "too many": (dict(n_types=300), ValueError, "more than adata has"),
    "no integer": (dict(n_types=2.5), TypeError, "integer"),
    "effects": (dict(n_types=3, effects=True), ValueError, "effects=True cannot"),
    "learned": (dict(n_types=3, learned="a"), ValueError, "learned cannot"),
    "column": (dict(n_types=3, cell_type_key="a"), ValueError, "pass a reference"),
    "layer": (dict(n_types=3, reference_layer="a"), ValueError, "pass a reference"),
    "likelihood": (
        dict(n_types=3, likelihood="gaussian"),
        ValueError,
        "likelihood='gaussian' cannot",
    ),
    "no marker": (
        dict(markers={"a": ["gene_1"], "b": ["ENSG1"]}),
        ValueError,
        r"No marker of \['b'\].*ENSG1.*gene_0",
    ),
    "a number's name": (
        dict(n_types=3, markers={"factor_2": ["gene_1"]}),
        ValueError,
        r"\['factor_2'\], the names of types without markers",
    ),
    "a key": (dict(n_types=3, key_added="a/b"), ValueError, "without '/'"),
    "a string": (dict(markers={"a": "gene_1"}), TypeError, "list of genes"),
    "no names": (dict(markers=["gene_1"]), TypeError, "dictionary"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case, section):
    options, error, match = REFUSED[case]
    before = snapshot(section)
    with pytest.raises(error, match=match):
        nng.tl.deconvolve(section, **options)
    assert_same(snapshot(section), before)


def test_logarithms_are_refused(section):
    section.X = np.log1p(section.X)
    with pytest.raises(ValueError, match="does not hold counts"):
        nng.tl.deconvolve(section, n_types=3)


def test_both_described(tissue):
    with pytest.raises(ValueError, match=r"\['n_types'\] are for sections without"):
        nng.tl.deconvolve(*tissue, cell_type_key="cell_type", n_types=3)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::anndata.OldFormatWarning")
def test_pancreatic_cancer():
    """Named types lie in the annotated regions, about as with a reference."""
    adata = ad.read_h5ad(real_data("pdac_a_spatial.h5ad"))
    adata.var_names_make_unique()
    markers = pd.read_json(real_data("pdac_a_markers.json"), typ="series").to_dict()
    nng.tl.deconvolve(adata, n_types=10, markers=markers)
    shares = nng.get.factor_df(adata, "deconv")
    region = pd.read_csv(real_data("pdac_a_regions.csv"), index_col=0)["region"]
    known = shares.index.isin(region.index)
    region, shares = region.reindex(shares.index)[known], shares[known]
    for name, where, least in (
        ("Cancer", "Cancer", 0.94),
        ("Ductal", "Duct Epithelium", 0.9),
        # 0.84, 0.80, 0.77 and 0.83 after 100, 200, 500 and 2,000 steps.
        ("Acinar", "Pancreatic", 0.75),
    ):
        own = shares[[c for c in shares if c.startswith(name)]].sum(axis=1)
        assert roc_auc_score(region == where, own) > least
