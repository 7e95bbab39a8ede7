"""The tables of array types and devices in the reference say what functions do."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import jax
import pytest
from anndata import AnnData

import nonneg as nng
from nonneg.operators import gather, place
from nonneg.operators.csr import CSROperator
from nonneg.operators.dense import DenseOperator
from testing.nonneg import ARRAY_TYPES, public_functions
from testing.nonneg._right_calls import calls

# Convergence is no matter here; genes of few locations are.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
PAGES = Path(__file__).parents[1] / "docs" / "api"
ROW = re.compile(
    r"^\| \{func\}`~?(?:\w+\.\w+ <)?nonneg\.(\w+\.\w+)>?` "
    r"\| ([^|]*?) \| ([^|]*?) \| ([^|]*?) \|(?: [^|]*? \|)?$",
    re.MULTILINE,
)
PUBLIC = {str(public): public for public in public_functions()}
TABLE = {
    row[0]: dict(zip(("h5ad-csr", "dask-csr-matrix", "device"), row[1:4], strict=True))
    for page in sorted(PAGES.glob("*.md"))
    for row in ROW.findall(page.read_text())
}
HELD = {
    "h5ad-csr": {"streamed", "read", "no"},
    "dask-csr-matrix": {"streamed", "cluster", "read", "no"},
}
# `test_array_types` takes these through all types.
ELSEWHERE = {
    *("tl.nmf", "tl.seminmf", "tl.nsfh", "tl.project", "tl.inmf", "tl.online_inmf"),
    *("tl.online_inmf_update", "pp.deviant_genes", "pp.signatures"),
}
# Pixels and frames are dense.
MOVIES = {"pp.motion_correct", "pp.delta_f", "pp.svd"}


def test_every_function_that_reads_a_matrix_is_in_a_table():
    # A reader of files has blocks as well, and no matrix before.
    reading = {
        name
        for name, public in PUBLIC.items()
        if {"layer", "chunk_size"} & set(public.parameters) and public.module != "io"
    }
    assert set(TABLE) == reading


def test_functions_are_once_and_on_their_page():
    for page in PAGES.glob("*.md"):
        names = [row[0] for row in ROW.findall(page.read_text())]
        assert len(names) == len(set(names))
        assert {name.split(".")[0] for name in names} <= {page.stem}


@pytest.mark.parametrize("name", TABLE)
def test_words_are_those_that_are_explained(name):
    row = TABLE[name]
    for kind, words in HELD.items():
        assert row[kind] in words
    assert row["device"] in {"CPU", "GPU", "GPUs"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", HELD)
@pytest.mark.parametrize("name", sorted(TABLE.keys() - ELSEWHERE))
def test_stored_and_lazy_data(name, kind, tmp_path, monkeypatch):
    """Taken or refused as the table says; what is streamed is nowhere collected."""
    collected = []

    def to_csr(op):
        collected.append(op.shape)
        return original(op)

    original = gather.to_csr
    for module in list(sys.modules.values()):
        if getattr(module, "to_csr", None) is original:
            monkeypatch.setattr(module, "to_csr", to_csr)
    held = "dask-dense" if name in MOVIES and kind.startswith("dask") else kind
    array_type = next(found for found in ARRAY_TYPES if found.name == held)
    arguments = calls()[name]()
    data = [key for key, value in arguments.items() if isinstance(value, AnnData)]
    (first,) = {"adata", "data"} & set(data) or set(data)
    arguments[first] = array_type(arguments[first], tmp_path)
    collected.clear()
    if TABLE[name][kind] == "no":
        with pytest.raises((TypeError, ValueError), match="memory"):
            PUBLIC[name].function(**arguments)
        return
    PUBLIC[name].function(**arguments)
    if TABLE[name][kind] != "read":
        assert not collected


class Computed(Exception):
    """On the devices."""


class Placed:
    """A matrix on devices, which may be looked through and taken back."""

    def __init__(self, op):
        self._op = op

    def __getattr__(self, name):
        if name in {"shape", "dtype", "stats", "to_host"}:
            return getattr(self._op, name)
        raise Computed

    def row_blocks(self):
        return ((rows, Placed(block)) for rows, block in self._op.row_blocks())


# Which compute with the matrix only if they are asked to.
ASKED = {
    "tl.coexpression_network": dict(similarity="measured"),
    "tl.compare": dict(models="pnmf"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLE)
def test_devices(name, monkeypatch):
    """Rows go to several of them, and are computed with there, or not."""
    arguments = calls()[name]() | ASKED.get(name, {})
    cpu = jax.devices("cpu")[0]
    monkeypatch.setattr(place, "selected_devices", lambda: [cpu, cpu])
    for shard, operator in (("dense", DenseOperator), ("sparse", CSROperator)):
        monkeypatch.setattr(
            place,
            f"shard_{shard}",
            lambda x, devices, operator=operator: Placed(operator(x)),
        )
    monkeypatch.setattr(nng.settings, "device", "cpu:0")
    if TABLE[name]["device"] == "GPUs":
        with pytest.raises(Computed):
            PUBLIC[name].function(**arguments)
    else:
        PUBLIC[name].function(**arguments)
