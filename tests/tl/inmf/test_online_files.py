"""Online iNMF of files and mappings, and where scores go."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import nonneg as nng
from nonneg.models.inmf import minibatches
from testing.nonneg import assert_same, snapshot
from testing.nonneg._online import (
    MAPPINGS,
    NAMES,
    SIMULATED,
    K,
    assert_close,
    assert_same_model,
    contents,
    dense,
    expected_scores,
    fit,
    in_memory,
    parts,
    read,
    warns,
    write,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
@pytest.mark.parametrize("as_text", [True, False])
def test_a_file(fitted, folder, form, as_text):
    """A model comes back, and the file is as it was."""
    before = contents(folder)
    path = folder / f"all.{form}"
    model = fit(str(path) if as_text else path)
    assert model.shape == (0, 30)
    assert list(model.var_names) == list(SIMULATED.var_names)
    assert model.obsm["X_inmf"].shape == (0, K)
    assert_same_model(model, fitted)
    assert model.uns["inmf"]["params"]["batch_key"] == "batch"
    assert contents(folder) == before


@pytest.mark.parametrize("kind", MAPPINGS)
def test_mappings(fitted, folder, kind):
    before = contents(folder)
    data = MAPPINGS[kind](folder)
    frozen = {k: snapshot(x) for k, x in data.items() if isinstance(x, ad.AnnData)}
    model = fit(data)
    assert model.n_obs == 0
    assert_same_model(model, fitted)
    assert model.uns["inmf"]["params"]["batch_key"] == "batch"
    for name, old in frozen.items():
        assert_same(snapshot(data[name]), old)
    assert contents(folder) == before


def test_names_of_data_sets_are_text(fitted):
    data = dict(zip([10, 9, "a/b c"], parts().values(), strict=True))
    model = fit(data, lam={"9": 1, "10": 2, "a/b c": 3})
    assert list(model.uns["inmf"]["batches"]) == ["10", "9", "a/b c"]
    np.testing.assert_array_equal(model.uns["inmf"]["lam"], [2, 1, 3])
    np.testing.assert_array_equal(model.uns["inmf"]["n_cells"], [60, 40, 50])


@pytest.mark.parametrize("source", ["h5ad", "zarr", "mixed", "one file"])
@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_scores_in_a_new_file(fitted, folder, tmp_path, source, form):
    before = contents(folder)
    path = tmp_path / f"scores.{form}"
    # Not in the order of their names.
    data = folder / "all.h5ad"
    if source != "one file":
        data = dict(reversed(MAPPINGS[source](folder).items()))
    model = fit(data, scores=path)
    result = read(path)
    if source == "one file":
        names = list(SIMULATED.obs_names)
    else:
        names = [name for d in reversed(NAMES) for name in parts()[d].obs_names]
    assert list(result.obs_names) == names
    assert list(result.var_names) == list(SIMULATED.var_names)
    label = result.obs["batch"]
    assert isinstance(label.dtype, pd.CategoricalDtype)
    assert list(label) == list(SIMULATED.obs["batch"][names])
    assert result.X is None
    assert_same_model(result, model, exact=True)
    # The scores of the model that is stored with them.
    x = SIMULATED[names].copy()
    codes = label.cat.codes.to_numpy()
    assert_close(result.obsm["X_inmf"], expected_scores(x, codes, result))
    if source == "one file":
        assert_close(result.obsm["X_inmf"], fitted.obsm["X_inmf"])
    assert contents(folder) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", path.name]


def test_scores_can_be_aligned_and_plotted(folder, tmp_path):
    """The new file is an AnnData with an integration like any other."""
    fit(folder / "all.zarr", scores=tmp_path / "scores.h5ad")
    result = read(tmp_path / "scores.h5ad")
    nng.tl.quantile_align(result, batch_key="batch", min_cells=5)
    assert result.obsm["X_inmf_aligned"].shape == (150, K)
    assert len(nng.get.top_genes(result, 3, key="inmf")) > 0
    write(result, tmp_path / "again.h5ad")


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_an_older_file_of_scores_is_kept(folder, tmp_path, form):
    path = tmp_path / f"scores.{form}"
    fit(folder / "all.h5ad", scores=path)
    with pytest.raises(ValueError, match=rf"scores\.{form}' exists"):
        fit(folder / "all.h5ad", scores=path, key_added="new")
    assert list(read(path).obsm) == ["X_inmf"]


@pytest.mark.parametrize("kind", MAPPINGS)
def test_write_back(folder, kind):
    """Scores, and nothing else."""
    data = MAPPINGS[kind](folder)
    before = {name: in_memory(one) for name, one in data.items()}
    model = fit(data, write_back=True)
    for d, (name, one) in enumerate(data.items()):
        result = in_memory(one)
        scores = result.obsm.pop("X_inmf")
        assert_close(scores, expected_scores(before[name], [d] * len(scores), model))
        assert_same(snapshot(result), snapshot(before[name]))


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_write_back_into_one_file(fitted, folder, form):
    path = folder / f"all.{form}"
    for key_added, key in ((None, "X_inmf"), (None, "X_inmf"), ("foo", "foo")):
        fit(path, write_back=True, key_added=key_added)
        assert_close(read(path).obsm[key], fitted.obsm["X_inmf"])
    assert set(read(path).obsm) == {"truth", "X_inmf", "foo"}


def test_write_back_where_there_is_no_obsm(folder):
    import h5py

    with h5py.File(folder / "all.h5ad", "r+") as file:
        del file["obsm"]
    fit(folder / "all.h5ad", write_back=True)
    assert read(folder / "all.h5ad").obsm["X_inmf"].shape == (150, K)


@pytest.mark.parametrize("stored", [True, False])
def test_another_order_of_genes(stored, fitted, tmp_path):
    data = parts()
    order = np.random.default_rng(0).permutation(30)
    data["batch_1"] = data["batch_1"][:, order].copy()
    if stored:
        data["batch_1"] = write(data["batch_1"], tmp_path / "reordered.h5ad")
    model = fit(data)
    assert list(model.var_names) == list(SIMULATED.var_names)
    assert_same_model(model, fitted)


@pytest.mark.parametrize("stored", [True, False])
def test_genes_that_all_have(stored, tmp_path):
    """Cells are divided by the sums of all their genes nevertheless."""
    data = parts()
    data["batch_0"] = data["batch_0"][:, 3:].copy()
    data["batch_2"] = data["batch_2"][:, :-2].copy()
    totals = {name: dense(one).sum(1) for name, one in data.items()}
    if stored:
        data = {k: write(one, tmp_path / f"{k}.h5ad") for k, one in data.items()}
    with warns("25 variables are in all data sets, of up to 30"):
        model = fit(data)
    assert list(model.var_names) == [f"gene_{j}" for j in range(3, 28)]
    by_hand = parts()
    for name, one in by_hand.items():
        one.obs["size"] = totals[name]
    by_hand = {name: one[:, 3:28].copy() for name, one in by_hand.items()}
    assert_same_model(model, fit(by_hand, size_factors="size"))


@pytest.mark.parametrize("form", ["column", "names"])
@pytest.mark.parametrize("kind", ["memory", "file", "mapping"])
def test_mask(adata, form, kind, tmp_path):
    used = np.arange(30) % 3 != 1
    adata.var["used"] = used
    mask = "used" if form == "column" else list(adata.var_names[used])
    expected = fit(adata, mask_var=used, copy=True)
    data = adata
    if kind == "file":
        data = write(adata, tmp_path / "data.h5ad")
    elif kind == "mapping":
        data = {n: adata[adata.obs["batch"] == n].copy() for n in NAMES}
    model = fit(data, mask_var=mask)
    if kind == "memory":
        assert np.isnan(adata.varm["inmf_specific"][~used]).all()
        assert_same_model(adata, expected, exact=True)
    else:
        assert list(model.var_names) == list(adata.var_names[used])
        assert_same_model(model, expected[:, used].copy())


def test_a_layer_of_files(adata, fitted, tmp_path):
    adata.layers["counts"], adata.X = adata.X, None
    model = fit(write(adata, tmp_path / "data.h5ad"), layer="counts")
    assert_same_model(model, fitted)


def test_a_column_of_totals(adata, fitted, tmp_path):
    adata.obs["size"] = dense(adata).sum(1)
    model = fit(write(adata, tmp_path / "data.zarr"), size_factors="size")
    assert_same_model(model, fitted)


def test_windows_change_the_order_only(fitted, folder, monkeypatch):
    """Data that do not fit in one window: each cell is visited once per epoch."""
    monkeypatch.setattr(minibatches, "_WINDOW_BYTES", 4000)
    model = fit(folder / "all.h5ad", chunk_size=16, n_epochs=10)
    reference = fit(SIMULATED.copy(), n_epochs=10, copy=True)
    ours, theirs = (x.uns["inmf"]["objective"][-1] for x in (model, reference))
    assert ours == pytest.approx(theirs, rel=0.05)
    assert not np.array_equal(
        model.uns["inmf"]["change"], reference.uns["inmf"]["change"]
    )


def test_empty_cells_and_missing_genes(adata, folder):
    x = dense(adata).astype(np.float32)
    x[[3, 70]] = 0
    adata.X = sp.csr_matrix(x)
    with warns(".*: 2 cells have no counts of these genes"):
        fit(adata)
    assert not adata.obsm["X_inmf"][[3, 70]].any()
    assert adata.obsm["X_inmf"].any(1).sum() == 148
    with warns(".*: 2 cells have no counts of these genes"):
        fit(write(adata, folder / "empty.h5ad"))
    x = dense(SIMULATED).astype(np.float32)
    x[60:100, 7] = 0
    adata.X = sp.csr_matrix(x)
    with warns(r".*not in others: \{'batch_1': 1\}"):
        fit(write(adata, folder / "missing.h5ad"))
