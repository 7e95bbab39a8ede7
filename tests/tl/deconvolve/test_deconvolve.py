"""Compositions of simulated spots, and what must not change them."""

from __future__ import annotations

import inspect
from contextlib import contextmanager

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import nonneg as nng
from testing.nonneg import assert_same, snapshot


def test_truth_is_found(tissue, rmse):
    adata, reference = tissue
    nng.tl.deconvolve(adata, reference, cell_type_key="cell_type")
    assert adata.uns["deconv"]["converged"]
    assert rmse(adata.obsm["X_deconv"], adata.obsm["truth"]) < 0.06
    assert rmse(adata.obsm["X_deconv_rna"], adata.obsm["truth_rna"]) < 0.06
    np.testing.assert_allclose(adata.obsm["X_deconv"].sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(adata.obsm["X_deconv_rna"].sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("likelihood", ["negative_binomial", "gaussian"])
def test_other_likelihoods(likelihood, tissue, quick, rmse):
    adata, reference = tissue
    weight = 1.0 if likelihood == "gaussian" else 5.0
    nng.tl.deconvolve(
        adata, reference, likelihood=likelihood, **quick | {"graph_weight": weight}
    )
    assert rmse(adata.obsm["X_deconv"], adata.obsm["truth"]) < 0.1


def test_cells_are_not_rna(quick, rmse):
    """Types whose cells differ much in size."""
    adata, reference = nng.datasets.spots(12, 200, 4, library_sizes=1.2, depth=0.2)
    nng.tl.deconvolve(adata, reference, **quick)
    truth = adata.obsm["truth"]
    assert rmse(adata.obsm["X_deconv"], truth) < 0.06
    assert rmse(adata.obsm["X_deconv_rna"], truth) > 0.1


def test_sharp_border():
    """Two pure halves stay apart, with the weight that is chosen."""
    rng = np.random.default_rng(0)
    profiles = rng.gamma(0.5, 1, (3, 200)) + 0.01
    table = pd.DataFrame(
        1000 * profiles / profiles.sum(1, keepdims=True),
        index=["left", "right", "none"],
        columns=[f"g{j}" for j in range(200)],
    ).mul([1.0, 1.1, 1.2], axis=0)
    x, y = np.divmod(np.arange(400), 20)
    is_left = x < 10
    mean = np.where(is_left[:, None], table.loc["left"], table.loc["right"])
    adata = ad.AnnData(
        sp.csr_matrix(rng.poisson(0.3 * mean), dtype=np.float32),
        var=pd.DataFrame(index=table.columns),
    )
    adata.obsm["spatial"] = np.stack([x, y], 1).astype(float)
    nng.tl.deconvolve(adata, table)
    assert adata.uns["deconv"]["tuning"]["graph_weight"] > 0
    shares = pd.DataFrame(adata.obsm["X_deconv"], columns=table.index)
    own = np.where(is_left, shares["left"], shares["right"])
    inside = (x == 8) | (x == 11)
    assert 1 - own[inside].mean() < 0.05
    assert 1 - own[inside].min() < 0.15


def test_shuffled_coordinates_are_not_used(tissue, rmse):
    adata, reference = tissue
    alone = nng.tl.deconvolve(
        adata, reference, cell_type_key="cell_type", graph_weight=0, copy=True
    )
    rng = np.random.default_rng(2)
    adata.obsm["spatial"] = rng.permutation(adata.obsm["spatial"])
    nng.tl.deconvolve(adata, reference, cell_type_key="cell_type")
    truth = adata.obsm["truth"]
    ours, theirs = (rmse(a.obsm["X_deconv"], truth) for a in (adata, alone))
    assert ours < 1.02 * theirs


class TestInvariance:
    @pytest.fixture
    def fitted(self, tissue, quick):
        return nng.tl.deconvolve(tissue.adata, tissue.reference, **quick, copy=True)

    def check(self, fitted, adata, reference, quick, order=slice(None)):
        found = nng.tl.deconvolve(adata, reference, **quick, copy=True)
        np.testing.assert_allclose(
            found.obsm["X_deconv"], fitted.obsm["X_deconv"][order], atol=2e-3
        )

    def test_rows(self, fitted, tissue, quick):
        order = np.random.default_rng(0).permutation(tissue.adata.n_obs)
        adata = tissue.adata[order].copy()
        self.check(fitted, adata, tissue.reference, quick, order)

    def test_genes(self, fitted, tissue, quick):
        order = np.random.default_rng(0).permutation(tissue.adata.n_vars)
        self.check(fitted, tissue.adata[:, order].copy(), tissue.reference, quick)

    def test_cells(self, fitted, tissue, quick):
        order = np.random.default_rng(0).permutation(tissue.reference.n_obs)
        self.check(fitted, tissue.adata, tissue.reference[order].copy(), quick)

    def test_rotation_and_unit(self, fitted, tissue, quick):
        turn = np.array([[0.6, -0.8], [0.8, 0.6]])
        tissue.adata.obsm["spatial"] = 250 * tissue.adata.obsm["spatial"] @ turn
        self.check(fitted, tissue.adata, tissue.reference, quick)

    def test_array_type(self, fitted, tissue, quick):
        adata = tissue.adata
        adata.X = adata.X.toarray()
        self.check(fitted, adata, tissue.reference, quick)

    def test_form_of_the_reference(self, fitted, tissue, quick):
        types = nng.pp.signatures(tissue.reference, "cell_type")
        plain = {name: quick[name] for name in quick if name != "cell_type_key"}
        self.check(fitted, tissue.adata, types, plain)
        self.check(fitted, tissue.adata, types.to_df(), plain)


def test_nothing_is_pulled_without_noise(tissue, rmse):
    """Rounded means scatter less than counts do: there is nothing to average out."""
    adata, reference = tissue
    signatures = nng.pp.signatures(reference, "cell_type")
    profiles = signatures.X / signatures.X.sum(1, keepdims=True)
    truth = adata.obsm["truth_rna"]
    clean = ad.AnnData(
        sp.csr_matrix(np.round(1e5 * truth @ profiles)),
        obs=adata.obs[[]],
        var=signatures.var[[]],
        obsm={"spatial": adata.obsm["spatial"]},
    )
    nng.tl.deconvolve(clean, signatures, tol=0.1)
    tuning = clean.uns["deconv"]["tuning"]
    for name in ("graph_weight", "group_weight", "gene_effect", "entry_effect"):
        assert tuning[name] == 0
    assert rmse(clean.obsm["X_deconv_rna"], truth) < 0.005


def test_depth(tissue, quick):
    """Without neighbours, means of any depth have the same composition."""
    adata, reference = tissue
    types = nng.pp.signatures(reference, "cell_type").to_df()
    mean = adata.obsm["truth"] @ types.to_numpy()
    options = quick | {"graph_weight": 0, "gene_weights": False, "tol": 1e-6}
    del options["cell_type_key"]
    shares = []
    for scale in (10, 1000):
        adata.X = np.rint(scale * mean).astype(np.float32)
        nng.tl.deconvolve(adata, types, **options, max_iter=1000)
        shares.append(adata.obsm["X_deconv"].copy())
    np.testing.assert_allclose(*shares, atol=2e-3)


def test_empty_locations(tissue, quick):
    adata, reference = tissue
    adata.X = sp.csr_matrix(adata.X.toarray() * ~np.isin(range(144), [3, 7])[:, None])
    with pytest.warns(UserWarning, match="2 of 144 locations have no counts"):
        nng.tl.deconvolve(adata, reference, **quick)
    missing = np.isnan(adata.obsm["X_deconv"]).all(1)
    assert np.flatnonzero(missing).tolist() == [3, 7]
    for key in ("X_deconv_rna", "X_deconv_std"):
        assert (np.isnan(adata.obsm[key]).all(1) == missing).all()
    assert adata.obs["deconv_depth"].iloc[3] == 0
    assert adata.obs["deconv_residual"].isna().sum() == 2


def test_sections(tissue, quick):
    """Two sections in one area have no neighbours in common."""
    adata, reference = tissue
    both = ad.concat([adata, adata], index_unique="-", merge="same")
    both.obs["section"] = np.repeat(["a", "b"], adata.n_obs)
    nng.tl.deconvolve(both, reference, library_key="section", **quick)
    nng.tl.deconvolve(adata, reference, **quick)
    for part in np.split(both.obsm["X_deconv"], 2):
        np.testing.assert_allclose(part, adata.obsm["X_deconv"], atol=5e-3)
    with pytest.warns(UserWarning, match=r"100% of the locations.*='section'"):
        nng.tl.deconvolve(both, reference, **quick)


def test_regions_and_unrelated_locations(tissue, quick, rmse):
    adata, reference = tissue
    options = quick | {"group_weight": 5}
    nng.tl.deconvolve(adata, reference, region_key="region", **options)
    assert rmse(adata.obsm["X_deconv"], adata.obsm["truth"]) < 0.06
    del adata.obsm["spatial"]
    alone = quick | {"graph_weight": None}
    nng.tl.deconvolve(adata, reference, spatial_key=None, **alone)
    assert adata.uns["deconv"]["tuning"]["graph_weight"] == 0


@pytest.mark.parametrize(
    "likelihood", ["poisson", pytest.param("gaussian", marks=pytest.mark.slow)]
)
def test_compositions_of_regions(likelihood, rmse):
    """What regions hold, where it is known, helps shallow locations."""
    adata, reference = nng.datasets.spots(12, 150, depth=0.01, rng=1)
    order = adata.obs["region"].cat.categories[[2, 0, 1]]
    adata.obs["region"] = adata.obs["region"].cat.reorder_categories(order)
    table = pd.DataFrame(adata.obsm["truth"], columns=[f"type_{k}" for k in range(5)])
    table = table.groupby(adata.obs["region"].astype(str).to_numpy()).mean()
    options = dict(cell_type_key="cell_type", region_key="region", graph_weight=0)

    def error(**kwargs):
        nng.tl.deconvolve(
            adata, reference, **options, likelihood=likelihood, effects=False, **kwargs
        )
        return rmse(adata.obsm["X_deconv"], adata.obsm["truth"])

    alone = error(group_weight=0)
    assert error(compositions=table) < 0.95 * alone
    assert adata.uns["deconv"]["tuning"]["group_weight"] > 0
    given = error(group_weight=10, compositions=table)
    # In any order, and up to a factor.
    again = error(group_weight=10, compositions=2 * table.iloc[::-1, ::-1])
    assert again == pytest.approx(given, rel=1e-3)
    assert given < error(group_weight=10) < alone
    # Held-out genes see what is wrong.
    wrong = table.set_axis(np.roll(table.columns, 2), axis=1)
    assert error(compositions=wrong) < 1.05 * alone


def test_few_types(tissue, quick):
    adata, reference = tissue
    nng.tl.deconvolve(adata, reference, max_types=2, **quick)
    assert ((adata.obsm["X_deconv"] > 0).sum(1) <= 2).all()
    np.testing.assert_allclose(adata.obsm["X_deconv"].sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_intervals_and_presence(seed):
    """Under the model, with the signatures that counts were drawn from."""
    adata, _ = nng.datasets.spots(20, 300, depth=0.05, rng=seed)
    types = pd.DataFrame(
        adata.varm["truth"].T,
        index=adata.uns["truth"]["cell_types"],
        columns=adata.var_names,
    )
    nng.tl.deconvolve(adata, types)
    shares, truth = adata.obsm["X_deconv"], adata.obsm["truth"]
    covered = np.abs(shares - truth) < 1.645 * adata.obsm["X_deconv_std"]
    assert 0.85 < covered[truth > 0.1].mean() < 0.95
    # A share of zero can only be missed on one side.
    assert covered[truth == 0].mean() > 0.9
    called = nng.get.presence(adata).to_numpy()
    assert (truth[called] == 0).mean() <= adata.uns["deconv"]["presence"]["fdr"]
    assert called[truth > 0.2].mean() > 0.9


def test_missing_type(quick):
    """A type that the reference lacks."""
    adata, reference = nng.datasets.spots(16, 300, 6, depth=0.2, rng=4)
    truth = adata.obsm["truth"]
    absent = int(np.argmax((truth > 0.3).sum(0)))
    name = f"type_{absent}"
    nng.tl.deconvolve(adata, reference, **quick)
    threshold = adata.uns["deconv"]["missing_threshold"]
    assert (adata.obs["deconv_missing"] >= threshold).mean() <= 0.05
    rest = reference[reference.obs["cell_type"] != name].copy()
    nng.tl.deconvolve(adata, rest, **quick)
    missing = adata.obs["deconv_missing"].to_numpy()
    has = truth[:, absent] > 0.3
    ranks = pd.Series(missing).rank().to_numpy()
    n = has.sum()
    auc = (ranks[has].sum() - n * (n + 1) / 2) / (n * (~has).sum())
    assert auc > 0.85
    types = nng.pp.signatures(reference, "cell_type")
    own = types.var_names[types.var["marker_of"] == name]
    assert adata.uns["deconv"]["missing_genes"]["gene"][:20].isin(own).sum() >= 10


def test_platform_is_not_a_missing_type(quick):
    """Which differs from the reference in all locations."""
    adata, reference = nng.datasets.spots(16, 300, 6, depth=0.2, platform=0.5, rng=4)
    nng.tl.deconvolve(adata, reference, **quick)
    flagged = adata.obs["deconv_missing"] >= adata.uns["deconv"]["missing_threshold"]
    assert flagged.mean() <= 0.05


@pytest.mark.filterwarnings("ignore:.*fewer than 25 cells")
def test_types_of_few_cells_are_not_missing(quick):
    """What the reference has three cells of differs from these, and is no other type."""
    adata, reference = nng.datasets.spots(16, 300, 6, depth=0.2, rng=4)
    common = reference.obs["cell_type"].value_counts().index[0]
    few = np.flatnonzero(reference.obs["cell_type"] == common)[3:]
    rest = reference[np.delete(np.arange(reference.n_obs), few)].copy()
    # Cells that scatter as single ones do.
    rng = np.random.default_rng(0)
    noisy = rest.X.toarray() * rng.gamma(1, 1, rest.shape)
    rest.X = sp.csr_matrix(rng.poisson(noisy), dtype=np.float32)
    known = nng.pp.signatures(rest, "cell_type")
    flags = []
    # A table does not say of how many cells it is.
    for each in (known, known.to_df()):
        nng.tl.deconvolve(adata, each, **quick | {"cell_type_key": None})
        threshold = adata.uns["deconv"]["missing_threshold"]
        flags.append((adata.obs["deconv_missing"] >= threshold).mean())
    assert flags[0] <= 0.05 < flags[1]


def test_values_without_noise_are_explained(quick):
    """However certain a pattern of rounding errors is."""
    adata, reference = nng.datasets.spots(16, 300, 6, depth=0.2, rng=4)
    table = nng.pp.signatures(reference, "cell_type").to_df()
    mean = adata.obsm["truth"] @ table.to_numpy()
    adata.X = sp.csr_matrix(np.round(50 * mean), dtype=np.float32)
    nng.tl.deconvolve(adata, table, **quick | {"cell_type_key": None})
    assert adata.uns["deconv"]["missing_threshold"] == np.inf


def test_missing_type_in_many_locations(monkeypatch, quick):
    """Scores are the same where the pattern is learned from a part."""
    adata, reference = nng.datasets.spots(24, 200, depth=0.2, rng=4)
    rest = reference[reference.obs["cell_type"] != "type_1"].copy()
    nng.tl.deconvolve(adata, rest, **quick)
    score = adata.obs["deconv_missing"]
    monkeypatch.setattr("nonneg.models.deconvolution.missing._ENOUGH", 200)
    nng.tl.deconvolve(adata, rest, **quick)
    assert np.corrcoef(score, adata.obs["deconv_missing"])[0, 1] > 0.95


def test_cells_and_rna(rmse):
    """A type of ten times the RNA: shares of cells differ from those of RNA."""
    rng = np.random.default_rng(0)
    base = rng.gamma(0.5, 1, (3, 200)) + 0.01
    means = base / base.sum(1, keepdims=True) * np.array([[500], [5000], [1500]])
    cells = np.repeat(np.arange(3), 60)
    reference = ad.AnnData(rng.poisson(means[cells]).astype(np.float32))
    reference.obs["cell_type"] = pd.Categorical(np.array(["a", "b", "c"])[cells])
    truth = rng.dirichlet(np.full(3, 2.0), 150)
    adata = ad.AnnData(rng.poisson(2 * truth @ means).astype(np.float32))
    nng.tl.deconvolve(adata, reference, cell_type_key="cell_type", spatial_key=None)
    assert rmse(adata.obsm["X_deconv"], truth) < 0.03
    assert rmse(adata.obsm["X_deconv_rna"], truth) > 0.1


def test_errors_are_those_of_resampled_counts():
    """Standard errors against the spread over counts drawn again from the fit."""
    adata, reference = nng.datasets.spots(8, 200, 4, depth=0.3, rng=5)
    types = nng.pp.signatures(reference, "cell_type")
    options = dict(graph_weight=0, group_weight=0, effects=False, gene_weights=False)
    nng.tl.deconvolve(adata, types, **options)
    shares, std = adata.obsm["X_deconv"].copy(), adata.obsm["X_deconv_std"].copy()
    per_cell = types.to_df().to_numpy()
    mean = shares @ per_cell
    depth = adata.obs["deconv_depth"].to_numpy()[:, None]
    mean *= depth / mean.sum(1, keepdims=True)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(20):
        adata.X = rng.poisson(mean).astype(np.float32)
        nng.tl.deconvolve(adata, types, **options)
        drawn.append(adata.obsm["X_deconv"].copy())
    spread = np.std(drawn, axis=0, ddof=1)
    # At the border of what is possible, shares do not scatter as normal variables do.
    inside = shares > 0.1
    assert 0.85 < np.median(std[inside] / spread[inside]) < 1.15
    covered = np.abs(np.asarray(drawn) - shares) < 1.645 * std
    assert 0.85 < covered[:, inside].mean() < 0.95


def test_effects_of_the_platform(rmse):
    """Chosen where they are there, and better then."""
    adata, reference = nng.datasets.spots(20, 300, platform=0.5, depth=0.3, rng=0)
    types = nng.pp.signatures(reference, "cell_type")
    nng.tl.deconvolve(adata, types, graph_weight=0, effects=False)
    plain = rmse(adata.obsm["X_deconv"], adata.obsm["truth"])
    nng.tl.deconvolve(adata, types, graph_weight=0)
    assert adata.uns["deconv"]["tuning"]["gene_effect"] > 0
    assert rmse(adata.obsm["X_deconv"], adata.obsm["truth"]) < plain


def test_effects_are_undone(rmse):
    """With the fit at its end: strong effects on genes are taken out of the shares."""
    adata, reference = nng.datasets.spots(20, 300, platform=0.5, depth=0.3, rng=0)
    nng.tl.deconvolve(adata, reference, cell_type_key="cell_type")
    entry = adata.uns["deconv"]
    assert entry["converged"]
    objective = entry["objective"]
    assert (np.diff(objective) <= 1e-6 * abs(objective[0])).all()
    assert rmse(adata.obsm["X_deconv"], adata.obsm["truth"]) < 0.05


def test_markers_that_no_location_has(tissue, quick, rmse):
    """Speak against the types that have them."""
    adata, reference = tissue
    own = nng.pp.signatures(reference, "cell_type")
    marks = own.var["marker_of"] == "type_0"
    assert marks.sum() >= 5
    x = adata.X.toarray()
    x[:, marks] = 0
    adata.X = sp.csr_matrix(x)
    nng.tl.deconvolve(adata, reference, **quick)
    assert adata.var["deconv_used"].all()
    share = adata.obsm["X_deconv"][:, 0]
    measured = ~marks.to_numpy()
    nng.tl.deconvolve(adata, reference, mask_var=measured, **quick)
    assert share.mean() < 0.5 * adata.obsm["X_deconv"][:, 0].mean()


def test_least_squares_knows_no_noise(tissue, quick):
    del quick["group_weight"]
    nng.tl.deconvolve(*tissue, **quick, likelihood="gaussian")
    adata = tissue.adata
    assert np.isnan(adata.obsm["X_deconv_std"]).all()
    for name in ("deconv_residual", "deconv_missing"):
        assert adata.obs[name].isna().all()
    assert adata.uns["deconv"]["missing_genes"].empty
    assert not nng.get.presence(adata).to_numpy().any()


def test_what_is_stored(tissue, quick, tmp_path):
    adata, reference = tissue
    nng.tl.deconvolve(adata, reference, **quick, mask_var=adata.var_names[:100])
    entry = adata.uns["deconv"]
    assert list(entry["cell_types"]) == [f"type_{i}" for i in range(5)]
    assert adata.var["deconv_used"].sum() <= 100
    used = adata.var["deconv_used"].to_numpy()
    assert np.isnan(adata.varm["deconv"][~used]).all()
    np.testing.assert_allclose(adata.varm["deconv"][used].sum(0), 1, rtol=1e-4)
    frame = nng.get.factor_df(adata, "deconv")
    assert list(frame.columns) == list(entry["cell_types"])
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    assert_same(snapshot(again), snapshot(adata))
    pd.testing.assert_frame_equal(nng.get.factor_df(again, "deconv"), frame)


def test_arguments_are_recorded(tissue, quick, tmp_path):
    """All that decide the result."""
    adata, reference = tissue
    given = quick | {"fdr": 0.1, "max_types": 3, "mask_var": adata.var_names[:100]}
    nng.tl.deconvolve(adata, reference, **given)
    # Of markers, their scores are kept.
    elsewhere = {"adata", "reference", "rng", "chunk_size", "markers"}
    where_to = {"key_added", "copy", "table_key"}
    names = set(inspect.signature(nng.tl.deconvolve).parameters) - elsewhere - where_to
    params = adata.uns["deconv"]["params"]
    assert set(params) == names | {"seed", "version"}
    for name, value in given.items():
        assert params[name] == ("array" if name == "mask_var" else value)


def test_progress(tissue, monkeypatch):
    """What is tried has a bar of its own, so that the other one knows how long a step is."""
    seen = []

    @contextmanager
    def record(description, total):
        seen.append((description, 0))
        yield lambda iteration, report: seen.append((description, iteration))

    monkeypatch.setattr("nonneg.tl._deconvolve.front.progress", record)
    adata, reference = tissue
    nng.tl.deconvolve(adata, reference, cell_type_key="cell_type")
    entry = adata.uns["deconv"]
    n_tried = [name for name, _ in seen].index("deconvolve") - 1
    assert n_tried > len(entry["trials"])
    assert seen == [
        *(("weights", i) for i in range(n_tried + 1)),
        *(("deconvolve", i) for i in range(entry["n_iter"] + 1)),
    ]


def test_second_key_leaves_the_first_alone(tissue, quick):
    adata, reference = tissue
    nng.tl.deconvolve(adata, reference, **quick)
    first = adata.obsm["X_deconv"].copy()
    nng.tl.deconvolve(
        adata, reference, key_added="other", **quick | {"graph_weight": 0}
    )
    np.testing.assert_array_equal(adata.obsm["X_deconv"], first)
    assert {"other", "other_rna", "other_std"} <= set(adata.obsm)
    assert {"other_depth", "other_residual", "other_missing"} <= set(adata.obs)


def test_layers_and_backed(tissue, quick, tmp_path):
    adata, reference = tissue
    nng.tl.deconvolve(adata, reference, **quick)
    expected = adata.obsm["X_deconv"]
    adata.layers["counts"], reference.layers["counts"] = adata.X, reference.X
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    nng.tl.deconvolve(backed, reference, chunk_size=50, **quick)
    np.testing.assert_allclose(backed.obsm["X_deconv"], expected, atol=1e-5)
    adata.X = np.log1p(adata.X)
    nng.tl.deconvolve(
        adata, reference, layer="counts", reference_layer="counts", **quick
    )
    np.testing.assert_allclose(adata.obsm["X_deconv"], expected, atol=1e-5)


def test_locations_without_counts_in_half_of_the_genes(tissue, rmse):
    """As in shallow data and small panels: what is held out is predicted all the same."""
    adata, reference = tissue
    expected = nng.tl.deconvolve(
        adata, reference, cell_type_key="cell_type", copy=True
    ).obsm["X_deconv"]
    x = adata.X.toarray()
    best = x[5].argmax()
    x[5] = np.where(np.arange(adata.n_vars) == best, x[5], 0)
    adata.X = sp.csr_matrix(x)
    nng.tl.deconvolve(adata, reference, cell_type_key="cell_type")
    found = adata.obsm["X_deconv"]
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    others = np.arange(adata.n_obs) != 5
    assert rmse(found[others], expected[others]) < 0.02


def test_errors_of_shares_are_bounded():
    """Also of types that are all but absent in deep locations."""
    adata, reference = nng.datasets.spots(8, 60, depth=3.0)
    nng.tl.deconvolve(adata, reference, cell_type_key="cell_type")
    assert np.nanmax(adata.obsm["X_deconv_std"]) <= 0.5
