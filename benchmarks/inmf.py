"""Integration beside pyliger and nmf-torch, and from disk."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

import nonneg as nng
from nonneg.models.inmf.loadings import objectives
from nonneg.models.inmf.problem import Loadings, Part
from nonneg.models.inmf.scores import exact_scores
from nonneg.models.inmf.summary import summarise
from nonneg.operators.choose import as_operator

from .data import first_rows, integration_counts, write_stored
from .measure import in_fresh_process, installed, markdown, progress

if TYPE_CHECKING:
    from collections.abc import Sequence

PEERS = ("nmf-torch online", "nmf-torch batch", "pyliger anls", "pyliger online")
LAM = 5.0


def scaled(counts: sp.csr_matrix) -> sp.csr_matrix:
    """Cells to the same total, genes to a root mean square of 1, as in LIGER."""
    x = counts.astype(np.float64)
    total = np.asarray(x.sum(1)).ravel()
    x = sp.diags_array(1 / np.maximum(total, 1)) @ x
    rms = np.sqrt(np.asarray(x.power(2).sum(0)).ravel() / (x.shape[0] - 1))
    return sp.csr_matrix(x @ sp.diags_array(1 / np.where(rms > 0, rms, 1)))


def exact(data: Sequence[sp.csr_matrix], w: Any, v: Any) -> float:
    """Objective with all scores solved for: the same for all programs."""
    ops = [as_operator(x.astype(np.float32), where="data") for x in data]
    first = np.cumsum([0, *(x.shape[0] for x in data)]).tolist()
    parts = [
        Part(op, slice(a, b), d)
        for d, (op, a, b) in enumerate(zip(ops, first, first[1:], strict=False))
    ]
    names = [str(d) for d in range(len(data))]
    found = summarise(
        parts, names, scale_cells=False, totals=None, scale_genes=False, seed=0
    )
    lam = np.full(len(data), LAM)
    model = Loadings(np.asarray(w, np.float32), np.asarray(v, np.float32))
    sums = exact_scores(found.data, model, lam, lambda *_: None)
    return float(objectives(found.data.sq_norm, model, sums, lam).sum())


def compare(*, quick: bool, workdir: Path | None) -> str:
    """Time to the objective of every peer, and what a converged fit reaches.

    Reads ``data_0.npz``, ``data_1.npz``, … (scaled, CSR) from the folder if they exist.
    """
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = _stored_or_drawn(workdir, quick=quick)
        write_data(folder, data)
        tables = [_table(folder, data, rank) for rank in ((20,) if quick else (20, 40))]
    return "\n\n".join(["### Integration", *tables])


def _stored_or_drawn(workdir: Path | None, *, quick: bool) -> list[sp.csr_matrix]:
    stored = sorted(workdir.glob("data_*.npz")) if workdir else []
    if stored:
        return [sp.csr_matrix(sp.load_npz(path)) for path in stored]
    return two_data_sets(quick=quick)


def two_data_sets(*, quick: bool) -> list[sp.csr_matrix]:
    """What all programs are given: 20,000 and 12,000 cells, scaled."""
    sizes, n_vars = ((1500, 900), 300) if quick else ((20_000, 12_000), 1400)
    return [scaled(x) for x in integration_counts(sizes, n_vars, 20)]


def write_data(folder: Path, data: Sequence[sp.csr_matrix]) -> None:
    """For peers, and for fits from disk."""
    for d, x in enumerate(data):
        sp.save_npz(folder / f"data_{d}.npz", x)
        names = pd.DataFrame(index=[f"g{j}" for j in range(x.shape[1])])
        ad.AnnData(x.astype(np.float32), var=names).write_h5ad(folder / f"{d}.h5ad")


def joined(data: Sequence[sp.csr_matrix]) -> ad.AnnData:
    """All cells, with their data set in ``obs["batch"]``."""
    adata = ad.AnnData(sp.vstack(data, format="csr").astype(np.float32))
    sizes = [x.shape[0] for x in data]
    adata.obs["batch"] = np.repeat([str(d) for d in range(len(data))], sizes)
    return adata


def fit_batch(adata: ad.AnnData, rank: int, **kwargs: Any) -> ad.AnnData:
    """A fit in memory; the model is in the object."""
    nng.tl.inmf(adata, rank, batch_key="batch", lam=LAM, scale=False, **kwargs)
    return adata


def fit_online(
    folder: Path, n_sets: int, rank: int, n_epochs: int, **kwargs: Any
) -> ad.AnnData:
    """A fit from the files of a folder; the model."""
    files = {str(d): folder / f"{d}.h5ad" for d in range(n_sets)}
    kwargs |= {"lam": LAM, "scale": False, "n_epochs": n_epochs}
    model = nng.tl.online_inmf(files, rank, **kwargs)
    assert model is not None
    return model


def exact_of(data: Sequence[sp.csr_matrix], model: ad.AnnData) -> float:
    """Objective of one of ours, with all scores solved for."""
    w, v = model.varm["inmf"].T, model.varm["inmf_specific"].transpose(1, 2, 0)
    return exact(data, w, v)


def _table(folder: Path, data: Sequence[sp.csr_matrix], rank: int) -> str:
    adata = joined(data)
    sizes = [x.shape[0] for x in data]

    def batch(**kwargs: Any) -> tuple[float, float]:
        start = time.perf_counter()
        fit_batch(adata, rank, **kwargs)
        return time.perf_counter() - start, exact_of(data, adata)

    def online(n_epochs: int) -> tuple[float, float]:
        start = time.perf_counter()
        model = fit_online(folder, len(data), rank, n_epochs)
        return time.perf_counter() - start, exact_of(data, model)

    rows = []
    peers = {name: peer(folder, name, rank, data) for name in PEERS}
    first = batch(tol=1e-6, max_iter=500)
    second = batch(tol=1e-6, max_iter=500)
    rows.append(_row("tl.inmf to tol=1e-6, first call", first, peers))
    rows.append(_row("tl.inmf to tol=1e-6", second, peers))
    trace = np.asarray(adata.uns["inmf"]["objective"])
    best = min((f for _, f in peers.values()), default=trace[-1])
    enough = int(np.argmax(trace <= best)) + 1
    rows.append(_row(f"tl.inmf, {enough} iterations", batch(max_iter=enough), peers))
    first = online(1)
    rows.append(_row("tl.online_inmf from disk, 1 epoch, first call", first, peers))
    for n_epochs in (1, 5):
        label = f"tl.online_inmf from disk, {n_epochs} epochs"
        rows.append(_row(label, online(n_epochs), peers))
    rows += [_row(name, found, {}) for name, found in peers.items()]
    header = ["program", "s", "objective", *(f"vs {name}" for name in peers)]
    rows = [row + [""] * (len(header) - len(row)) for row in rows]
    shape = f"{' + '.join(map(str, sizes))} cells × {adata.n_vars} genes"
    return f"{shape}, {rank} components, λ = {LAM:g}\n\n" + markdown(header, rows)


def _row(
    label: str, found: tuple[float, float], peers: dict[str, tuple[float, float]]
) -> list[str]:
    seconds, objective = found
    ratios = [
        f"{other / seconds:.1f}×" + ("" if objective <= reached else " (not reached)")
        for other, reached in peers.values()
    ]
    progress(label, f"{seconds:.2f} s", f"{objective:.6e}")
    return [label, f"{seconds:.2f}", f"{objective:.5e}", *ratios]


def peer(
    folder: Path, name: str, rank: int, data: Sequence[sp.csr_matrix]
) -> tuple[float, float]:
    """Seconds of the fit alone, and the objective."""
    found = installed(name.split(maxsplit=1)[0])
    if found is None:
        return float("nan"), float("inf")
    script = Path(__file__).parent / "peers" / "inmf.py"
    done = subprocess.run(
        [found.python, str(script), str(folder), name, str(rank)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(f"{name} failed:\n{done.stderr[-500:]}", file=sys.stderr)
        return float("nan"), float("inf")
    with np.load(folder / "peer.npz") as left:
        seconds, w, v = float(left["seconds"]), left["W"], left["V"]
    objective = exact(data, w, v)
    progress(name, f"{seconds:.2f} s", f"{objective:.6e}")
    return seconds, objective


# --- from disk ----------------------------------------------------------------------

SIZES = (194_027, 116_437, 156_167, 113_171, 89_027, 83_541, 71_639, 63_243, 52_237)


def from_disk(*, quick: bool, workdir: Path | None) -> str:
    """Nine data sets in files, whole and their first cells: time and memory.

    Uses ``d0.h5ad``, … of the folder if they exist.
    """
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        whole = {
            path.stem: path for path in sorted((workdir or folder).glob("d*.h5ad"))
        }
        n_vars, rank, n_epochs = (300, 10, 2) if quick else (2000, 50, 5)
        if not whole:
            for d, n in enumerate(SIZES):
                whole[f"d{d}"] = folder / f"d{d}.h5ad"
                write_stored(whole[f"d{d}"], n // 200 if quick else n, n_vars, rank)
        part = {}
        for name, path in whole.items():
            part[name] = folder / f"first-{name}.h5ad"
            first_rows(path, 0.5 if quick else 100_000 / sum(SIZES), part[name])
        rows = []
        for label, files in (("first cells", part), ("all", whole)):
            result = in_fresh_process(
                "integrate_stored",
                {
                    "files": {name: str(path) for name, path in files.items()},
                    "rank": rank,
                    "n_epochs": n_epochs,
                    "scores": str(folder / f"{label}.h5ad"),
                },
            )
            rows.append(
                [
                    label,
                    f"{result['n_cells']:,}",
                    f"{result['seconds']:.0f}",
                    f"{result['growth'] / 2**20:.0f}",
                    f"{result['objective']:.5e}",
                ]
            )
            progress(*rows[-1])
    title = f"### Integration from nine files, {rank} components, {n_epochs} epochs"
    header = [
        "cells",
        "number",
        "s, with scores on disk",
        "peak growth, MB",
        "objective",
    ]
    return f"{title}\n\n" + markdown(header, rows)


# --- what the online solver loses -----------------------------------------------------


def against_batch(*, quick: bool, workdir: Path | None) -> str:
    """Online fits beside the converged batch fit, on the same data."""
    data = _stored_or_drawn(workdir, quick=quick)
    sets = {
        str(d): ad.AnnData(
            x.astype(np.float32),
            obs=pd.DataFrame(
                {"batch": str(d)}, index=[f"{d}-{i}" for i in range(x.shape[0])]
            ),
        )
        for d, x in enumerate(data)
    }
    rng = np.random.default_rng(0)
    train, held = {}, {}
    for name, adata in sets.items():
        first = rng.permutation(adata.n_obs) < 0.8 * adata.n_obs
        train[name], held[name] = adata[first].copy(), adata[~first].copy()
    joint = ad.concat(train)
    held_out = ad.concat(held)
    whole = sum(float(np.vdot(x.data, x.data)) for x in (a.X for a in held.values()))

    def objective_of(model: ad.AnnData) -> list[float]:
        values = []
        for cells in (joint, held_out):
            scored = nng.tl.project(
                cells, model, key="inmf", batch_key="batch", copy=True
            )
            assert scored is not None
            values.append(scored.uns["inmf"]["projected_objective"])
        return values

    kwargs: dict[str, Any] = {"lam": LAM, "scale": False}
    start = time.perf_counter()
    nng.tl.inmf(joint, 20, batch_key="batch", tol=1e-6, max_iter=500, **kwargs)
    best = objective_of(joint)
    rows = [
        [
            "batch",
            f"{time.perf_counter() - start:.2f}",
            "-",
            "-",
            f"{best[1] / whole:.5f}",
        ]
    ]
    for minibatch_size in (500, 1000, 2000, 5000, 10_000):
        for n_epochs in (1, 5):
            start = time.perf_counter()
            model = nng.tl.online_inmf(
                train, 20, minibatch_size=minibatch_size, n_epochs=n_epochs, **kwargs
            )
            seconds = time.perf_counter() - start
            assert model is not None
            found = objective_of(model)
            rows.append(
                _gap(
                    f"{minibatch_size} × {n_epochs} epochs", seconds, found, best, whole
                )
            )
    for order in (list(train), list(train)[::-1]):
        start = time.perf_counter()
        model = _stream(train, order, kwargs)
        seconds = time.perf_counter() - start
        label = "one after another, " + ", ".join(order)
        rows.append(_gap(label, seconds, objective_of(model), best, whole))
    header = [
        "fit",
        "s",
        "objective over batch",
        "held out over batch",
        "held out / ‖X‖²",
    ]
    return "### Online beside batch, 20 components\n\n" + markdown(header, rows)


def _stream(
    train: dict[str, ad.AnnData], order: Sequence[str], kwargs: dict[str, Any]
) -> ad.AnnData:
    """One epoch of each data set, half by half, as if they were arriving."""
    pieces = []
    for name in order:
        half = train[name].n_obs // 2
        pieces += [(name, train[name][:half].copy()), (name, train[name][half:].copy())]
    # A model needs two data sets to begin with.
    first = {order[0]: pieces[0][1], order[1]: pieces[2][1]}
    model = nng.tl.online_inmf(first, 20, n_epochs=1, **kwargs)
    for name, adata in (pieces[1], pieces[3]):
        adata.obs = adata.obs[[]]
        nng.tl.online_inmf_update(model, adata, batch=name)
        model = adata[:0].copy()
    assert model is not None
    return model


def _gap(
    label: str, seconds: float, found: list[float], best: list[float], whole: float
) -> list[str]:
    gaps = [f"{100 * (f / b - 1):+.4f} %" for f, b in zip(found, best, strict=True)]
    row = [label, f"{seconds:.2f}", *gaps, f"{found[1] / whole:.5f}"]
    progress(*row)
    return row
