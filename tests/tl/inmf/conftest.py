"""Simulated data sets, in memory and in files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from testing.nonneg._online import (
    SIMULATED,
    fit,
    parts,
    write,
)


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
