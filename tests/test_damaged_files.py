"""Files that are damaged end in a message that names them, never in a crash."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import nonneg as nng
from nonneg.operators.choose import as_operator
from nonneg.operators.validate import check_indices
from testing.nonneg import counts
from testing.nonneg._damage import DAMAGE, ZARR_DAMAGE

CASES = [
    (name, end)
    for end in ("h5ad", "zarr")
    for name in {**DAMAGE, **(ZARR_DAMAGE if end == "zarr" else {})}
]

# Sound matrices, of other shapes than the rest of the file.
SHAPES = {"more columns than variables"}
# Damage to what stands beside the matrix.
NAMES = {"fewer names of observations", "names of floats", "no var"}
# In a process of its own: what is tested is that it does not die.
WORKER = """
import json, shutil, sys, warnings
from pathlib import Path
import anndata as ad
import zarr
import nonneg as nng
from testing.nonneg import _damage as d

warnings.simplefilter("ignore")
nng.settings.progress = False
folder = Path(sys.argv[1])


def online(path):
    nng.tl.online_inmf(path, 3, batch_key="batch", size_factors="total", n_epochs=1)


def streamed(path):
    if path.suffix == ".zarr":
        group = zarr.open_group(path, mode="r", use_consolidated=False)
        adata = ad.AnnData(X=ad.io.sparse_dataset(group["X"]))
    else:
        adata = ad.read_h5ad(path, backed="r")
    with OURS:
        nng.tl.nmf(adata, 3, max_iter=2)


class Ours(Exception):
    pass


class _Ours:
    # Errors inside come from nonneg, others from whoever opens the file.
    def __enter__(self):
        pass

    def __exit__(self, kind, error, trace):
        if error is not None:
            raise Ours(f"{type(error).__name__}: {error}") from error


OURS = _Ours()
SOUND = {end: folder / f"sound.{end}" for end in ("h5ad", "zarr")}
for path in SOUND.values():
    d.write(d.sound(), path)
for number, (name, end) in enumerate(json.loads(sys.argv[2])):
    damage, _ = {**d.DAMAGE, **d.ZARR_DAMAGE}[name]
    for verb in (online, streamed):
        path = folder / f"{number}-{verb.__name__}.{end}"
        (shutil.copytree if end == "zarr" else shutil.copy)(SOUND[end], path)
        damage(path)
        try:
            verb(path)
            found = "accepted", ""
        except Ours as error:
            found = "ours", str(error)
        except Exception as error:
            ours = verb is online
            found = ("ours" if ours else "reader"), f"{type(error).__name__}: {error}"
        print(json.dumps([name, end, verb.__name__, *found]), flush=True)
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    process = subprocess.run(
        [sys.executable, "-c", WORKER, str(folder), json.dumps(CASES)],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [json.loads(line) for line in process.stdout.splitlines()]
    assert process.returncode == 0, (lines[-1:], process.stderr[-2000:])
    return {(name, end, verb): rest for name, end, verb, *rest in lines}


@pytest.mark.parametrize(("name", "end"), CASES)
def test_the_message_names_the_file_and_the_fault(name, end, outcomes):
    _, expected = {**DAMAGE, **ZARR_DAMAGE}[name]
    kind, message = outcomes[name, end, "online"]
    assert kind == "ours", message
    assert re.search(expected, message), message
    assert f"-online.{end}" in message or re.search("NaN|infinite|negative", message)
    assert message.startswith(("ValueError", "KeyError", "TypeError"))


@pytest.mark.parametrize(("name", "end"), CASES)
def test_streams_refuse_as_well(name, end, outcomes):
    kind, message = outcomes[name, end, "streamed"]
    # anndata itself refuses some files when they are opened.
    if kind == "accepted":
        # Zarr is read without obs and var here, which what is wrong belongs to.
        assert end == "zarr"
        assert name in {*NAMES, *SHAPES}, message
    elif kind == "ours":
        _, expected = {**DAMAGE, **ZARR_DAMAGE}[name]
        # An AnnData without var or X is one, for anndata.
        assert re.search(f"{expected}|60 x 20|X is None|cannot be read", message)


def broken(what):
    """A matrix in memory whose arrays do not fit together."""
    x = sp.csr_matrix(counts().X)
    if what == "index":
        x.indices[5] = 99999
    elif what == "negative index":
        x.indices[5] = -1
    elif what == "pointer":
        x.indptr[5] = -3
    else:
        x.indptr[5], x.indptr[6] = x.indptr[6] + 1, x.indptr[5]
    return x


@pytest.mark.parametrize(
    "what", ["index", "negative index", "pointer", "falling pointer"]
)
@pytest.mark.parametrize("form", ["csr", "csc"])
@pytest.mark.parametrize(
    "verb",
    [
        lambda adata: nng.tl.nmf(adata, 3),
        lambda adata: nng.tl.fa(adata, 3),
        lambda adata: nng.tl.inmf(adata, 3, batch_key="batch"),
        nng.pp.deviant_genes,
    ],
    ids=["nmf", "fa", "inmf", "deviant_genes"],
)
def test_matrices_in_memory(what, form, verb):
    x = broken(what)
    adata = counts()
    if form == "csc":
        x = sp.csc_matrix((x.data, x.indices, x.indptr), shape=x.shape[::-1])
        adata = ad.AnnData(
            np.zeros(x.shape, np.float32), obs={"batch": np.arange(x.shape[0]) % 2}
        )
    adata.X = x
    with pytest.raises(
        ValueError, match=r"adata\.X.* is damaged: its (indices|indptr)"
    ):
        verb(adata)


@pytest.mark.parametrize(
    ("form", "what", "wrong"),
    [
        ("bsr", "indices", 99999),
        ("bsr", "indptr", -3),
        ("coo", "row", 99999),
        ("coo", "col", -1),
    ],
)
def test_other_sparse_formats(form, what, wrong):
    x = sp.csr_matrix(counts().X).asformat(form)
    getattr(x, what)[3] = wrong
    with pytest.raises(ValueError, match=r"X.*(is damaged|cannot be read)"):
        as_operator(x, where="X")


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
@pytest.mark.parametrize("n_columns", [100, 200, 300, 40_000, 70_000])
def test_negative_indices_of_any_width(dtype, n_columns):
    """Also where there are more columns than the type can count."""
    indices = np.array([5, -1, 7], dtype)
    with pytest.raises(ValueError, match="indices hold -1"):
        check_indices(indices, n_columns, "X")
    check_indices(np.abs(indices), n_columns, "X")


@pytest.mark.parametrize("verb", ["nmf", "pnmf", "inmf", "online_inmf", "deconvolve"])
@pytest.mark.parametrize("bad", [-1.0, np.nan])
def test_contents_are_told_with_their_file(verb, bad, tmp_path):
    adata = counts()
    adata.X[0, 0] = bad
    adata.write_h5ad(tmp_path / "bad.h5ad")
    backed = ad.read_h5ad(tmp_path / "bad.h5ad", backed="r")
    kwargs = {"batch_key": "batch"} if "inmf" in verb else {}
    if verb == "deconvolve":
        means = np.arange(2.0 * adata.n_vars).reshape(2, -1)
        kwargs = {
            "reference": pd.DataFrame(means, columns=adata.var_names),
            "spatial_key": None,
        }
    with pytest.raises(ValueError, match=r"bad\.h5ad.* contains"):
        getattr(nng.tl, verb)(backed, **kwargs)
