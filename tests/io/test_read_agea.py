"""The layout in which iblatlas stores the expression atlas."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import nonneg as nng
from nonneg.io._read_agea import _read_table
from testing.nonneg import real_data

SHAPE = (58, 41, 67)
GENES = ["Pdyn", "Nrp1", "Nrp1", "Gad1"]
TREE = pd.DataFrame(
    {
        "id": [0, 997, 8, 567],
        "acronym": ["void", "root", "grey", "CH"],
        "parent_structure_id": [np.nan, np.nan, 997, 8],
    }
)


@pytest.fixture(scope="module")
def stored():
    rng = np.random.default_rng(0)
    volumes = rng.gamma(1, 1, (len(GENES), *SHAPE)).astype(np.float16)
    volumes[rng.random(volumes.shape) < 0.05] = -1
    labels = np.zeros(SHAPE, np.int16)
    labels[3:29, 5:30, 4:60] = 3
    labels[29:55, 5:30, 4:60] = 3 + 2
    return volumes, labels


@pytest.fixture
def folder(tmp_path, stored):
    """As the tests of iblatlas fake it."""
    volumes, labels = stored
    volumes.tofile(tmp_path / "gene-expression.bin")
    (2 * volumes).tofile(tmp_path / "gene-expression-processed.bin")
    np.save(tmp_path / "label.npy", labels)
    np.save(tmp_path / "image.npy", np.zeros(SHAPE))
    pd.DataFrame({"id": ["11", "12", "13", "14"], "gene": GENES}).to_parquet(
        tmp_path / "gene-expression.pqt"
    )
    return tmp_path


@pytest.mark.parametrize("lazy", [False, True])
def test_content(lazy, folder, stored):
    volumes, labels = stored
    adata = nng.io.read_agea(folder, lazy=lazy)
    assert adata.shape == ((labels > 0).sum(), 4)
    assert adata.var_names.tolist() == ["Pdyn", "Nrp1-12", "Nrp1-13", "Gad1"]
    assert isinstance(adata.X, np.ndarray) is not lazy
    assert adata.X.dtype == np.float32
    adata = adata.to_memory()
    for volume, name in zip(volumes, adata.var_names, strict=True):
        inside = np.where(labels > 0, volume, -1).T
        np.testing.assert_array_equal(
            np.nan_to_num(nng.get.image(adata, name), nan=-1), inside
        )
    np.testing.assert_array_equal(
        np.nan_to_num(nng.get.image(adata, "label")), labels.T
    )
    assert adata.uns["volume"]["shape"].tolist() == [67, 41, 58]


def test_some_genes_and_processed(folder):
    adata = nng.io.read_agea(folder, genes=["Gad1", "Nrp1"], lazy=False)
    assert adata.var_names.tolist() == ["Nrp1-12", "Nrp1-13", "Gad1"]
    twice = nng.io.read_agea(folder, processed=True, genes=["Gad1"]).to_memory()
    np.testing.assert_array_equal(twice.X[:, 0], 2 * adata.X[:, 2])


def test_structures_and_hemispheres(folder):
    adata = nng.io.read_agea(folder, structures=TREE)
    counts = adata.obs.groupby(["region", "hemisphere"], observed=True).size()
    assert counts.to_dict() == {
        # Numbers beyond the table are on the left: 5 is the second structure again.
        ("grey", "left"): 26 * 25 * 56,
        ("CH", "right"): 26 * 25 * 56,
    }
    with pytest.raises(ValueError, match="counts to 5, but there are 2"):
        nng.io.read_agea(folder, structures=TREE[:3])
    with pytest.raises(ValueError, match="first entry is 0"):
        nng.io.read_agea(folder, structures=TREE[1:])


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel what was read")
def test_one_gene_costs_its_own_bytes(folder):
    adata = nng.io.read_agea(folder)
    assert (folder / "gene-expression.bin").stat().st_size > 1_200_000
    chosen = adata[:, "Gad1"].X
    chosen.compute()  # with what is imported on the way
    before = bytes_read()
    column = chosen.compute()
    assert column.shape == (adata.n_obs, 1)
    assert 310_000 < bytes_read() - before <= 400_000


def bytes_read():
    """By this process, from files."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def test_refusals(folder):
    with pytest.raises(KeyError, match=r"1 gene is not in the atlas.*'Abc'"):
        nng.io.read_agea(folder, genes=["Pdyn", "Abc"])
    path = folder / "gene-expression.bin"
    content = path.read_bytes()
    for wrong in (content[:-2], content * 2):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match="truncated, or does not belong"):
            nng.io.read_agea(folder)
    labels = np.load(folder / "label.npy")
    for wrong in (labels - 1, labels + 0.5, labels[0], 0 * labels):
        np.save(folder / "label.npy", wrong)
        with pytest.raises(ValueError, match=r"label.npy must hold"):
            nng.io.read_agea(folder)
    (folder / "label.npy").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"label.npy cannot be read"):
        nng.io.read_agea(folder)
    np.save(folder / "label.npy", labels)
    pd.DataFrame({"id": [1]}).to_parquet(folder / "gene-expression.pqt")
    with pytest.raises(ValueError, match="columns id and gene"):
        nng.io.read_agea(folder)
    (folder / "gene-expression.pqt").write_bytes(b"none")
    with pytest.raises(ValueError, match="pqt cannot be read"):
        nng.io.read_agea(folder)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks \['gene-expression.bin'\]"):
        nng.io.read_agea(folder)


def test_any_byte_of_a_table_may_be_wrong(folder):
    """Readers of tables have errors of their own."""
    path = folder / "gene-expression.pqt"
    pd.read_parquet(path).to_parquet(path, compression=None)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"Pdyn", b"P\xffyn"))
    with pytest.raises(ValueError, match="pqt cannot be read"):
        nng.io.read_agea(folder)
    rng = np.random.default_rng(0)
    messages = []
    for at in rng.choice(len(content), 150, replace=False):
        wrong = bytearray(content)
        wrong[at] ^= int(rng.integers(1, 256))
        path.write_bytes(wrong)
        try:
            _read_table(path)
        except ValueError as error:
            messages.append(str(error))
    assert len(messages) > 10
    assert all(str(path) in message for message in messages)


@pytest.mark.data
def test_table_of_iblatlas(folder):
    """The ontology as iblatlas ships it, whose rows the labels count."""
    adata = nng.io.read_agea(folder, structures=real_data("allen_structure_tree.csv"))
    # 3 and 5 are both on the right of 1,327 structures.
    assert adata.obs["hemisphere"].unique().tolist() == ["right"]
    assert adata.obs["region"].unique().tolist() == ["CH", "CTXpl"]


def test_structures_without_rows(folder):
    with pytest.raises(ValueError, match="whose first entry is 0"):
        nng.io.read_agea(folder, structures=TREE[:0])
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.csv"):
        nng.io.read_agea(folder, structures=folder / "none.csv")
