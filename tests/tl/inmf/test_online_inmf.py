"""Online iNMF: of what, to where, from where an interrupted fit goes on."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.optimize import nnls

import nonneg as nng
from nonneg._adata import checkpoint as _checkpoint
from nonneg._adata import scores
from nonneg.models.inmf import minibatches
from nonneg.models.inmf.online import OnlineSolver
from testing.nonneg import assert_same, snapshot

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
K = 4
NAMES = ["batch_0", "batch_1", "batch_2"]
SIMULATED = nng.datasets.batches((60, 40, 50), 30, K, specific=1.0)
N_STEPS = 3  # per epoch


@pytest.fixture
def adata():
    return SIMULATED.copy()


@pytest.fixture(scope="module")
def fitted():
    """A fit in memory."""
    return fit(SIMULATED.copy(), copy=True)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """One file of all, and one for each data set, in both forms."""
    folder = tmp_path_factory.mktemp("originals")
    for form in ("h5ad", "zarr"):
        write(SIMULATED, folder / f"all.{form}")
        for name, one in parts().items():
            write(one, folder / f"{name}.{form}")
    return folder


@pytest.fixture
def folder(originals, tmp_path):
    """A copy of the files, to write into."""
    return Path(shutil.copytree(originals, tmp_path / "data"))


def parts():
    """The data sets, with cells of different names, in a mapping."""
    of = SIMULATED.obs["batch"].astype(str).to_numpy()
    return {name: SIMULATED[of == name].copy() for name in NAMES}


def write(adata, path):
    getattr(adata, f"write_{path.suffix[1:]}")(path)
    return path


def read(path):
    return getattr(ad, f"read_{Path(path).suffix[1:]}")(path)


def in_memory(data):
    """A copy of an AnnData, wherever it is."""
    if not isinstance(data, ad.AnnData):
        return read(data)
    return data.to_memory() if data.isbacked else data.copy()


def fit(data, n_components=K, **kwargs):
    arguments = {"size_factors": "total", "minibatch_size": 50, "n_epochs": 2}
    if not isinstance(data, dict):
        arguments["batch_key"] = "batch"
    return nng.tl.online_inmf(data, n_components, **(arguments | kwargs))


def dense(adata):
    return np.asarray(sp.csr_matrix(adata.X).toarray(), np.float64)


@contextmanager
def warns(message):
    """As `pytest.warns`, which lets out what others warn of and is ignored."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", message, UserWarning)
        yield
    assert caught


def contents(folder):
    """Bytes of every file in a folder."""
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def assert_same_model(first, second, key="inmf", *, exact=False):
    """The same loadings and traces; to the digits that another order of sums leaves."""
    for name in ("", "_specific", "_stats", "_scale"):
        one, other = (np.asarray(x.varm[f"{key}{name}"]) for x in (first, second))
        if exact:
            np.testing.assert_array_equal(one, other)
        else:
            np.testing.assert_allclose(one, other, atol=1e-4 * np.nanmax(other))
    one, other = first.uns[key], second.uns[key]
    assert list(one["batches"]) == list(other["batches"])
    for name in ("gram", "objective", "change", "lam", "n_cells", "sq_norm"):
        if exact:
            np.testing.assert_array_equal(one[name], other[name])
        else:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-3)


def assert_close(scores, expected):
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-3 * expected.max())


def expected_scores(adata, codes, known=None):
    """Scores of minimal objective, by SciPy, on data that are scaled explicitly."""
    x = dense(adata)
    x /= x.sum(1, keepdims=True)
    model = adata if known is None else known
    w = np.asarray(model.varm["inmf"], np.float64)
    v = np.asarray(model.varm["inmf_specific"], np.float64)
    lam = model.uns["inmf"]["lam"]
    scores = np.empty((len(x), w.shape[1]))
    for i, d in enumerate(codes):
        own = np.vstack([w + v[:, d], np.sqrt(lam[d]) * v[:, d]])
        row = x[i] * model.varm["inmf_scale"][:, d]
        scores[i] = nnls(own, np.concatenate([row, np.zeros_like(row)]))[0]
    return scores


# --- data in memory ---------------------------------------------------------


def test_what_is_stored(fitted):
    info = fitted.uns["inmf"]
    assert info["method"] == "online_inmf"
    assert info["batches"].tolist() == NAMES
    assert info["n_iter"] == 2 * N_STEPS
    assert len(info["change"]) == len(info["change_batch"]) == 2 * N_STEPS
    assert set(info["change_batch"]) == {"all"}
    # Two epochs, and the exact value.
    assert len(info["objective"]) == len(info["seconds"]) == 3
    assert (np.diff(info["seconds"]) >= 0).all()
    codes = fitted.obs["batch"].cat.codes.to_numpy()
    h = fitted.obsm["X_inmf"].astype(np.float64)
    assert_close(fitted.obsm["X_inmf"], expected_scores(fitted, codes))
    x = dense(fitted)
    x = x / x.sum(1, keepdims=True) * fitted.varm["inmf_scale"].T[codes]
    objective = 0.0
    for d in range(3):
        own, rows = h[codes == d], x[codes == d]
        w, v = fitted.varm["inmf"], fitted.varm["inmf_specific"][:, d]
        objective += np.square(rows - own @ (w + v).T).sum()
        objective += 5 * np.square(own @ v.T).sum()
        np.testing.assert_allclose(info["gram"][d], own.T @ own, rtol=1e-3)
        np.testing.assert_allclose(
            fitted.varm["inmf_stats"][:, d], rows.T @ own, rtol=1e-3, atol=1e-3
        )
    assert info["objective"][-1] == pytest.approx(objective, rel=1e-4)


def test_comes_close_to_the_batch_solver(adata):
    fit(adata, n_epochs=20)
    batch = nng.tl.inmf(
        adata, K, batch_key="batch", size_factors="total", copy=True
    ).uns["inmf"]["objective"][-1]
    assert adata.uns["inmf"]["objective"][-1] < 1.1 * batch


def test_runs_repeat(adata, fitted):
    fit(adata)
    assert_same_model(adata, fitted, exact=True)
    np.testing.assert_array_equal(adata.obsm["X_inmf"], fitted.obsm["X_inmf"])


def test_backed(adata, fitted, folder):
    before = contents(folder)
    backed = ad.read_h5ad(folder / "all.h5ad", backed="r")
    assert fit(backed) is None
    assert_same_model(backed, fitted)
    assert_close(backed.obsm["X_inmf"], fitted.obsm["X_inmf"])
    backed.file.close()
    assert contents(folder) == before


def test_dask(adata, fitted):
    da = pytest.importorskip("dask.array")
    adata.X = da.from_array(dense(adata).astype(np.float32), chunks=(40, -1))
    fit(adata)
    assert_same_model(adata, fitted)
    assert_close(adata.obsm["X_inmf"], fitted.obsm["X_inmf"])


def test_what_was_aligned_goes_with_the_fit(adata):
    fit(adata)
    nng.tl.quantile_align(adata, batch_key="batch", min_cells=5)
    fit(adata)
    assert "X_inmf_aligned" not in adata.obsm
    assert "inmf_cluster" not in adata.obs


def test_scanpy_runs_on_the_result(fitted):
    sc = pytest.importorskip("scanpy")
    adata = fitted.copy()
    sc.pp.neighbors(adata, use_rep="X_inmf", n_neighbors=5)
    assert adata.obsp["connectivities"].shape == (150, 150)


# --- files and mappings -----------------------------------------------------


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


MAPPINGS = {
    "h5ad": lambda folder: {name: folder / f"{name}.h5ad" for name in NAMES},
    "zarr": lambda folder: {name: str(folder / f"{name}.zarr") for name in NAMES},
    "memory": lambda _: parts(),
    "mixed": lambda folder: {
        "batch_0": folder / "batch_0.zarr",
        "batch_1": parts()["batch_1"],
        "batch_2": ad.read_h5ad(folder / "batch_2.h5ad", backed="r"),
    },
}


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


def test_scores_that_fail_leave_nothing(folder, tmp_path, monkeypatch):
    def fail(*_, **__):
        msg = "The disk is full."
        raise OSError(msg)

    path = tmp_path / "out" / "scores.h5ad"
    path.parent.mkdir()
    monkeypatch.setattr(scores.ScoresInFile, "_write_obs", fail)
    with pytest.raises(OSError, match="disk is full"):
        fit(folder / "all.h5ad", scores=path)
    assert list(path.parent.iterdir()) == []
    monkeypatch.undo()
    fit(folder / "all.h5ad", scores=path)
    assert path.exists()


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
    with warns("2 cells have no counts of these genes"):
        fit(adata)
    assert not adata.obsm["X_inmf"][[3, 70]].any()
    assert adata.obsm["X_inmf"].any(1).sum() == 148
    with warns("2 cells have no counts of these genes"):
        fit(write(adata, folder / "empty.h5ad"))
    x = dense(SIMULATED).astype(np.float32)
    x[60:100, 7] = 0
    adata.X = sp.csr_matrix(x)
    with warns(r".*not in others: \{'batch_1': 1\}"):
        fit(write(adata, folder / "missing.h5ad"))


# --- refusals ---------------------------------------------------------------


def refused(error, match, data, folder=None, **kwargs):
    """The call raises; objects and files are as they were, and there are no new ones."""
    files = None if folder is None else contents(folder)
    values = list(data.values()) if isinstance(data, dict) else [data]
    objects = [one for one in values if isinstance(one, ad.AnnData)]
    before = [snapshot(one) for one in objects]
    with pytest.raises(error, match=match):
        fit(data, **kwargs)
    for one, old in zip(objects, before, strict=True):
        assert_same(snapshot(one), old)
    if folder is not None:
        assert contents(folder) == files


ARGUMENTS = {
    "no key": ("memory", dict(batch_key=None), ValueError, "with `batch_key`"),
    "no key of a file": ("file", dict(batch_key=None), ValueError, "`batch_key`"),
    "key of a mapping": (
        "mapping",
        dict(batch_key="batch"),
        ValueError,
        "batch_key='batch' does not apply to a mapping",
    ),
    "no column": ("memory", dict(batch_key="donor"), KeyError, "'donor'"),
    "no column of a file": (
        "file",
        dict(batch_key="donor"),
        KeyError,
        r"'donor' is not in obs of .*all.h5ad.*\['batch', 'cell_type'\]",
    ),
    "scores in memory": (
        "memory",
        dict(scores="scores.h5ad"),
        ValueError,
        "for files and mappings; those of an AnnData go to its obsm",
    ),
    "back in memory": ("memory", dict(write_back=True), ValueError, "go to its obsm"),
    "both": (
        "file",
        dict(write_back=True, scores="scores.h5ad"),
        ValueError,
        "either scores or write_back",
    ),
    "copy of a file": ("file", dict(copy=True), ValueError, "copy and table_key are"),
    "table of a mapping": ("mapping", dict(table_key="t"), ValueError, "table_key"),
    "components": ("file", dict(n_components=31), ValueError, "of variables, 30"),
    "lam": ("file", dict(lam=-1), ValueError, "lam=-1 must be"),
    "unknown lam": ("mapping", dict(lam={"a": 1}), ValueError, r"\['a'\] do not exist"),
    "weights": ("file", dict(dataset_weights="n"), ValueError, "dataset_weights='n'"),
    "epochs": ("memory", dict(n_epochs=0), ValueError, "n_epochs=0"),
    "size": ("memory", dict(minibatch_size=0), ValueError, "minibatch_size=0"),
    "chunk": ("memory", dict(chunk_size=-2), ValueError, "chunk_size=-2"),
    "layer": ("file", dict(layer="raw"), KeyError, r"has no layers/raw"),
    "layer of a mapping": ("mapping", dict(layer="raw"), KeyError, "'raw'"),
    "mask": ("file", dict(mask_var="hv"), KeyError, "'hv' is not in var of .*all.h5ad"),
    "mask text": ("file", dict(mask_var="text"), ValueError, "'text' in var.*booleans"),
    "mask text of a mapping": (
        "mapping",
        dict(mask_var="text"),
        ValueError,
        "'text' in var of 'batch_0' must be 30 booleans",
    ),
    "mask length": (
        "file",
        dict(mask_var=np.ones(7, bool)),
        ValueError,
        "mask_var must be 30 booleans",
    ),
    "mask names": ("file", dict(mask_var=["Actb"]), KeyError, r"\['Actb'\]"),
    "array of totals": (
        "mapping",
        dict(size_factors=np.ones(150)),
        ValueError,
        "must be 'total' or name a column",
    ),
    "column of totals": ("file", dict(size_factors="n"), KeyError, "'n' is not in obs"),
    "text of totals": (
        "file",
        dict(size_factors="cell_type"),
        ValueError,
        "'cell_type' in obs of .* must hold 150 numbers",
    ),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments(folder, case):
    kind, arguments, error, match = ARGUMENTS[case]
    adata = SIMULATED.copy()
    adata.var["text"] = "False"
    write(adata, folder / "all.h5ad")
    of = adata.obs["batch"]
    data = {
        "memory": adata,
        "file": folder / "all.h5ad",
        "mapping": {name: adata[of == name].copy() for name in NAMES},
    }[kind]
    refused(error, match, data, folder, **arguments)


PLACES = {
    "suffix": ("scores.csv", r"scores=.*scores.csv' must end in .h5ad or .zarr"),
    "input": ("all.h5ad", "is one of the files to read"),
    "input, roundabout": ("../data/all.h5ad", "is one of the files to read"),
    "no folder": ("missing/scores.h5ad", "folder of scores=.* does not exist"),
    "existing zarr": ("all.zarr", "exists. Remove it, or write elsewhere"),
}


@pytest.mark.parametrize("case", PLACES)
def test_places_of_scores(folder, case):
    name, match = PLACES[case]
    refused(ValueError, match, folder / "all.h5ad", folder, scores=folder / name)


def test_scores_do_not_replace_a_backed_file(folder):
    data = parts()
    data["batch_1"] = ad.read_h5ad(folder / "batch_1.h5ad", backed="r")
    path = folder / "batch_1.h5ad"
    refused(ValueError, "is one of the files to read", data, folder, scores=path)


def test_files_that_are_none(folder):
    import h5py

    (folder / "text.h5ad").write_text("no HDF5")
    (folder / "text.zarr").write_text("no group")
    (folder / "table.csv").write_text("a,b")
    with h5py.File(folder / "other.h5ad", "w") as file:
        file["matrix"] = np.ones(3)
    for name, match in {
        "missing.h5ad": "There is no file .*missing.h5ad",
        "missing.zarr": "There is no file .*missing.zarr",
        "text.h5ad": r"text.h5ad, as .h5ad or .zarr, cannot be read",
        "text.zarr": r"text.zarr, as .h5ad or .zarr, cannot be read",
        "table.csv": r"table.csv, as .h5ad or .zarr, cannot be read",
        "other.h5ad": r"other.h5ad holds no AnnData: it has \['matrix'\]",
    }.items():
        refused(ValueError, match, folder / name, folder)
        refused(
            ValueError, match, {"a": parts()["batch_0"], "b": folder / name}, folder
        )


@pytest.mark.parametrize("data", [3, None, [1, 2], {"a": 3}, {"a": None}], ids=str)
def test_things_that_are_none(data):
    match = "Expected an AnnData or|several data sets as a mapping.*not as a list"
    with pytest.raises(TypeError, match=match):
        fit(data)


def test_mappings_that_do_not_suit(folder):
    data = parts()
    refused(ValueError, "no data sets in the mapping", {})
    refused(
        ValueError, r"one data set only, \['a'\].*nonneg.tl.nmf", {"a": data["batch_0"]}
    )
    refused(
        ValueError,
        r"repeat when they are strings: \[1, '1'\]",
        {1: data["batch_0"], "1": data["batch_1"]},
    )
    empty = data["batch_0"][:0].copy()
    refused(ValueError, "'b' has no cells", {"a": data["batch_1"], "b": empty})
    write(empty, folder / "empty.h5ad")
    refused(ValueError, "empty.h5ad has no cells", folder / "empty.h5ad", folder)
    small = data["batch_0"][:3].copy()
    refused(
        ValueError,
        r"fewer cells than n_components=4: \{'b': 3\}",
        {"a": data["batch_1"], "b": small},
    )


def test_no_gene_in_common(folder):
    data = parts()
    data["batch_1"].var_names = [f"ENSG{j}" for j in range(30)]
    match = r"no variable in common: .*'batch_1': \['ENSG0', 'ENSG1', 'ENSG2'\]"
    refused(ValueError, match, data)
    data["batch_1"] = write(data["batch_1"], folder / "other.h5ad")
    refused(ValueError, match, data, folder)


def test_genes_that_repeat():
    data = parts()
    data["batch_1"].var_names = ["gene_1", *data["batch_1"].var_names[1:]]
    match = r"'batch_1' are matched by name but repeat, e.g. \['gene_1'\]"
    refused(ValueError, match, data)


BAD = {
    "negative": (-1.0, r"'batch_2'.*negative entries \(smallest: -1\)"),
    "nan": (np.nan, "'batch_2'.*contains NaN"),
    "inf": (np.inf, "'batch_2'.*infinite"),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_entries_of_files(adata, bad, form, folder):
    value, match = BAD[bad]
    x = dense(adata).astype(np.float32)
    x[-1, -1] = value
    adata.X = sp.csr_matrix(x)
    path = write(adata, folder / f"bad.{form}")
    refused(ValueError, match, path, folder, write_back=True)
    refused(ValueError, match, path, folder, scores=folder / "scores.h5ad")
    refused(ValueError, match, path, folder, checkpoint=folder / "state.npz")
    if form == "h5ad":
        refused(ValueError, match, adata)


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_stored_csc(adata, form, folder):
    adata.X = sp.csc_matrix(adata.X)
    path = write(adata, folder / f"csc.{form}")
    refused(ValueError, r"csc\.\w+ .*is stored as CSC.*CSR", path, folder)
    # In memory it is converted.
    fit(adata)


def test_missing_labels_in_a_file(adata, folder):
    adata.obs["batch"] = adata.obs["batch"].cat.set_categories(NAMES[:2])
    path = write(adata, folder / "holes.h5ad")
    match = r"'batch' in obs of .*holes.h5ad' is missing for 50 observations. Fill or remove"
    refused(ValueError, match, path, folder)


def test_a_file_without_x(adata, folder):
    adata.layers["counts"], adata.X = adata.X, None
    path = write(adata, folder / "no_x.h5ad")
    refused(KeyError, r"no_x.h5ad has no X; its layers are \['counts'\]", path, folder)


# --- interruption and checkpoints -------------------------------------------


class Killed(BaseException):
    """Ends a fit where a process would die."""


@contextmanager
def killed_after(n_saves):
    """Let a fit die after some saves, one after every step."""
    original, n_done = _checkpoint.Checkpoint.save, 0

    def save(self, state, *, now=False):
        nonlocal n_done
        original(self, state, now=now)
        n_done += 1
        if n_done == n_saves:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_checkpoint, "_SHARE", np.inf)
        patch.setattr(_checkpoint.Checkpoint, "save", save)
        with pytest.raises(Killed):
            yield


# In the middle of an epoch, at its end, and before cells are scored.
@pytest.mark.parametrize("n_saves", [1, N_STEPS, N_STEPS + 2, 2 * N_STEPS])
def test_goes_on_in_memory(adata, fitted, tmp_path, n_saves):
    before = snapshot(adata)
    with killed_after(n_saves):
        fit(adata, checkpoint=tmp_path / "state.npz")
    assert_same(snapshot(adata), before)
    fit(adata, checkpoint=tmp_path / "state.npz")
    assert_same_model(adata, fitted, exact=True)
    np.testing.assert_array_equal(adata.obsm["X_inmf"], fitted.obsm["X_inmf"])
    assert adata.uns["inmf"]["n_iter"] == 2 * N_STEPS
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]


@pytest.mark.parametrize("window", [None, 4000])
@pytest.mark.parametrize("n_saves", [2, N_STEPS + 1])
def test_goes_on_with_files(folder, tmp_path, n_saves, window, monkeypatch):
    """Also where an epoch is read in several windows."""
    if window is not None:
        monkeypatch.setattr(minibatches, "_WINDOW_BYTES", window)
    data, state = MAPPINGS["h5ad"](folder), tmp_path / "state.npz"
    expected = fit(data)
    before = contents(folder)
    with killed_after(n_saves):
        fit(data, checkpoint=state, write_back=True)
    assert contents(folder) == before
    assert_same_model(fit(data, checkpoint=state), expected, exact=True)


SCRIPT = """
import os, signal, sys
import nonneg as nng
from nonneg._adata import checkpoint as _checkpoint

folder, out = sys.argv[1:]
original, n_done = _checkpoint.Checkpoint.save, 0


def save(self, state, *, now=False):
    global n_done
    original(self, state, now=now)
    n_done += 1
    if n_done == 4:
        os.kill(os.getpid(), signal.SIGKILL)


_checkpoint._SHARE = float("inf")
_checkpoint.Checkpoint.save = save
nng.tl.online_inmf(
    {name: f"{folder}/{name}.h5ad" for name in ("batch_0", "batch_1", "batch_2")},
    4,
    size_factors="total",
    minibatch_size=50,
    n_epochs=2,
    scores=f"{out}/scores.zarr",
    checkpoint=f"{out}/state.npz",
)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_process_that_is_killed(folder, tmp_path):
    """The same call gives what it would have given."""
    data, out = MAPPINGS["h5ad"](folder), tmp_path / "out"
    out.mkdir()
    before = contents(folder)
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, folder, out],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    left = {path.name for path in out.iterdir()}
    assert left == {"state.npz", ".unfinished-scores.zarr"}
    assert contents(folder) == before
    with np.load(out / "state.npz") as file:
        assert int(file["step"]) == 4
    where = {"scores": out / "scores.zarr", "checkpoint": out / "state.npz"}
    resumed = fit(data, **where)
    whole = fit(data, scores=out / "whole.zarr")
    assert_same_model(resumed, whole, exact=True)
    left = {path.name for path in out.iterdir()}
    assert left == {"state.npz", "scores.zarr", "whole.zarr"}
    scores = [read(out / f"{name}.zarr").obsm["X_inmf"] for name in ("scores", "whole")]
    np.testing.assert_array_equal(*scores)


def test_a_finished_checkpoint_only_scores(adata, fitted, tmp_path, monkeypatch):
    state = tmp_path / "state.npz"
    fit(adata.copy(), checkpoint=state)

    def step(*_):
        msg = "There is nothing to fit."
        raise AssertionError(msg)

    monkeypatch.setattr(OnlineSolver, "step", step)
    fit(adata, checkpoint=state)
    assert_same_model(adata, fitted, exact=True)
    np.testing.assert_array_equal(adata.obsm["X_inmf"], fitted.obsm["X_inmf"])


def test_more_epochs_go_on(adata, tmp_path):
    """A fit of two epochs is the first part of one of four."""
    expected = fit(adata, n_epochs=4, copy=True)
    fit(adata.copy(), n_epochs=2, checkpoint=tmp_path / "state.npz")
    fit(adata, n_epochs=4, checkpoint=tmp_path / "state.npz")
    assert_same_model(adata, expected, exact=True)


DIFFERENCES = {
    "n_components": dict(n_components=3),
    "seed": dict(rng=1),
    "lam": dict(lam=2),
    "dataset_weights": dict(dataset_weights="equal"),
    "minibatch_size": dict(minibatch_size=75),
    "scale": dict(scale=False),
    "size_factors": dict(size_factors="size"),
    "mask_var": dict(mask_var="used"),
    "batches": dict(batch_key="other"),
    "layer": dict(layer="counts"),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_the_checkpoint_of_another_fit(adata, name, tmp_path):
    adata.obs["size"] = dense(adata).sum(1)
    adata.obs["other"] = adata.obs["batch"].cat.rename_categories({"batch_0": "z"})
    adata.var["used"] = True
    adata.layers["counts"] = adata.X
    state = tmp_path / "state.npz"
    fit(adata.copy(), checkpoint=state, n_epochs=1)
    match = rf"belongs to another fit. Differences.*'{name}'.*Give another path"
    before = contents(tmp_path)
    refused(ValueError, match, adata, tmp_path, checkpoint=state, **DIFFERENCES[name])
    assert contents(tmp_path) == before


def test_the_checkpoint_of_other_data(adata, tmp_path):
    """Of the same shape and names: scaled genes have the same norms."""
    state = tmp_path / "state.npz"
    fit(adata.copy(), checkpoint=state, n_epochs=1)
    other = nng.datasets.batches((60, 40, 50), 30, K, specific=1.0, rng=1)
    refused(ValueError, "belongs to another fit", other, tmp_path, checkpoint=state)
    masks = np.arange(30) < 25, np.arange(30) >= 5
    fit(adata.copy(), checkpoint=tmp_path / "mask.npz", n_epochs=1, mask_var=masks[0])
    with pytest.raises(ValueError, match="belongs to another fit"):
        fit(adata, checkpoint=tmp_path / "mask.npz", mask_var=masks[1])
    data = parts()
    fit(data, checkpoint=tmp_path / "mapping.npz", n_epochs=1)


def test_the_order_of_a_mapping_is_no_matter(tmp_path):
    data = parts()
    reverse = dict(reversed(data.items()))
    fit(data, checkpoint=tmp_path / "state.npz", n_epochs=1)
    whole = fit(data)
    assert_same_model(fit(reverse), whole, exact=True)
    assert_same_model(
        fit(reverse, checkpoint=tmp_path / "state.npz"), whole, exact=True
    )


def test_a_checkpoint_that_is_ahead(adata, tmp_path):
    fit(adata.copy(), checkpoint=tmp_path / "state.npz", n_epochs=2)
    refused(
        ValueError,
        "more than n_epochs=1 of 3",
        adata,
        tmp_path,
        checkpoint=tmp_path / "state.npz",
        n_epochs=1,
    )


def test_labels_of_an_old_anndata(folder):
    """Categories that are kept beside the codes, as before anndata 0.8."""
    import h5py

    expected = fit(folder / "all.h5ad")
    with h5py.File(folder / "all.h5ad", "r+") as file:
        obs = file["obs"]
        codes, categories = obs["batch/codes"][:], obs["batch/categories"]
        names = np.asarray(ad.io.read_elem(categories), object)
        del obs["batch"]
        obs["__categories/batch"] = names
        obs["batch"] = codes
        obs["batch"].attrs["categories"] = obs["__categories/batch"].ref
    assert_same_model(fit(folder / "all.h5ad"), expected, exact=True)


@pytest.mark.filterwarnings("ignore:Genes that are zero in all cells of a data set")
def test_a_checkpoint_of_another_number_of_threads(tmp_path):
    """SufficientStatistics differ in their last digits; that is no other fit."""
    adata = nng.datasets.batches((600, 400), 100, 3, depth=800)
    with nng.settings.override(n_threads=1):
        fit(adata.copy(), 3, checkpoint=tmp_path / "state.npz", n_epochs=1)
    with nng.settings.override(n_threads=2):
        fit(adata, 3, checkpoint=tmp_path / "state.npz", n_epochs=1)


def test_what_is_no_checkpoint(adata, tmp_path):
    (tmp_path / "garbage.npz").write_bytes(b"garbage")
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    np.save(tmp_path / "array.npy", np.ones(3))
    (tmp_path / "empty.npz").touch()
    for name in ("garbage.npz", "other.npz", "array.npy", "empty.npz"):
        match = f"checkpoint=.*{name}' is not a checkpoint"
        refused(ValueError, match, adata, tmp_path, checkpoint=tmp_path / name)
    match = "folder of checkpoint=.* does not exist"
    refused(ValueError, match, adata, checkpoint=tmp_path / "missing" / "state.npz")


def test_half_a_checkpoint(adata, tmp_path):
    state = tmp_path / "state.npz"
    fit(adata.copy(), checkpoint=state, n_epochs=1)
    state.write_bytes(state.read_bytes()[:-400])
    refused(ValueError, "is not a checkpoint", adata, tmp_path, checkpoint=state)


@contextmanager
def interrupted_in_step(n):
    """An interruption while a mini-batch is worked on."""
    original, n_done = OnlineSolver.step, 0

    def step(*args):
        nonlocal n_done
        n_done += 1
        if n_done == n:
            raise KeyboardInterrupt
        return original(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OnlineSolver, "step", step)
        yield


def test_an_interruption_keeps_what_was_fitted(adata, fitted, tmp_path):
    state = tmp_path / "state.npz"
    match = "Interrupted after 4 of 6 mini-batches; cells are scored"
    with interrupted_in_step(5), pytest.warns(UserWarning, match=match):
        fit(adata, checkpoint=state)
    info = adata.uns["inmf"]
    assert (info["n_iter"], info["interrupted"]) == (4, True)
    assert len(info["change"]) == 4
    # One epoch, and the exact value.
    assert len(info["objective"]) == 2
    codes = adata.obs["batch"].cat.codes.to_numpy()
    assert_close(adata.obsm["X_inmf"], expected_scores(adata, codes))
    fit(adata, checkpoint=state)
    assert_same_model(adata, fitted, exact=True)


def test_an_interruption_before_anything_was_fitted(adata):
    before = snapshot(adata)
    with interrupted_in_step(1), pytest.raises(KeyboardInterrupt):
        fit(adata)
    assert_same(snapshot(adata), before)


# --- models and projection --------------------------------------------------


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
    with pytest.warns(UserWarning, match="1 cells that are all zero; their scores are"):
        nng.tl.project(adata, fitted, key="inmf", batch_key="batch")
    assert not adata.obsm["X_inmf"][5].any()
    others = np.arange(150) != 5
    assert_close(adata.obsm["X_inmf"][others], fitted.obsm["X_inmf"][others])
