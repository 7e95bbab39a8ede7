"""Models without cells, and scores of new ones."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import nnls

import nonneg as nng
from testing.nonneg import assert_same, snapshot
from testing.nonneg._online import (
    NAMES,
    SIMULATED,
    K,
    assert_close,
    assert_same_model,
    dense,
    fit,
    read,
    write,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_a_model_file(adata, fitted, form, tmp_path):
    """Written without cells, read, brought up to date, and used."""
    of = adata.obs["batch"]
    first = adata[of != "batch_2"].copy()
    fit(first)
    write(first[:0].copy(), tmp_path / f"model.{form}")
    model = read(tmp_path / f"model.{form}")
    assert model.shape == (0, 30)
    new = adata[of == "batch_2"].copy()
    from_memory = nng.tl.online_inmf_update(first, new, batch="batch_2", copy=True)
    nng.tl.online_inmf_update(model, new, batch="batch_2")
    assert_same_model(new, from_memory, exact=True)
    write(new[:0].copy(), tmp_path / f"updated.{form}")
    updated = read(tmp_path / f"updated.{form}")
    nng.tl.project(adata, updated, key="inmf", batch_key="batch")
    rows = (of == "batch_2").to_numpy()
    assert_close(adata.obsm["X_inmf"][rows], new.obsm["X_inmf"])


@pytest.mark.parametrize("kind", ["memory", "backed", "dask"])
def test_projection_of_known_data_sets(adata, fitted, kind, folder):
    """The exact scores that are stored with a fit."""
    if kind == "backed":
        adata = ad.read_h5ad(folder / "all.h5ad", backed="r")
    elif kind == "dask":
        da = pytest.importorskip("dask.array")
        adata.X = da.from_array(dense(adata).astype(np.float32), chunks=(40, -1))
    nng.tl.project(adata, fitted, key="inmf", batch_key="batch")
    assert_close(adata.obsm["X_inmf"], fitted.obsm["X_inmf"])
    info = adata.uns["inmf"]
    assert info["projected"] == pytest.approx(1)
    assert info["projected_objective"] == pytest.approx(
        fitted.uns["inmf"]["objective"][-1], rel=1e-4
    )
    for name in ("", "_specific", "_stats", "_scale"):
        np.testing.assert_array_equal(
            adata.varm[f"inmf{name}"], fitted.varm[f"inmf{name}"]
        )
    if kind == "backed":
        adata.file.close()


def test_projection_of_one_known_data_set(adata, fitted):
    """Names, not positions, say which data set it is."""
    part = adata[60:100].copy()
    nng.tl.project(part, fitted, key="inmf", batch_key="batch")
    assert_close(part.obsm["X_inmf"], fitted.obsm["X_inmf"][60:100])


def shared_scores(adata, known):
    """On the shared metagenes alone, of data scaled as one data set; by SciPy."""
    x = dense(adata)
    x /= x.sum(1, keepdims=True)
    x /= np.sqrt(np.square(x).sum(0) / (len(x) - 1))
    w = known.varm["inmf"].astype(np.float64)
    scores = np.array([nnls(w, row)[0] for row in x])
    return scores, np.square(x - scores @ w.T).sum()


def test_projection_on_shared_metagenes(fitted):
    new = nng.datasets.batches((45, 35), 30, K, rng=3)
    nng.tl.project(new, fitted, key="inmf")
    scores, objective = shared_scores(new, fitted)
    assert_close(new.obsm["X_inmf"], scores)
    info = new.uns["inmf"]
    assert info["projected_objective"] == pytest.approx(objective, rel=1e-4)
    assert info["params"]["batch_key"] is None
    assert info["batches"].tolist() == NAMES


def test_projection_of_unknown_data_sets(adata, fitted):
    adata.obs["batch"] = adata.obs["batch"].cat.rename_categories({"batch_1": "new"})
    match = r"does not know \['new'\]; there are \['batch_0'.*shared metagenes alone"
    with pytest.warns(UserWarning, match=match):
        nng.tl.project(adata, fitted, key="inmf", batch_key="batch")
    rows = np.arange(60, 100)
    known = np.setdiff1d(np.arange(150), rows)
    assert_close(adata.obsm["X_inmf"][known], fitted.obsm["X_inmf"][known])
    scores, own = shared_scores(adata[rows], fitted)
    assert_close(adata.obsm["X_inmf"][rows], scores)
    x = dense(adata)
    x /= x.sum(1, keepdims=True)
    objective = own
    for d, cells in ((0, np.arange(60)), (2, np.arange(100, 150))):
        w, v = fitted.varm["inmf"], fitted.varm["inmf_specific"][:, d]
        h = adata.obsm["X_inmf"][cells].astype(np.float64)
        target = x[cells] * fitted.varm["inmf_scale"][:, d]
        objective += np.square(target - h @ (w + v).T).sum()
        objective += 5 * np.square(h @ v.T).sum()
    assert adata.uns["inmf"]["projected_objective"] == pytest.approx(
        objective, rel=1e-4
    )


def test_projection_with_missing_and_other_genes(adata, fitted):
    """Those that are there count; cells are divided by the sums of all genes."""
    order = np.random.default_rng(0).permutation(30)
    part = adata[:, order].copy()
    names = np.array(part.var_names, object)
    lost = order < 4
    names[lost] = [f"new_{j}" for j in range(4)]
    part.var_names = names
    with pytest.warns(UserWarning, match="4 of the 30 variables with loadings are not"):
        nng.tl.project(part, fitted, key="inmf", batch_key="batch")
    for name in ("inmf", "inmf_specific", "inmf_stats", "inmf_scale"):
        assert np.isnan(part.varm[name][lost]).all()
        np.testing.assert_array_equal(
            part.varm[name][~lost], fitted.varm[name][order[~lost]]
        )
    x = dense(adata)
    x = (x / x.sum(1, keepdims=True))[:, 4:]
    codes = adata.obs["batch"].cat.codes.to_numpy()
    w = fitted.varm["inmf"][4:].astype(np.float64)
    expected = np.empty((150, K))
    for i, d in enumerate(codes):
        v = fitted.varm["inmf_specific"][4:, d].astype(np.float64)
        both = np.vstack([w + v, np.sqrt(5) * v])
        row = x[i] * fitted.varm["inmf_scale"][4:, d]
        expected[i] = nnls(both, np.concatenate([row, np.zeros(26)]))[0]
    assert_close(part.obsm["X_inmf"], expected)
    share = np.square(w).sum() / np.square(fitted.varm["inmf"]).sum()
    assert part.uns["inmf"]["projected"] == pytest.approx(share, rel=1e-4)


def test_projection_keeps_the_stored_mask(adata):
    used = np.arange(30) % 3 != 1
    fit(adata, mask_var=used)
    again = SIMULATED.copy()
    nng.tl.project(again, adata, key="inmf", batch_key="batch")
    assert_close(again.obsm["X_inmf"], adata.obsm["X_inmf"])
    np.testing.assert_array_equal(np.isnan(again.varm["inmf"]).all(1), ~used)


def test_projections_that_are_refused(adata, fitted):
    def no(error, match, reference=fitted, **kwargs):
        before = snapshot(adata), snapshot(reference)
        with pytest.raises(error, match=match):
            nng.tl.project(adata, reference, **({"key": "inmf"} | kwargs))
        assert_same(snapshot(adata), before[0])
        assert_same(snapshot(reference), before[1])

    no(KeyError, "'donor' is not in adata.obs", batch_key="donor")
    no(KeyError, "'nmf'", key="nmf")
    plain = nng.tl.nmf(adata, K, copy=True)
    match = r"batch_key='batch' only applies to an integration.*made by 'nmf'"
    no(ValueError, match, plain, key="nmf", batch_key="batch")
    broken = fitted.copy()
    del broken.varm["inmf_specific"]
    no(KeyError, "'inmf_specific' is not in adata.varm.*removed after the fit", broken)
    other = fitted.copy()
    other.var_names = [f"ENSG{j}" for j in range(30)]
    no(ValueError, r"share no variable with loadings: \['gene_0'.*ENSG0", other)
    by_array = adata.copy()
    fit(by_array, size_factors=dense(adata).sum(1))
    no(ValueError, r"array of size_factors.*adata.obs\['array'\]", by_array)
    adata.obs["array"] = dense(adata).sum(1)
    nng.tl.project(adata, by_array, key="inmf", batch_key="batch")
    assert_close(adata.obsm["X_inmf"], by_array.obsm["X_inmf"])
    adata.X = -dense(adata)
    no(ValueError, "negative entries")


def test_projection_of_empty_cells(adata, fitted):
    x = dense(adata).astype(np.float32)
    x[5] = 0
    adata.X = sp.csr_matrix(x)
    with pytest.warns(UserWarning, match="1 cell that is all zero; its scores are"):
        nng.tl.project(adata, fitted, key="inmf", batch_key="batch")
    assert not adata.obsm["X_inmf"][5].any()
    others = np.arange(150) != 5
    assert_close(adata.obsm["X_inmf"][others], fitted.obsm["X_inmf"][others])
