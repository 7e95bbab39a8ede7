"""Integrative NMF of an AnnData: what goes in, what is stored, what is refused."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

import nonneg as nng
from testing.nonneg import assert_same, snapshot

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
K = 4
NAMES = ["batch_0", "batch_1", "batch_2"]
SIMULATED = nng.datasets.batches((60, 40, 50), 30, K, specific=1.0)
# The fields of a fit that depend on what was drawn, and not on the clock.
FITTED = (("obsm", "X_inmf"), ("varm", "inmf"), ("varm", "inmf_specific"))


@pytest.fixture
def adata():
    return SIMULATED.copy()


def fit(adata, n_components=K, **kwargs):
    arguments = {"batch_key": "batch", "size_factors": "total"} | kwargs
    return nng.tl.inmf(adata, n_components, **arguments)


def dense(adata):
    return np.asarray(sp.csr_matrix(adata.X).toarray(), np.float64)


def scaled(adata, totals, batch="batch", *, scale=True, used=slice(None)):
    """The data as the method sees them, made explicit: (X, codes, gene scale)."""
    x = dense(adata)[:, used]
    x = np.divide(x, totals[:, None], out=np.zeros_like(x), where=totals[:, None] > 0)
    names, codes = np.unique(adata.obs[batch].astype(str), return_inverse=True)
    factors = np.ones((names.size, x.shape[1]))
    for d in range(names.size):
        rows = x[codes == d]
        if scale:
            rms = np.sqrt(np.square(rows).sum(0) / max(len(rows) - 1, 1))
            factors[d, rms > 0] = 1 / rms[rms > 0]
    return x * factors[codes], codes, factors


def direct_objective(x, codes, adata, key="inmf", *, used=slice(None), weight=None):
    """The sum over data sets, from residuals."""
    info = adata.uns[key]
    h = np.asarray(adata.obsm[info["obsm_key"]], np.float64)
    w = np.asarray(adata.varm[info["varm_key"]], np.float64)[used]
    v = np.asarray(adata.varm[f"{info['varm_key']}_specific"], np.float64)[used]
    total = 0.0
    for d, lam in enumerate(info["lam"]):
        own, rows = h[codes == d], x[codes == d]
        value = np.square(rows - own @ (w + v[:, d]).T).sum()
        value += lam * np.square(own @ v[:, d].T).sum()
        total += (1.0 if weight is None else weight[d]) * value
    return total


def check_explicitly(adata, totals, *, scale=True, used=slice(None), weight=None):
    """Everything stored is what the definitions say of explicitly scaled data."""
    x, codes, factors = scaled(adata, totals, scale=scale, used=used)
    info = adata.uns["inmf"]
    h = np.asarray(adata.obsm["X_inmf"], np.float64)
    expected = direct_objective(x, codes, adata, used=used, weight=weight)
    assert info["objective"][-1] == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(adata.varm["inmf_scale"][used], factors.T, rtol=1e-5)
    for d in range(len(info["batches"])):
        own, rows = h[codes == d], x[codes == d]
        np.testing.assert_allclose(info["gram"][d], own.T @ own, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(
            adata.varm["inmf_stats"][used, d], rows.T @ own, rtol=1e-4, atol=1e-4
        )
        assert info["sq_norm"][d] == pytest.approx(np.square(rows).sum(), rel=1e-5)
        assert info["n_cells"][d] == len(rows)


# --- what is fitted ---------------------------------------------------------


def test_what_is_stored(adata):
    fit(adata, tol=1e-7)
    assert adata.varm["inmf_specific"].shape == (30, 3, K)
    assert adata.uns["inmf"]["batches"].tolist() == NAMES
    assert adata.uns["inmf"]["method"] == "inmf"
    check_explicitly(adata, dense(adata).sum(1))
    objective = adata.uns["inmf"]["objective"]
    assert (np.diff(objective) <= 1e-5 * objective[0]).all()
    assert (np.diff(adata.uns["inmf"]["seconds"]) >= 0).all()
    for attr, key in FITTED:
        assert (getattr(adata, attr)[key] >= 0).all()
    both = adata.varm["inmf"] + adata.varm["inmf_specific"].mean(1)
    np.testing.assert_allclose(np.linalg.norm(both, axis=0), 1, rtol=1e-5)


def test_finds_the_shared_factors():
    """Scores separate the kinds of cells whatever the data set."""
    adata = nng.datasets.batches((120, 100), 60, 3, specific=0.3, depth=2000)
    nng.tl.inmf(adata, 3, batch_key="batch", size_factors="total")
    truth = adata.obsm["truth"] / adata.obsm["truth"].sum(1, keepdims=True)
    ours = adata.obsm["X_inmf"]
    correlation = np.corrcoef(truth.T, ours.T)[:3, 3:]
    assert (correlation.max(axis=1) > 0.9).all()
    assert len(set(correlation.argmax(axis=1))) == 3


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("size_factors", ["none", "total", "column", "array"])
def test_scaling(adata, size_factors, scale):
    rng = np.random.default_rng(0)
    own = rng.uniform(0.5, 2, adata.n_obs)
    adata.obs["size"] = own
    argument, totals = {
        "none": (None, np.ones(adata.n_obs)),
        "total": ("total", dense(adata).sum(1)),
        "column": ("size", own),
        "array": (own, own),
    }[size_factors]
    if argument is None:
        adata.X = adata.X * np.float32(0.37)  # not whole numbers
    fit(adata, size_factors=argument, scale=scale)
    check_explicitly(adata, totals, scale=scale)
    params = adata.uns["inmf"]["params"]
    assert params["scale"] is scale
    recorded = "array" if isinstance(argument, np.ndarray) else argument
    assert params["size_factors"] == recorded


def test_raw_counts_are_noticed(adata):
    with pytest.warns(UserWarning, match=r"whole numbers.*size_factors='total'"):
        fit(adata, size_factors=None)
    assert "inmf" in adata.uns


@pytest.mark.parametrize(
    ("form", "convert"),
    [
        ("column", sp.csr_matrix),
        ("column", np.asarray),
        ("array", sp.csr_matrix),
        ("names", np.asarray),
        ("index", sp.csr_matrix),
    ],
)
def test_mask(adata, form, convert):
    """Genes outside do not count, except in the sums that cells are divided by."""
    used = np.arange(30) % 3 != 1
    adata.X = convert(dense(adata).astype(np.float32))
    adata.var["used"] = used
    mask = {
        "column": "used",
        "array": used,
        # In no order.
        "names": list(adata.var_names[used][::-1]),
        "index": adata.var_names[used],
    }[form]
    fit(adata, mask_var=mask)
    for key in ("inmf", "inmf_specific", "inmf_stats", "inmf_scale"):
        stored = adata.varm[key]
        assert np.isnan(stored[~used]).all()
        assert np.isfinite(stored[used]).all()
    check_explicitly(adata, dense(adata).sum(1), used=used)
    expected = "used" if form == "column" else "array"
    assert adata.uns["inmf"]["params"]["mask_var"] == expected


def test_lam_of_every_data_set(adata):
    lam = {"batch_2": 20.0, "batch_0": 1, "batch_1": 0.5}
    fit(adata, lam=lam)
    np.testing.assert_array_equal(adata.uns["inmf"]["lam"], [1, 0.5, 20])
    check_explicitly(adata, dense(adata).sum(1))
    same = fit(adata, lam=dict.fromkeys(lam, 5.0), copy=True)
    number = fit(adata, copy=True)
    for attr, key in FITTED:
        np.testing.assert_array_equal(
            getattr(same, attr)[key], getattr(number, attr)[key]
        )


def test_more_is_shared_with_a_larger_penalty(adata):
    def share(lam):
        copy = fit(adata, lam=lam, copy=True)
        both = copy.varm["inmf"][:, None] + copy.varm["inmf_specific"]
        return np.square(copy.varm["inmf_specific"]).sum() / np.square(both).sum()

    assert share(100.0) < share(5.0) < share(0.5)


def test_no_penalty_is_pointed_out(adata):
    with pytest.warns(UserWarning, match="lam=0 the shared and the specific parts"):
        fit(adata, lam=0)
    with pytest.warns(UserWarning, match="lam=0"):
        fit(adata, lam=dict.fromkeys(NAMES[1:], 1.0) | {"batch_0": 0})


def test_dataset_weights(adata):
    fit(adata, dataset_weights="equal")
    weight = 150 / (3 * np.array([60, 40, 50]))
    np.testing.assert_allclose(adata.uns["inmf"]["weight"], weight)
    check_explicitly(adata, dense(adata).sum(1), weight=weight)
    with_cells = fit(adata, copy=True)
    np.testing.assert_array_equal(with_cells.uns["inmf"]["weight"], np.ones(3))
    assert not np.allclose(with_cells.varm["inmf"], adata.varm["inmf"], rtol=1e-3)


@pytest.mark.parametrize("solver", ["anls", "mu"])
def test_solvers(adata, solver):
    fit(adata, solver=solver, max_iter=400)
    assert adata.uns["inmf"]["params"]["solver"] == solver
    check_explicitly(adata, dense(adata).sum(1))
    hals = fit(adata, copy=True, tol=1e-7).uns["inmf"]["objective"][-1]
    assert adata.uns["inmf"]["objective"][-1] < 1.05 * hals


def test_several_starts_keep_the_best(adata):
    one, many = (
        fit(adata, n_init=n, copy=True).uns["inmf"]["objective"][-1] for n in (1, 3)
    )
    assert many <= one * (1 + 1e-6)
    seeds = [
        fit(adata, rng=i, copy=True).uns["inmf"]["objective"][-1] for i in range(4)
    ]
    assert len({round(value, 6) for value in seeds}) > 1


def test_runs_repeat(adata):
    first, second = fit(adata, copy=True), fit(adata, copy=True)
    for each in (first, second):
        del each.uns["inmf"]["seconds"]
    assert_same(snapshot(first), snapshot(second))


def test_another_seed_is_recorded(adata):
    fit(adata, rng=7)
    assert adata.uns["inmf"]["params"]["seed"] == 7


@pytest.mark.parametrize("order", [[2, 0, 1], [1, 2, 0]])
@pytest.mark.parametrize("convert", [np.asarray, sp.csr_matrix])
def test_order_of_the_data_sets(adata, order, convert):
    """Blocks of cells in another order: each cell keeps its scores."""
    adata.X = convert(dense(adata).astype(np.float32))
    blocks = [np.flatnonzero(adata.obs["batch"] == NAMES[d]) for d in order]
    moved = adata[np.concatenate(blocks)].copy()
    fit(adata)
    fit(moved)
    assert moved.uns["inmf"]["batches"].tolist() == NAMES
    back = moved[adata.obs_names]
    largest = adata.obsm["X_inmf"].max()
    np.testing.assert_allclose(
        back.obsm["X_inmf"], adata.obsm["X_inmf"], atol=1e-4 * largest
    )
    for key in ("inmf", "inmf_specific", "inmf_scale"):
        np.testing.assert_allclose(
            moved.varm[key], adata.varm[key], atol=1e-4 * adata.varm[key].max()
        )


def test_mixed_cells(adata):
    """Data sets need not be contiguous."""
    fit(adata)
    order = np.random.default_rng(0).permutation(adata.n_obs)
    mixed = SIMULATED[order].copy()
    fit(mixed)
    check_explicitly(mixed, dense(mixed).sum(1))
    # Another sample to start from, but of the same cells: no other model to speak of.
    assert mixed.uns["inmf"]["objective"][-1] == pytest.approx(
        adata.uns["inmf"]["objective"][-1], rel=0.05
    )


LABELS = {
    "slashes": ["sn/10x v3", "a b/c", "d"],
    "integers": [10, 9, 100],
    "floats": [0.5, 1.5, -2.0],
    "umlaut": ["Zürich", "Genève", "東京"],
}


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("dtype", [None, "category"])
def test_labels(adata, labels, dtype, tmp_path):
    values = np.repeat(np.array(LABELS[labels]), [60, 40, 50])
    adata.obs["batch"] = pd.Series(values, index=adata.obs_names, dtype=dtype)
    expected = sorted(str(value) for value in LABELS[labels])
    fit(adata, lam=dict.fromkeys(expected, 5.0))
    assert adata.uns["inmf"]["batches"].tolist() == expected
    check_explicitly(adata, dense(adata).sum(1))
    adata.write_h5ad(tmp_path / "fitted.h5ad")
    read = ad.read_h5ad(tmp_path / "fitted.h5ad")
    assert [str(name) for name in read.uns["inmf"]["batches"]] == expected
    nng.tl.project(SIMULATED.copy(), read, key="inmf")


def test_unused_categories_are_no_data_sets(adata):
    adata.obs["batch"] = adata.obs["batch"].cat.add_categories(["nothing"])
    fit(adata)
    assert adata.uns["inmf"]["batches"].tolist() == NAMES


def test_labels_of_truth_values(adata):
    adata.obs["batch"] = adata.obs["batch"] == "batch_1"
    fit(adata)
    assert adata.uns["inmf"]["batches"].tolist() == ["False", "True"]


# --- data that need care ----------------------------------------------------


@pytest.mark.parametrize("convert", [np.asarray, sp.csr_matrix])
def test_empty_cells(adata, convert):
    x = dense(adata).astype(np.float32)
    x[[3, 70]] = 0
    adata.X = convert(x)
    with pytest.warns(UserWarning, match="2 cells have no counts of these genes"):
        fit(adata)
    assert not adata.obsm["X_inmf"][[3, 70]].any()
    assert adata.obsm["X_inmf"].any(1).sum() == 148
    for attr, key in FITTED:
        assert np.isfinite(getattr(adata, attr)[key]).all()
    check_explicitly(adata, x.astype(float).sum(1))


def test_a_gene_that_one_data_set_lacks(adata):
    x = dense(adata).astype(np.float32)
    x[:60, [4, 9]] = 0
    adata.X = sp.csr_matrix(x)
    with pytest.warns(UserWarning, match=r"not in others: \{'batch_0': 2\}.*mask_var"):
        fit(adata)
    for key in ("inmf", "inmf_specific", "inmf_stats", "inmf_scale"):
        assert np.isfinite(adata.varm[key]).all()
    assert not adata.varm["inmf_stats"][[4, 9], 0].any()
    check_explicitly(adata, x.astype(float).sum(1))


def test_a_gene_that_all_lack(adata):
    x = dense(adata).astype(np.float32)
    x[:, 5] = 0
    adata.X = sp.csr_matrix(x)
    with pytest.warns(UserWarning, match="adata.X: 1 gene is zero in all cells"):
        fit(adata)
    assert not adata.varm["inmf"][5].any()
    assert not adata.varm["inmf_specific"][5].any()
    check_explicitly(adata, x.astype(float).sum(1))


def test_more_components_than_needed(adata):
    """Cells that are all alike leave nothing to tell components apart."""
    adata.X = np.tile(dense(adata)[:1] + 1, (150, 1)).astype(np.float32)
    with pytest.warns(UserWarning, match=r"\d of 4 components (is|are) empty.*smaller"):
        fit(adata)
    info = adata.uns["inmf"]
    assert np.isfinite(adata.obsm["X_inmf"]).all()
    assert not adata.obsm["X_inmf"].any(0).all()
    assert info["objective"][-1] < 1e-3 * info["sq_norm"].sum()


def test_not_converged(adata):
    with pytest.warns(ConvergenceWarning, match="after 2 iterations.*max_iter=2"):
        fit(adata, tol=0, max_iter=2)
    assert adata.uns["inmf"]["n_iter"] == 2
    assert adata.uns["inmf"]["converged"] is False
    assert len(adata.uns["inmf"]["objective"]) == 2


def test_interruption_keeps_the_last_state(adata, monkeypatch):
    from nonneg.tl._inmf import inmf as _inmf

    class Interrupting:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def __call__(self, iteration, report):
            if iteration == 3:
                raise KeyboardInterrupt

    expected = fit(adata, tol=0, max_iter=3, copy=True)
    monkeypatch.setattr(_inmf, "progress", lambda *_: Interrupting())
    with pytest.warns(UserWarning, match="Interrupted after 3 iterations"):
        fit(adata, tol=0)
    assert adata.uns["inmf"]["converged"] is False
    for attr, key in FITTED:
        np.testing.assert_array_equal(
            getattr(adata, attr)[key], getattr(expected, attr)[key]
        )


# --- the AnnData ------------------------------------------------------------


def test_a_view_becomes_actual(adata):
    before = snapshot(adata)
    view = adata[10:120, 5:28]
    fit(view)
    assert not view.is_view
    expected = fit(SIMULATED[10:120, 5:28].copy(), copy=True)
    for attr, key in FITTED:
        np.testing.assert_array_equal(
            getattr(view, attr)[key], getattr(expected, attr)[key]
        )
    assert_same(snapshot(adata), before)


def test_layer(adata):
    expected = fit(adata, copy=True)
    adata.layers["counts"], adata.X = adata.X, None
    fit(adata, layer="counts")
    np.testing.assert_array_equal(adata.obsm["X_inmf"], expected.obsm["X_inmf"])
    assert adata.uns["inmf"]["params"]["layer"] == "counts"


def test_backed_files_are_not_changed(adata, tmp_path):
    expected = fit(adata, copy=True)
    adata.write_h5ad(tmp_path / "data.h5ad")
    content = (tmp_path / "data.h5ad").read_bytes()
    backed = ad.read_h5ad(tmp_path / "data.h5ad", backed="r")
    fit(backed, chunk_size=33)
    np.testing.assert_allclose(
        backed.obsm["X_inmf"],
        expected.obsm["X_inmf"],
        atol=1e-4 * expected.obsm["X_inmf"].max(),
    )
    backed.file.close()
    assert (tmp_path / "data.h5ad").read_bytes() == content


def test_spatialdata(adata):
    sd = pytest.importorskip("spatialdata")
    sdata = sd.SpatialData(tables={"table": adata.copy(), "other": adata.copy()})
    untouched = snapshot(sdata.tables["other"])
    assert fit(sdata, table_key="table") is None
    fit(adata)
    table = sdata.tables["table"]
    np.testing.assert_array_equal(table.obsm["X_inmf"], adata.obsm["X_inmf"])
    nng.tl.project(sdata, adata, key="inmf", table_key="table", key_added="again")
    assert "again" in table.obsm
    assert_same(snapshot(sdata.tables["other"]), untouched)


def test_what_was_aligned_goes_with_the_fit(adata):
    fit(adata)
    fit(adata, key_added="other")
    for key in ("inmf", "other"):
        nng.tl.quantile_align(adata, batch_key="batch", key=key, min_cells=5)
    assert {"X_inmf_aligned", "other_aligned"} <= set(adata.obsm)
    fit(adata, rng=1)
    assert "X_inmf_aligned" not in adata.obsm
    assert "inmf_cluster" not in adata.obs
    assert "align" not in adata.uns["inmf"]
    # The other one is still what it was.
    assert "other_aligned" in adata.obsm
    assert "other_cluster" in adata.obs
    assert {"batch", "cell_type"} <= set(adata.obs)


# --- refusals ---------------------------------------------------------------


def refused(error, match, call, adata):
    before = snapshot(adata)
    with pytest.raises(error, match=match):
        call()
    assert_same(snapshot(adata), before)


ARGUMENTS = {
    "no column": (dict(batch_key="donor"), KeyError, r"'donor'.*\['batch', 'cell_type"),
    "no components": (dict(n_components=0), ValueError, "n_components=0"),
    "half a component": (dict(n_components=2.5), TypeError, "must be an integer"),
    "more than genes": (
        dict(n_components=31),
        ValueError,
        "n_components=31 exceeds the number of variables, 30",
    ),
    "more than cells": (
        dict(n_components=25, batch_key="small"),
        ValueError,
        r"fewer cells than n_components=25: \{'b': 10\}.*merge",
    ),
    "negative lam": (dict(lam=-1), ValueError, "lam=-1 must be"),
    "infinite lam": (dict(lam=np.inf), ValueError, "lam=inf must be"),
    "text lam": (dict(lam="5"), ValueError, "lam='5' must be"),
    "unknown lam": (
        dict(lam=dict.fromkeys([*NAMES, "x"], 1.0)),
        ValueError,
        r"every data set, \['batch_0'.*\['x'\] do not exist",
    ),
    "missing lam": (
        dict(lam={"batch_0": 1.0, "batch_2": 1.0}),
        ValueError,
        r"\['batch_1'\] are missing",
    ),
    "negative lam of one": (
        dict(lam=dict.fromkeys(NAMES, -2.0)),
        ValueError,
        r"lam\['batch_0'\]=-2.0 must be",
    ),
    "weights": (
        dict(dataset_weights="size"),
        ValueError,
        r"dataset_weights='size' must be one of \['cells', 'equal'\]",
    ),
    "solver": (dict(solver="cd"), ValueError, r"solver='cd'.*'hals'"),
    "starts": (dict(n_init=0), ValueError, "n_init=0"),
    "tol": (dict(tol=-1), ValueError, "tol=-1"),
    "iterations": (dict(max_iter=0), ValueError, "max_iter=0"),
    "chunk": (dict(chunk_size=0), ValueError, "chunk_size=0"),
    "chunk in memory": (dict(chunk_size=10), ValueError, "only applies to backed"),
    "layer": (dict(layer="raw"), KeyError, "'raw' is not in adata.layers"),
    "mask column": (dict(mask_var="hv"), KeyError, "'hv' is not in adata.var"),
    "mask text": (dict(mask_var="text"), ValueError, r"adata.var\['text'\].*booleans"),
    "mask length": (dict(mask_var=np.ones(7, bool)), ValueError, "must be 30 booleans"),
    "mask nothing": (dict(mask_var=np.zeros(30, bool)), ValueError, "selects no"),
    "mask names": (
        dict(mask_var=["gene_1", "Actb"]),
        KeyError,
        r"names 1 unknown variables, e.g. \['Actb'\]",
    ),
    "size column": (dict(size_factors="n"), KeyError, "'n' is not in adata.obs"),
    "size text": (
        dict(size_factors="cell_type"),
        ValueError,
        r"adata.obs\['cell_type'\] must hold numbers",
    ),
    "size length": (
        dict(size_factors=np.ones(3)),
        ValueError,
        r"size_factors must hold 150 numbers.*\(3,\)",
    ),
    "size negative": (
        dict(size_factors=-np.ones(150)),
        ValueError,
        "size_factors must be finite and not negative",
    ),
    "size nan": (
        dict(size_factors=np.full(150, np.nan)),
        ValueError,
        "size_factors must be finite",
    ),
    "table": (dict(table_key="t"), ValueError, "only applies to a SpatialData"),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments(adata, case):
    arguments, error, match = ARGUMENTS[case]
    adata.obs["small"] = np.repeat(["a", "b"], [140, 10])
    adata.var["text"] = "False"
    refused(error, match, lambda: fit(adata, **arguments), adata)


def test_one_data_set(adata):
    adata.obs["batch"] = "all"
    match = r"one data set only, \['all'\]: nothing to integrate. Use `nonneg.tl.nmf`"
    refused(ValueError, match, lambda: fit(adata), adata)


def test_missing_labels(adata):
    adata.obs["batch"] = adata.obs["batch"].astype(object).where(np.arange(150) > 2)
    match = r"adata.obs\['batch'\] is missing for 3 observations: NaN, or None, first in row"
    refused(ValueError, match, lambda: fit(adata), adata)


BAD = {
    "negative": (-1.0, r"'batch_2'.*negative entries \(smallest: -1\).*not centred"),
    "nan": (np.nan, "'batch_2'.*contains NaN. Fill or remove"),
    "inf": (np.inf, "'batch_2'.*infinite"),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("convert", [np.asarray, sp.csr_matrix])
def test_entries(adata, bad, convert):
    value, match = BAD[bad]
    x = dense(adata).astype(np.float32)
    x[-1, -1] = value
    adata.X = convert(x)
    refused(ValueError, match, lambda: fit(adata), adata)


def test_centred_data(adata):
    x = dense(adata)
    adata.X = (x - x.mean(0)).astype(np.float32)
    refused(ValueError, "not centred", lambda: fit(adata, size_factors=None), adata)


def test_nothing_to_fit(adata):
    empty = adata[:0].copy()
    refused(ValueError, "0 observations x 30", lambda: fit(empty), empty)
    narrow = adata[:, :0].copy()
    refused(ValueError, "150 observations x 0", lambda: fit(narrow), narrow)
    adata.X = None
    refused(ValueError, "adata.X is None", lambda: fit(adata), adata)


def test_a_data_set_that_is_all_zero(adata):
    x = dense(adata).astype(np.float32)
    x[:60] = 0
    adata.X = x
    refused(ValueError, "'batch_0'.*all zero", lambda: fit(adata), adata)


def test_stored_csc(adata, tmp_path):
    adata.X = sp.csc_matrix(adata.X)
    adata.write_h5ad(tmp_path / "csc.h5ad")
    backed = ad.read_h5ad(tmp_path / "csc.h5ad", backed="r")
    with pytest.raises(ValueError, match=r"stored as CSC.*CSR"):
        fit(backed)
    assert "inmf" not in backed.uns
    backed.file.close()


def test_an_aligned_fit_survives_a_refusal(adata):
    fit(adata)
    nng.tl.quantile_align(adata, batch_key="batch", min_cells=5)
    refused(ValueError, "n_components=31", lambda: fit(adata, 31), adata)
    assert "X_inmf_aligned" in adata.obsm
