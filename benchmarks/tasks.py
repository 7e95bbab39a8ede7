"""What is run in a process of its own: ``python -m benchmarks.tasks <name> <json>``."""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import anndata as ad
import pandas as pd
from sklearn.exceptions import ConvergenceWarning

import nonneg as nng
from nonneg.operators.blocks import BlockOperator
from nonneg.operators.memory import give_back

from .data import open_stored
from .measure import peak, relative_difference, reset_peak, resident, timed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

nng.settings.progress = False


def scan_memory(*, quick: bool) -> dict[str, float]:
    """Bytes that a scan takes at most, data included, and bytes of the data."""
    from anndata import AnnData

    from .data import low_rank_dense

    shape = (2000, 400) if quick else (20_000, 2000)
    small = AnnData(low_rank_dense(300, 60, 3))
    # Imports and compilers are not what is asked for.
    nng.tl.stability(small, [3], n_bootstraps=4)
    before = resident()
    adata = AnnData(low_rank_dense(*shape, 5 if quick else 11))
    reset_peak()
    # Few steps: they take the same memory as many.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nng.tl.stability(adata, [30], n_bootstraps=100, max_iter=4)
    return {"peak": peak() - before, "data": adata.X.nbytes}


def first_call(*, name: str, quick: bool, peer: bool) -> dict[str, float]:
    """Seconds of the first and of the second fit of a process."""
    from .nmf import CASES, ours, theirs

    case = CASES[name].scaled(quick=quick)
    x = case.data()
    fit = theirs if peer else ours
    return {"first": fit(case, x, 0).seconds, "second": fit(case, x, 0).seconds}


def streamed_fit(adata: AnnData, rank: int, max_iter: int) -> None:
    """A fit of so many iterations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", ".*all zero", UserWarning)
        nng.tl.nmf(adata, rank, tol=0, max_iter=max_iter)


def measure_stream(
    *,
    path: str,
    warmup: str,
    how: str,
    rank: int,
    max_iter: int,
    difference: bool,
) -> dict[str, Any]:
    """Time and memory of a streamed fit."""
    # Imports, compilation and thread pools happen once in a process.
    streamed_fit(open_stored(Path(warmup), how), rank, 2)

    passes = 0
    row_blocks = BlockOperator.row_blocks

    def counted(self: BlockOperator) -> Iterator[Any]:
        nonlocal passes
        passes += 1
        return row_blocks(self)

    before = resident()
    reset_peak()
    adata = open_stored(Path(path), how)
    opened, opening = max(resident() - before, 0), peak() - before
    # Opening has a peak of its own, which is not the fit's.
    reset_peak()
    start = time.perf_counter()
    with mock.patch.object(BlockOperator, "row_blocks", counted):
        streamed_fit(adata, rank, max_iter)
    seconds = time.perf_counter() - start
    growth = peak() - before
    scores = adata.obsm["X_nmf"].nbytes
    result = {
        "seconds": seconds,
        "passes": passes,
        "rows_per_second": adata.n_obs * passes / seconds,
        "growth": max(growth, opening),
        "opened": opened,
        "scores": scores,
        "fit": growth - opened - scores,
        "matrix": _csr_bytes(path),
        "difference": None,
        "seconds_ratio": None,
    }
    if difference:
        memory = open_stored(Path(path), how).to_memory()
        start = time.perf_counter()
        streamed_fit(memory, rank, max_iter)
        result["seconds_ratio"] = seconds / (time.perf_counter() - start)
        result["difference"] = relative_difference(
            *((a.obsm["X_nmf"], a.varm["nmf"].T) for a in (adata, memory))
        )
    return result


def fit_nsf(
    *, n: int, n_genes: int, rank: int, density: float, max_iter: int
) -> dict[str, Any]:
    """Seconds, iterations and memory of one fit, compilation included."""
    from .nsf import fit, simulate

    adata = simulate(n, n_genes, rank, density)
    _, cost = timed(lambda: fit(adata, rank, max_iter=max_iter))
    info = adata.uns["nsf"]
    return {
        "seconds": cost.seconds,
        "cpu_seconds": cost.cpu,
        "n_iter": int(info["n_iter"]),
        "converged": bool(info["converged"]),
        "peak": peak(),
        "growth": cost.growth,
        "nonzeros": adata.X.nnz,
    }


def integrate_stored(
    *, files: dict[str, str], rank: int, n_epochs: int, scores: str
) -> dict[str, Any]:
    """Seconds and memory of an online fit from files, beyond a small one."""
    from .data import integration_counts

    nng.settings.progress = False
    n_vars = ad.read_h5ad(next(iter(files.values())), backed="r").n_vars
    names = pd.DataFrame(index=[f"g{j}" for j in range(n_vars)])
    small = {
        f"small {d}": ad.AnnData(x, var=names)
        for d, x in enumerate(integration_counts([1000] * len(files), n_vars, 20))
    }
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: f"{folder}/{name}.h5ad" for name in small}
        for name, adata in small.items():
            adata.write_h5ad(paths[name])
        nng.tl.online_inmf(
            paths, rank, size_factors="total", scores=f"{folder}/scores.h5ad"
        )
    del small
    # Some tens of MB, by chance, would hide as much growth.
    give_back(now=True)
    before = resident()
    reset_peak()
    start = time.perf_counter()
    model = nng.tl.online_inmf(
        files, rank, size_factors="total", n_epochs=n_epochs, scores=scores
    )
    seconds = time.perf_counter() - start
    assert model is not None
    info = model.uns["inmf"]
    return {
        "seconds": seconds,
        "growth": peak() - before,
        "n_cells": int(info["n_cells"].sum()),
        "objective": float(info["objective"][-1]),
    }


def deconvolve_tissue(*, likelihood: str) -> dict[str, Any]:
    """Seconds of calls on PDAC-A, the first with compilation."""
    from .deconvolution import deconvolve
    from .deconvolution_sections import real

    found, seconds, cpu = real(), [], []
    for _ in range(3):
        start, begin = time.perf_counter(), time.process_time()
        deconvolve(found, likelihood=likelihood)
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - begin)
    return {"seconds": seconds, "cpu": cpu}


def deconvolve_many(*, folder: str, repeat: int) -> dict[str, Any]:
    """Time and memory of a deconvolution with ready signatures, beyond a small one."""
    import numpy as np

    from .deconvolution import many_input

    path = Path(folder)
    adata, reference = many_input(path)
    small = adata[:2000].copy()
    nng.tl.deconvolve(small, reference)
    del small
    before = resident()
    reset_peak()
    seconds, cpu = [], []
    for _ in range(repeat):
        start, begin = time.perf_counter(), time.process_time()
        nng.tl.deconvolve(adata, reference)
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - begin)
    growth = peak() - before
    np.save(path / "nonneg.npy", adata.obsm["X_deconv_rna"])
    return {"seconds": seconds, "cpu": cpu, "growth": growth}


def fit_locanmf(
    *, movie: dict[str, Any], options: dict[str, Any], large: bool = False
) -> dict[str, Any]:
    """Two calls on one movie, the first with compilation; what was found, and memory."""
    from .data import mosaic_movie, session_movie
    from .locanmf import judge

    adata = session_movie(**movie) if large else mosaic_movie(**movie)
    before = resident()
    reset_peak()
    seconds, cpu = [], []
    for _ in range(2):
        start, begin = time.perf_counter(), time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nng.tl.locanmf(adata, **options)
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - begin)
    growth = peak() - before
    return {"seconds": seconds, "cpu": cpu, "growth": growth, **judge(adata)}


def cost_along(*, system: str, axis: str, quick: bool) -> list[dict[str, float]]:
    """Size, CPU seconds and growth of memory of a call, size by size."""
    from .cost import SYSTEMS, measure

    return measure(SYSTEMS[system], axis, quick=quick)


def _csr_bytes(path: str) -> int:
    """Size of the matrix if it were read."""
    import h5py
    import zarr

    if path.endswith(".zarr"):
        stored = zarr.open_group(path, mode="r")["X"]
        return sum(stored[name].nbytes for name in ("data", "indices", "indptr"))
    with h5py.File(path) as file:
        return sum(file["X"][name].nbytes for name in ("data", "indices", "indptr"))


if __name__ == "__main__":
    tasks = {
        "first_call": first_call,
        "measure_stream": measure_stream,
        "fit_nsf": fit_nsf,
        "integrate_stored": integrate_stored,
        "deconvolve_tissue": deconvolve_tissue,
        "deconvolve_many": deconvolve_many,
        "fit_locanmf": fit_locanmf,
        "scan_memory": scan_memory,
        "cost_along": cost_along,
    }
    task = tasks[sys.argv[1]]
    print(json.dumps(task(**json.loads(sys.argv[2]))))
