"""AnnData on disk: names in every encoding that anndata writes."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import nonneg as nng
from nonneg._adata import stored as module
from nonneg._adata.stored import open_stored

N_OBS, N_VARS = 25, 30
ENCODINGS = {
    "strings": lambda names: pd.Index(names, dtype=object),
    "categories": pd.CategoricalIndex,
    "categories of one": lambda names: pd.CategoricalIndex(["same"] * len(names)),
    "nullable strings": lambda names: pd.Index(pd.array(names, dtype="string")),
}


@pytest.fixture(params=["h5ad", "zarr"])
def form(request):
    return request.param


def write(adata, path):
    with ad.settings.override(allow_write_nullable_strings=True):
        adata.write_h5ad(path) if path.suffix == ".h5ad" else adata.write_zarr(path)


@pytest.mark.filterwarnings("ignore:.*names are not unique:UserWarning")
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_names(encoding, form, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_NAMES", 10)
    adata = ad.AnnData(np.ones((N_OBS, N_VARS), np.float32))
    for frame, letter in ((adata.obs, "c"), (adata.var, "g")):
        frame.index = ENCODINGS[encoding]([f"{letter}{i}" for i in range(len(frame))])
    path = tmp_path / f"a.{form}"
    write(adata, path)
    stored = open_stored(path)
    back = ad.read_h5ad(path) if form == "h5ad" else ad.read_zarr(path)
    assert stored.n_obs == N_OBS
    assert stored.var_names.tolist() == back.var_names.tolist()
    pieces = list(stored.obs_names())
    assert [len(piece) for piece in pieces] == [10, 10, 5]
    assert np.concatenate(pieces).tolist() == back.obs_names.tolist()
    stored.close()


def test_files_with_categories_as_names(form, tmp_path):
    """As some atlases are written; scores carry the names."""
    files = {}
    for name in ("a", "b"):
        adata = nng.datasets.batches((30, 30), N_VARS, 3)
        adata.var.index = pd.CategoricalIndex([f"gene{i}" for i in range(N_VARS)])
        adata.obs.index = pd.CategoricalIndex([f"{name}{i}" for i in range(60)])
        files[name] = tmp_path / f"{name}.{form}"
        write(adata, files[name])
    path = tmp_path / "scores.h5ad"
    model = nng.tl.online_inmf(files, 3, size_factors="total", scores=path)
    assert model.var_names[0] == "gene0"
    assert ad.read_h5ad(path).obs_names[60] == "b0"
