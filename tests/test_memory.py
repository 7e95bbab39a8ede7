"""A streamed fit does not hold the data."""

from __future__ import annotations

import json
import subprocess
import sys

import anndata as ad
import h5py
import numpy as np
import pytest
import scipy.sparse as sp
from anndata import AnnData

N_VARS, BLOCK, K = 500, 2000, 5

PROBE = """
import json, sys, warnings
import anndata as ad, numpy as np
import nonneg as nng
from testing.nonneg import PeakGrowth

warnings.simplefilter("ignore")
paths = sys.argv[1:]


def peak_growth(path, loss):
    adata = ad.read_h5ad(path, backed="r")
    with PeakGrowth() as memory:
        nng.tl.nmf(adata, 5, beta_loss=loss, max_iter=4, tol=0, chunk_size=2000)
    return memory.bytes


growth = {
    loss: [peak_growth(path, loss) for path in paths]
    for loss in ("frobenius", "kullback-leibler")
}
print(json.dumps(growth))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same rows over and over, in CSR: a warm-up, a small and a large file."""
    folder = tmp_path_factory.mktemp("memory")
    rng = np.random.default_rng(0)
    block = rng.poisson(0.3, (BLOCK, N_VARS)).astype(np.float32)
    paths = []
    for n_blocks in (2, 10, 50):
        rows = sp.vstack([sp.csr_matrix(block)] * n_blocks, format="csr")
        paths.append(folder / f"{n_blocks}.h5ad")
        AnnData(rows).write_h5ad(paths[-1])
    return paths


@pytest.fixture(scope="module")
def growth(files):
    """Peak growth of memory for each file, by loss."""
    process = subprocess.run(
        [sys.executable, "-c", PROBE, *map(str, files)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(process.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.slow
@pytest.mark.parametrize("loss", ["frobenius", "kullback-leibler"])
def test_peak_does_not_grow_with_the_rows(files, growth, loss):
    _, small, large = growth[loss]
    n_rows = 40 * BLOCK
    with h5py.File(files[2]) as file:
        nnz = file["X/data"].size
    in_memory = nnz * 8 * 40 / 50
    # Scores, once more while they are sorted; the index of rows, in 64 bits and as
    # stored; sums of rows and a few vectors of that length; names of observations.
    allowed = n_rows * (2 * K * 4 + 2 * 8 + 6 * 8)
    assert large - small < allowed + 4e6, (small, large, allowed, in_memory)
    # The bound means something: the rows themselves would not fit below it.
    assert in_memory > 2 * (allowed + 4e6)


def test_the_files_are_what_they_should_be(files):
    for path, n_blocks in zip(files, (2, 10, 50), strict=True):
        backed = ad.read_h5ad(path, backed="r")
        assert backed.shape == (n_blocks * BLOCK, N_VARS)
        assert backed.isbacked
