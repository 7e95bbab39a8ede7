"""Cells that are not fitted, and what is recorded of them during a fit."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

import nonneg as nng
from nonneg.models.inmf.online import OnlineSolver
from nonneg.models.inmf.validation import Watch

GIVEN = {"size_factors": "total"}
K = 4


def cells(sizes=(90, 70), n_vars=40):
    adata = nng.datasets.batches(sizes, n_vars, K)
    rng = np.random.default_rng(1)
    # Of a size of its own in every data set.
    adata.obs["held"] = rng.random(adata.n_obs) < np.where(
        adata.obs["batch"] == "batch_0", 0.2, 0.4
    )
    return adata


def batch(adata, **kwargs):
    nng.tl.inmf(adata, K, batch_key="batch", **GIVEN, **kwargs)


def online(adata, **kwargs):
    given = {"minibatch_size": 25, "n_epochs": 3, **GIVEN, **kwargs}
    nng.tl.online_inmf(adata, K, batch_key="batch", **given)


FITS = pytest.mark.parametrize("fit", [batch, online])


@FITS
def test_fitted_as_if_the_others_were_not_there(fit):
    adata = cells()
    held = adata.obs["held"].to_numpy()
    fit(adata, validation="held")
    alone, others = adata[~held].copy(), adata[held].copy()
    fit(alone)
    for key in ("inmf", "inmf_specific", "inmf_stats", "inmf_scale"):
        np.testing.assert_array_equal(adata.varm[key], alone.varm[key])
    np.testing.assert_array_equal(adata.obsm["X_inmf"][~held], alone.obsm["X_inmf"])
    info = adata.uns["inmf"]
    np.testing.assert_array_equal(info["n_cells"], alone.uns["inmf"]["n_cells"])
    np.testing.assert_allclose(info["objective"], alone.uns["inmf"]["objective"])
    # The others are scored as new cells, and so is their objective.
    nng.tl.project(others, alone, key="inmf", batch_key="batch")
    np.testing.assert_allclose(
        adata.obsm["X_inmf"][held], others.obsm["X_inmf"], rtol=1e-4, atol=1e-6
    )
    np.testing.assert_array_equal(
        info["n_held_out"], others.obs["batch"].value_counts().sort_index()
    )
    x = others.X.toarray() / others.X.sum(axis=1)
    scale = adata.varm["inmf_scale"].T[others.obs["batch"].cat.codes]
    whole = np.square(np.asarray(x) * scale).sum()
    table = info["validation"]
    expected = others.uns["inmf"]["projected_objective"] / whole
    assert table["held_out"].iloc[-1] == pytest.approx(expected, rel=1e-5)
    fitted = info["objective"][-1] / info["sq_norm"].sum()
    assert table["objective"].iloc[-1] == pytest.approx(fitted, rel=1e-4)


@FITS
def test_a_share_of_every_data_set(fit):
    adata = cells((100, 60, 8))
    fit(adata, validation=0.25)
    info = adata.uns["inmf"]
    np.testing.assert_array_equal(info["n_held_out"], [25, 15, 2])
    np.testing.assert_array_equal(info["n_cells"], [75, 45, 6])
    assert info["params"]["validation"] == 0.25
    assert (adata.obsm["X_inmf"].sum(axis=1) > 0).all()
    again = cells((100, 60, 8))
    fit(again, validation=0.25)
    np.testing.assert_array_equal(again.obsm["X_inmf"], adata.obsm["X_inmf"])


def test_rows_of_a_fit_in_batch():
    adata = cells()
    batch(adata, validation="held", tol=1e-7, n_init=2)
    info, table = adata.uns["inmf"], adata.uns["inmf"]["validation"]
    n_fitted = int(info["n_cells"].sum())
    assert table["iteration"].iloc[-1] == info["n_iter"]
    assert table["iteration"].tolist()[:8] == [1, 2, 3, 4, 5, 6, 8, 10]
    np.testing.assert_array_equal(table["cells"], table["iteration"] * n_fitted)
    np.testing.assert_array_equal(
        info["cells"], n_fitted * np.arange(1, info["n_iter"] + 1)
    )
    trace = info["objective"][table["iteration"] - 1] / info["sq_norm"].sum()
    np.testing.assert_allclose(table["objective"], trace, rtol=1e-6)
    np.testing.assert_allclose(
        table["seconds"], info["seconds"][table["iteration"] - 1]
    )
    assert (np.diff(info["seconds"]) > 0).all()


@FITS
def test_warnings_are_about_the_cells_that_are_fitted(fit):
    adata = cells()
    x = adata.X.toarray()
    x[~adata.obs["held"].to_numpy(), 3] = 0
    x[adata.obs["held"].to_numpy(), 3] = 5
    adata.X = x
    told = "adata.X without the cells that are held out: 1 gene is zero in all cells"
    with pytest.warns(UserWarning, match=told):
        fit(adata, validation="held")


def test_rows_within_epochs():
    adata = cells()
    online(adata, validation="held")
    info, table = adata.uns["inmf"], adata.uns["inmf"]["validation"]
    n_fitted = int(info["n_cells"].sum())
    n_steps = -(-n_fitted // 25)
    assert table["iteration"].iloc[-1] == info["n_iter"] == 3 * n_steps
    assert (table["iteration"] < n_steps).sum() >= 3
    for epoch in (1, 2, 3):
        assert epoch * n_steps in set(table["iteration"])
    assert table["cells"].iloc[-1] == 3 * n_fitted
    np.testing.assert_array_equal(info["iteration"], np.array([1, 2, 3, 3]) * n_steps)
    np.testing.assert_array_equal(info["cells"], np.array([1, 2, 3, 3]) * n_fitted)
    assert (np.diff(table["seconds"]) > 0).all()
    # What is learned helps cells that were not seen.
    assert table["held_out"].iloc[-1] < table["held_out"].iloc[0]


@pytest.mark.parametrize("how", ["file", "mapping", "backed"])
def test_from_files(how, tmp_path):
    adata = cells()
    online(adata, validation="held", minibatch_size=1000)
    expected = adata.uns["inmf"]["validation"]
    adata = cells()
    held = adata.obs["held"].to_numpy()
    given = {"minibatch_size": 1000, "n_epochs": 3, "validation": "held", **GIVEN}
    adata.write_h5ad(tmp_path / "all.h5ad")
    if how == "backed":
        fitted = ad.read_h5ad(tmp_path / "all.h5ad", backed="r")
        nng.tl.online_inmf(fitted, K, batch_key="batch", chunk_size=16, **given)
    else:
        data, key = tmp_path / "all.h5ad", "batch"
        if how == "mapping":
            data, key = {}, None
            for name in ("batch_0", "batch_1"):
                data[name] = tmp_path / f"{name}.h5ad"
                adata[adata.obs["batch"] == name].copy().write_h5ad(data[name])
        out = tmp_path / "scores.h5ad"
        nng.tl.online_inmf(data, K, batch_key=key, chunk_size=16, scores=out, **given)
        fitted = ad.read_h5ad(out)
        assert fitted.obs_names.tolist() == adata.obs_names.tolist()
    info = fitted.uns["inmf"]
    np.testing.assert_array_equal(
        info["n_held_out"], adata.obs.loc[held, "batch"].value_counts().sort_index()
    )
    found = info["validation"]
    assert found["cells"].tolist() == expected["cells"].tolist()
    np.testing.assert_allclose(found["held_out"], expected["held_out"], rtol=1e-3)
    np.testing.assert_allclose(found["objective"], expected["objective"], rtol=1e-3)
    # All cells have scores, in their places.
    again = cells()
    nng.tl.project(again, fitted, key="inmf", batch_key="batch")
    np.testing.assert_allclose(
        fitted.obsm["X_inmf"], again.obsm["X_inmf"], rtol=1e-3, atol=1e-5
    )


def test_scores_written_back(tmp_path):
    adata = cells()
    files = {name: tmp_path / f"{name}.h5ad" for name in ("batch_0", "batch_1")}
    for name, path in files.items():
        adata[adata.obs["batch"] == name].copy().write_h5ad(path)
    nng.tl.online_inmf(files, K, validation=0.3, write_back=True, **GIVEN)
    for path in files.values():
        assert (ad.read_h5ad(path).obsm["X_inmf"].sum(axis=1) > 0).all()


def test_goes_on_from_a_checkpoint(tmp_path):
    adata = cells()
    online(adata, validation=0.2, n_epochs=3)
    whole = adata.uns["inmf"]["validation"].drop(columns="seconds")
    online(adata, validation=0.2, n_epochs=1, checkpoint=tmp_path / "state.npz")
    online(adata, validation=0.2, n_epochs=3, checkpoint=tmp_path / "state.npz")
    rest = adata.uns["inmf"]["validation"].drop(columns="seconds")
    np.testing.assert_allclose(rest, whole, rtol=1e-6)
    with pytest.raises(ValueError, match="validation"):
        online(adata, validation=0.3, checkpoint=tmp_path / "state.npz")


def test_seconds_go_on_from_a_checkpoint(tmp_path, monkeypatch):
    adata, path = cells(), tmp_path / "state.npz"
    step = OnlineSolver.step

    def interrupted(self, state, blocks):
        if state.step == 7:
            raise KeyboardInterrupt
        return step(self, state, blocks)

    # Six mini-batches an epoch: within the second one.
    with monkeypatch.context() as patch:
        patch.setattr(OnlineSolver, "step", interrupted)
        with pytest.warns(UserWarning, match="Interrupted after 7 of 18"):
            online(adata, validation=0.2, checkpoint=path)
    first = adata.uns["inmf"]["validation"]
    online(adata, validation=0.2, checkpoint=path)
    table = adata.uns["inmf"]["validation"]
    assert len(table) > len(first)
    assert (np.diff(table["seconds"]) > 0).all()
    assert (np.diff(adata.uns["inmf"]["seconds"]) > 0).all()


def test_interrupted_after_a_look(monkeypatch):
    look = Watch.step

    def interrupted(self, loadings, objective):
        look(self, loadings, objective)
        if len(self.starts[-1]) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(Watch, "step", interrupted)
    adata = cells()
    with pytest.warns(UserWarning, match="Interrupted after 3"):
        batch(adata, validation=0.2)
    assert adata.uns["inmf"]["validation"]["iteration"].tolist() == [1, 2, 3]


def test_beside_unshared_variables():
    adata = cells()
    own = {"batch_0": adata.var_names[:10].tolist()}
    x = adata.X.toarray()
    x[(adata.obs["batch"] == "batch_1").to_numpy(), :10] = 0
    adata.X = sp.csr_matrix(x)
    for fit in (batch, online):
        fit(adata, validation="held", unshared=own)
        w, v = adata.varm["inmf"], adata.varm["inmf_specific"]
        assert not w[:10].any()
        assert not v[:10, 1].any()
        held = adata.obs["held"].to_numpy()
        alone, others = adata[~held].copy(), adata[held].copy()
        fit(alone, unshared=own)
        np.testing.assert_array_equal(v, alone.varm["inmf_specific"])
        # Of a projection, variables without a scale say nothing either.
        nng.tl.project(others, alone, key="inmf", batch_key="batch")
        np.testing.assert_allclose(
            adata.obsm["X_inmf"][held], others.obsm["X_inmf"], rtol=1e-4, atol=1e-6
        )


def test_files_keep_it(tmp_path):
    adata = cells()
    online(adata, validation="held")
    adata.write_h5ad(tmp_path / "fit.h5ad")
    stored = ad.read_h5ad(tmp_path / "fit.h5ad").uns["inmf"]["validation"]
    expected = adata.uns["inmf"]["validation"]
    np.testing.assert_allclose(stored, expected)
    assert list(stored) == list(expected)


@FITS
@pytest.mark.parametrize(
    ("validation", "error", "match"),
    [
        (0.0, ValueError, "validation=0.0 must be a share"),
        (1.0, ValueError, "validation=1.0 must be a share"),
        (True, ValueError, "validation=True must be a share"),
        ("nowhere", KeyError, "nowhere"),
        ("batch", ValueError, "must be 160 booleans, one per cell"),
        ("none", ValueError, "no cell of this column of obs is True"),
        ("all", ValueError, "every cell of this column of obs is True"),
        (
            "one",
            ValueError,
            "validation='one' leaves no cell of the data sets .'batch_0'",
        ),
        (0.98, ValueError, "Without the cells of validation=0.98.*fewer cells than"),
    ],
)
def test_refusals(fit, validation, error, match):
    adata = cells()
    adata.obs["none"], adata.obs["all"] = False, True
    adata.obs["one"] = adata.obs["batch"] == "batch_0"
    before = set(adata.uns)
    with pytest.raises(error, match=match):
        fit(adata, validation=validation)
    assert set(adata.uns) == before


def with_rare_genes(n_rare, n_found=1):
    """Genes that few of 1,500 cells have, each others."""
    adata = nng.datasets.batches((1500, 100), 40, K)
    x = adata.X.toarray()
    for gene in range(n_rare):
        x[:1500, gene] = 0
        x[gene * n_found : (gene + 1) * n_found, gene] = 2
    adata.X = sp.csr_matrix(x)
    return adata


@pytest.mark.parametrize("fit", [batch, online])
def test_genes_that_few_cells_carry_are_told(fit):
    # 1,500 cells, of whose 40 genes each has the same size: two have one in 20, and with
    # the 100 others 4.7 % of all.
    match = r"adata.X: 2 genes are found in, or carried by, fewer than 10 cells .*5% of"
    with pytest.warns(UserWarning, match=match) as told:
        fit(with_rare_genes(2))
    (message,) = [str(one.message) for one in told if "carried" in str(one.message)]
    assert "cells of a data set, e.g. ['" in message
    assert "scanpy.pp.filter_genes(cells, min_cells=10)" in message
    # Genes are named where some are left out before them.
    adata = with_rare_genes(2)
    adata.var["used"] = np.arange(adata.n_vars) != 0
    with pytest.warns(UserWarning, match=r"1 gene is found in.*e\.g\. \['gene_1'\]"):
        fit(adata, mask_var="used")


@pytest.mark.parametrize(
    ("adata", "given"),
    [
        (with_rare_genes(0), {}),
        (with_rare_genes(2, n_found=20), {}),
        # Without scaling, they are as small as they are.
        (with_rare_genes(2), {"scale": False}),
    ],
)
def test_genes_of_more_cells_are_not_told(adata, given):
    online(adata, **{"n_epochs": 1, "minibatch_size": 500, **given})
