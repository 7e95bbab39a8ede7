"""How far above the batch fit online integration ends, after more and more epochs."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import scanpy as sc
import scipy.sparse as sp

import nonneg as nng
from testing.nonneg import real_data

from .data import integration_counts
from .measure import markdown, progress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EPOCHS = (1, 5, 20)
SEEDS = range(3)


def _data(*, quick: bool) -> Iterator[tuple[str, ad.AnnData, dict[str, Any]]]:
    """Cells, and how they are scaled."""
    counts = {"size_factors": "total"}
    yield "300 simulated cells", nng.datasets.batches((120, 100, 80)), counts
    if quick:
        return
    for name in ("pbmc_ifnb", "bmmc_rna_atac"):
        yield name, ad.read_h5ad(real_data(f"{name}.h5ad")), counts
    pbmc = sc.datasets.pbmc68k_reduced()
    cells = ad.AnnData(sp.csr_matrix(pbmc.raw.X, dtype=np.float32))
    # It is of one batch: cells that divide, and others.
    cells.obs["batch"] = np.where(pbmc.obs["phase"] == "G1", "G1", "S or G2M")
    yield "pbmc68k_reduced", cells, {}
    sizes = (20_000, 12_000)
    joint = ad.AnnData(sp.vstack(integration_counts(sizes, 1400, 20), format="csr"))
    joint.obs["batch"] = np.repeat(["0", "1"], sizes)
    yield "32,000 cells of `inmf-peers`", joint, counts


def settle(*, quick: bool, workdir: Path | None) -> str:
    """Per cent above a batch fit to a tolerance of 1e-8, from the same start."""
    rows = []
    for name, adata, scaling in _data(quick=quick):
        for rank in (10, 20):
            found, seconds = [], []
            kwargs: dict[str, Any] = {"batch_key": "batch", **scaling}
            for seed in SEEDS:
                fits = _fits(adata, rank, seed, kwargs)
                found.append(fits[0])
                seconds.append(fits[1])
            above = 100 * np.array(found)
            rise = max(float((above[:, 2] - above[:, 1]).max()), 0)
            cells = [" ".join(f"{x:.3f}" for x in column) for column in above.T]
            rows.append(
                [name, str(rank), *cells, f"{rise:.4f}", f"{np.median(seconds):.2f}"]
            )
            progress(*rows[-1])
    header = [
        "data",
        "components",
        *(f"{n} epoch{'s' * (n > 1)}" for n in EPOCHS),
        "largest rise from 5 to 20, %",
        "CPU s of 20",
    ]
    title = "### Online integration: % above the batch fit, three seeds"
    return f"{title}\n\n" + markdown(header, rows)


def _fits(
    adata: ad.AnnData, rank: int, seed: int, kwargs: dict[str, Any]
) -> tuple[list[float], float]:
    """How far online fits are above the batch fit, and CPU seconds of the longest."""
    with warnings.catch_warnings():
        # Genes that a data set lacks.
        warnings.simplefilter("ignore", UserWarning)
        nng.tl.inmf(adata, rank, tol=1e-8, max_iter=3000, rng=seed, **kwargs)
        least = adata.uns["inmf"]["objective"][-1]
        above = []
        for n_epochs in EPOCHS:
            start = time.process_time()
            nng.tl.online_inmf(adata, rank, n_epochs=n_epochs, rng=seed, **kwargs)
            seconds = time.process_time() - start
            above.append(float(adata.uns["inmf"]["objective"][-1] / least - 1))
    return above, seconds
