"""Cell types in locations beside FlashDeconv, TACCO, RCTD, CARD's model and NNLS.

Results are kept in the folder and used again where neither the section nor the code that
made them has changed since.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.stats import rankdata

import nonneg as nng
from nonneg.operators.threads import available_cpus

from . import deconvolution_baselines
from .deconvolution_baselines import both_shares, card, least_squares
from .deconvolution_sections import (
    DATA,
    WORKLOADS,
    Section,
    halves,
    real,
    section,
    sources,
    write_many,
    write_section,
)
from .measure import in_fresh_process, installed, markdown, progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from .deconvolution_sections import Floats

nng.settings.progress = False

# RCTD takes minutes for a section, and leaves out osmFISH's panel of 33 genes.
PEERS: dict[str, tuple[str, ...]] = {
    "FlashDeconv": tuple(WORKLOADS),
    "TACCO": tuple(WORKLOADS),
    "RCTD": ("W5", "PDAC 5 types, clean", "PDAC 5 types, noisy"),
}
BASELINES: dict[str, Callable[[Section], tuple[Floats, Floats]]] = {
    "NNLS": least_squares,
    "CARD's model": card,
}

DEFAULT, ALONE, SHUFFLED = "nonneg", "nonneg, graph_weight=0", "nonneg, shuffled"
_BARE = {"graph_weight": 0, "group_weight": 0, "gene_weights": False}
LIKELIHOODS: dict[str, dict[str, Any]] = {
    "least squares": {"likelihood": "gaussian", **_BARE},
    "Kullback-Leibler": {"effects": False, **_BARE},
    "negative binomial": {"likelihood": "negative_binomial", **_BARE},
    "least squares, weights chosen": {"likelihood": "gaussian"},
    "Kullback-Leibler, weights chosen": {"effects": False, "gene_weights": False},
    "negative binomial, weights chosen": {"likelihood": "negative_binomial"},
}
OURS: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    ALONE: {"graph_weight": 0},
    SHUFFLED: {},
    **LIKELIHOODS,
}
# RMSE at most, and median r of shares of RNA at least.
AIMS = {
    "W5": (0.045, 0.98),
    "PDAC 5 types, clean": (0.001, None),
    "PDAC 5 types, noisy": (0.026, None),
    "osmFISH bins": (0.125, 0.74),
    "PDAC held-out cells": (0.085, None),
}


@dataclass(frozen=True)
class Run:
    """How much is compared, and where results are kept."""

    quick: bool
    root: Path
    n_seeds: int

    @property
    def workloads(self) -> tuple[str, ...]:
        return ("W5", "osmFISH bins") if self.quick else tuple(WORKLOADS)

    def sections(self, name: str) -> Iterator[tuple[int, Section, Path]]:
        """Seed, section and its folder."""
        for seed in range(self.n_seeds):
            found = section(name, seed, quick=self.quick)
            folder = self.root / _slug(f"{name}-{seed}")
            write_section(folder, found)
            yield seed, found, folder


def compare(
    names: Sequence[str], *, quick: bool, n_seeds: int, workdir: Path | None
) -> Iterator[tuple[str, str]]:
    """Name and tables of each comparison, as they are made."""
    with ExitStack() as stack:
        if workdir is None:
            workdir = Path(stack.enter_context(TemporaryDirectory()))
        root = workdir / ("quick" if quick else "full")
        root.mkdir(parents=True, exist_ok=True)
        run = Run(quick, root, min(n_seeds, 2) if quick else n_seeds)
        for name in names:
            yield name, f"{CASES[name](run)}\n\n{provenance()}"


# --- methods --------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """Shares of RNA and of cells, with columns in the order of the types."""

    rna: Floats
    cells: Floats
    cpu: float
    """Seconds of all cores."""
    made_by: str


def deconvolve(
    found: Section, *, likelihood: str = "poisson", **kwargs: Any
) -> tuple[Floats, Floats]:
    """What a user runs, with the defaults where nothing else is said."""
    adata = ad.AnnData(found.spots.X, obs=found.spots.obs[[]], var=found.spots.var[[]])
    adata.obsm["spatial"] = np.asarray(found.spots.obsm["spatial"])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*fewer than 25 cells")
        nng.tl.deconvolve(
            adata,
            found.cells,
            cell_type_key="cell_type",
            likelihood=likelihood,
            **kwargs,
        )
    info = adata.uns["deconv"]
    order = np.argsort(np.asarray(info["cell_types"], str), kind="stable")
    tuning = {k: v for k, v in info["tuning"].items() if np.ndim(v) == 0}
    progress(likelihood, f"{info['n_iter']} iterations", str(tuning))
    rna, cells = (
        np.nan_to_num(adata.obsm[key][:, order], nan=1 / order.size)
        for key in ("X_deconv_rna", "X_deconv")
    )
    return rna, cells


def ours(name: str, found: Section, folder: Path, seed: int = 0) -> Found:
    """Of one of :data:`OURS`."""
    given = found.shuffled(seed) if name == SHUFFLED else found

    def run() -> tuple[Floats, Floats]:
        return deconvolve(given, **OURS[name])

    compiled = (OURS[name].get("likelihood"), found.spots.shape)
    return _stored(name, folder, found, _engine(), run, compiled)


def baseline(name: str, found: Section, folder: Path) -> Found:
    """Of one of :data:`BASELINES`."""
    code = sources(Path(deconvolution_baselines.__file__))
    made_by = f"numpy {version('numpy')}, scipy {version('scipy')}; script {code}"
    return _stored(name, folder, found, made_by, lambda: BASELINES[name](found))


_COMPILED: set[tuple[Any, ...]] = set()


def _stored(
    name: str,
    folder: Path,
    found: Section,
    made_by: str,
    run: Callable[[], tuple[Floats, Floats]],
    compiled: tuple[Any, ...] | None = None,
) -> Found:
    """What the folder has of this section and this code, or a new result."""
    path = folder / f"{_slug(name)}.npz"
    if path.exists():
        with np.load(path) as kept:
            if str(kept["section"]) == found.stamp and str(kept["made_by"]) == made_by:
                return Found(kept["rna"], kept["cells"], float(kept["cpu"]), made_by)
    if compiled and compiled not in _COMPILED:  # which is not counted
        run()
        _COMPILED.add(compiled)
    start = time.process_time()
    rna, cells = run()
    cpu = time.process_time() - start
    partial = path.with_name(f"partial-{path.name}")
    np.savez(
        partial, rna=rna, cells=cells, cpu=cpu, section=found.stamp, made_by=made_by
    )
    partial.rename(path)
    progress(name, folder.name, f"{cpu:.2f} s")
    return Found(rna, cells, cpu, made_by)


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", name)


def peers(run: Run, workloads: Sequence[str]) -> None:
    """Run the peers on sections that have no result of theirs yet."""
    if python() is None:
        print("peers: not in NONNEG_PEERS; stored results only", file=sys.stderr)
        return
    for name, where in PEERS.items():
        missing = [
            folder
            for workload in workloads
            if workload in where
            for _, found, folder in run.sections(workload)
            if peer(name, found, folder) is None
        ]
        # Seed by seed, so that all workloads have the same seeds if it is cut off.
        missing.sort(key=lambda folder: folder.name.rpartition("_")[2])
        if missing:
            run_peer(name, *missing, RCTD_TABLES=str(run.root.parent))


def peer(name: str, found: Section, folder: Path) -> Found | None:
    """What a peer has left, if it is of this section and of its present version."""
    path = folder / f"{name}.npz"
    if not path.exists():
        return None
    with np.load(path) as kept:
        made_by = str(kept["made_by"])
        fresh = python() is None or made_by == _peer_versions()[name]
        if str(kept["section"]) != found.stamp or not fresh:
            return None
        shares = both_shares(kept["shares"], found.signatures().sum(1))
        return Found(*shares, float(kept["cpu"]), made_by)


_SCRIPT = Path(__file__).parent / "peers" / "deconvolution.py"


@cache
def _peer_versions() -> dict[str, str]:
    return json.loads(run_peer("versions"))


def python() -> str | None:
    """Of the environment in which the peers are installed together."""
    found = installed("flashdeconv")
    return found.python if found else None


def run_peer(name: str, *paths: Path, **env: str) -> str:
    done = subprocess.run(
        [str(python()), str(_SCRIPT), name, *map(str, paths)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, **env},
    )
    if done.returncode:
        print(f"{name} ended with {done.returncode}", file=sys.stderr)
    return done.stdout


def others(name: str, run: Run) -> Iterator[tuple[int, str, Found, Section]]:
    """Results of baselines and peers on a workload."""
    for seed, found, folder in run.sections(name):
        for method in BASELINES:
            yield seed, method, baseline(method, found, folder), found
        for method in PEERS:
            result = peer(method, found, folder)
            if result is not None:
                yield seed, method, result, found


# --- where figures are from -----------------------------------------------------------


@cache
def _engine() -> str:
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("jax", "numba", "numpy")
    )
    return f"{versions}; code {sources(Path(nng.__file__).parent)}"


def commit() -> str:
    """Of the package as it is measured."""
    where = Path(nng.__file__).parents[2]

    def git(*args: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(where), *args],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip()

    found = git("log", "-1", "--format=%h", "--", "src") or "of no repository"
    return found + (" and changes" if git("status", "--porcelain", "--", "src") else "")


def provenance() -> str:
    """Machine, versions and commit of the figures above."""
    machine = (
        f"{platform.system()} {platform.machine()}, {available_cpus()} CPUs, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )
    return f"*{machine}; {_engine()}; nonneg at commit {commit()}.*"


# --- scores ---------------------------------------------------------------------------


def rmse(estimate: Floats, truth: Floats) -> float:
    return float(nng.metrics.composition_rmse(estimate, truth))


def correlation(estimate: Floats, truth: Floats) -> float:
    """Median over types of Pearson's r over locations."""
    return float(
        np.median([_pearson(*pair) for pair in zip(estimate.T, truth.T, strict=True)])
    )


def _pearson(a: Floats, b: Floats) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt(np.vdot(a, a) * np.vdot(b, b))
    return float(np.vdot(a, b) / norm) if norm > 0 else 0.0


def auroc(scores: Floats, positive: NDArray[np.bool_]) -> float:
    n = positive.sum()
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (positive.size - n)))


# --- tables ---------------------------------------------------------------------------


def against_peers(run: Run) -> str:
    """Peers and baselines alone, whose results the other comparisons use again."""
    peers(run, run.workloads)
    records = [
        _record(name, seed, method, result, found)
        for name in run.workloads
        for seed, method, result, found in others(name, run)
    ]
    table = _kept(run, "peers", records)
    return "### Peers: RMSE (median r per type)\n\n" + _errors(table)


def accuracy(run: Run) -> str:
    """Error and correlation of all methods on the same sections."""
    peers(run, run.workloads)
    records = []
    for name in run.workloads:
        for seed, found, folder in run.sections(name):
            result = ours(DEFAULT, found, folder)
            records.append(_record(name, seed, DEFAULT, result, found))
        records += [
            _record(name, seed, method, result, found)
            for seed, method, result, found in others(name, run)
        ]
    table = _kept(run, "accuracy", records)
    made_by = table[table["method"].isin(PEERS)].groupby("method")["made_by"].first()
    return "\n\n".join(
        [
            f"### RMSE (median r per type), mean of {run.n_seeds} paired seeds",
            _errors(table),
            "### The default against the best of the others, seed by seed",
            _against(table),
            "### CPU seconds, median of seeds",
            _seconds(table),
            "\n".join(f"- {name}: {how}" for name, how in made_by.items()),
        ]
    )


def likelihoods(run: Run) -> str:
    """Least squares, Kullback-Leibler and negative binomial, bare and with weights."""
    records = []
    for name in run.workloads:
        for seed, found, folder in run.sections(name):
            for method in (*LIKELIHOODS, DEFAULT):
                result = ours(method, found, folder)
                records.append(_record(name, seed, method, result, found))
    table = _kept(run, "likelihoods", records)
    return "\n\n".join(
        [
            f"### Likelihoods, mean of {run.n_seeds} paired seeds",
            "RMSE (median r per type):",
            _errors(table),
            "CPU seconds, median of seeds:",
            _seconds(table),
        ]
    )


def graph(run: Run) -> str:
    """What neighbours add, and what they must not: shuffled coordinates, a border."""
    rows = []
    records = []
    for name in run.workloads:
        for seed, found, folder in run.sections(name):
            for method in (DEFAULT, ALONE, SHUFFLED):
                result = ours(method, found, folder, seed)
                records.append(_record(name, seed, method, result, found))
    table = _kept(run, "graph", records)
    errors = table.pivot_table(
        values="rmse", index=["workload", "seed"], columns="method"
    )
    for name in run.workloads:
        found = errors.loc[name]
        gain = found[DEFAULT] / found[ALONE] - 1
        loss = found[SHUFFLED] / found[ALONE] - 1
        rows.append(
            [
                name,
                *(_error(found[each].mean()) for each in (DEFAULT, ALONE, SHUFFLED)),
                f"{100 * gain.mean():+.1f} % ({100 * gain.max():+.1f} %)",
                f"{100 * loss.mean():+.1f} % ({100 * loss.max():+.1f} %)",
                _met(loss.mean() <= 0.02 and (name != "W5" or gain.mean() <= -0.1)),
            ]
        )
    header = [
        "RMSE",
        "with graph",
        "`graph_weight=0`",
        "shuffled coordinates",
        "graph / none (worst seed)",
        "shuffled / none (worst seed)",
        "at most 2 % worse when shuffled; W5 10 % better",
    ]
    border = np.array([_border(run, seed) for seed in range(run.n_seeds)])
    columns = [f"{who}, {d}" for who in ("other", "wrong") for d in range(3)]
    return "\n\n".join(
        [
            f"### Graph: mean of {run.n_seeds} seeds",
            markdown(header, rows),
            "### Two pure halves: share of the other's type, and of all wrong types",
            markdown(
                [
                    "column from the border",
                    *columns,
                    "at most .05 of the other's type one column inside",
                ],
                [
                    [label, *(f"{v:.4f}" for v in values), _met(values[1] <= 0.05)]
                    for label, values in (
                        ("mean", border.mean(0)),
                        ("worst seed", border.max(0)),
                    )
                ],
            ),
        ]
    )


def _border(run: Run, seed: int) -> list[float]:
    """Shares of the other half's type, and of all wrong ones, from the border inwards."""
    found, inside = halves(seed, side=8 if run.quick else 20)
    folder = run.root / f"halves_{seed}"
    write_section(folder, found)
    assert found.truth is not None
    shares = ours(DEFAULT, found, folder).rna
    other = (shares[:, :2] * (1 - found.truth[:, :2])).sum(1)
    wrong = 1 - (shares * found.truth).sum(1)
    return [
        float(share[inside == d].mean()) for share in (other, wrong) for d in range(3)
    ]


def _record(
    name: str, seed: int, method: str, result: Found, found: Section
) -> dict[str, Any]:
    assert found.truth is not None
    shares = result.rna if WORKLOADS[name] == "rna" else result.cells
    return {
        "workload": name,
        "seed": seed,
        "method": method,
        "rmse": rmse(shares, found.truth),
        "r": correlation(shares, found.truth),
        "r_rna": correlation(result.rna, found.truth),
        "cpu": result.cpu,
        "made_by": result.made_by,
    }


def _kept(run: Run, name: str, records: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(records)
    table.to_csv(run.root / f"{name}.csv", index=False)
    return table


def _errors(table: pd.DataFrame) -> str:
    """Methods by workloads."""
    n_seeds = table["seed"].nunique()

    def cell(part: pd.DataFrame, name: str) -> str:
        r = f"{part['r'].mean():.3f}"
        if WORKLOADS[name] == "cells":
            r += f"; RNA {part['r_rna'].mean():.3f}"
        few = "" if len(part) == n_seeds else f", {len(part)} of {n_seeds} seeds"
        return f"{_error(part['rmse'].mean())} ({r}){few}"

    return _by_workload(table, cell)


def _seconds(table: pd.DataFrame) -> str:
    return _by_workload(table, lambda part, _: f"{part['cpu'].median():.2f}")


def _by_workload(table: pd.DataFrame, cell: Callable[[pd.DataFrame, str], str]) -> str:
    workloads = list(dict.fromkeys(table["workload"]))
    groups = dict(iter(table.groupby(["method", "workload"])))
    rows = [
        [
            method,
            *(
                cell(groups[method, name], name) if (method, name) in groups else "–"
                for name in workloads
            ),
        ]
        for method in dict.fromkeys(table["method"])
    ]
    return markdown(["", *workloads], rows)


def _against(table: pd.DataFrame) -> str:
    """Our ratio to the best of the others, on the seeds that both have, and the aims."""
    rows = []
    for name, part in table.groupby("workload", sort=False):
        errors = part.pivot_table(values="rmse", index="seed", columns="method")
        ratios = errors[[DEFAULT]].to_numpy() / errors.drop(columns=DEFAULT)
        best = str(ratios.mean().idxmax())
        ratio = ratios[best].dropna()
        mine = part[part["method"] == DEFAULT]
        error, r = mine["rmse"].mean(), mine["r_rna"].mean()
        most, least = AIMS[str(name)]
        aim = f"{most:.3f}" + (f", r {least:.2f}" if least else "")
        met = error <= most and (least is None or r >= least)
        rows.append(
            [
                str(name),
                best,
                f"{ratio.mean():.3f}",
                f"{ratio.min():.3f} to {ratio.max():.3f}",
                f"{int((ratio <= 1).sum())} of {len(ratio)}",
                f"{aim}: {_met(met)}",
            ]
        )
    header = ["", "best", "RMSE, ours / best", "range", "seeds not worse", "aim"]
    return markdown(header, rows)


def _error(value: float) -> str:
    return f"{value:.4f}" if value >= 0.002 else f"{value:.5f}"


def _met(value: object) -> str:
    return "met" if value else "**missed**"


REGIONS = {
    "Cancer A+B": (("Cancer_clone_A", "Cancer_clone_B"), "Cancer"),
    "clone A": (("Cancer_clone_A",), "Cancer"),
    "clone B": (("Cancer_clone_B",), "Cancer"),
    "Acinar": (("Acinar_cells",), "Pancreatic"),
    "Endocrine": (("Endocrine_cells",), "Pancreatic"),
    "Ductal": (
        (
            "Ductal_APOL1_high-hypoxic",
            "Ductal_CRISP3_high-centroacinar_like",
            "Ductal_MHC_Class_II",
            "Ductal_terminal_ductal_like",
        ),
        "Duct Epithelium",
    ),
    "Fibroblast": (("Fibroblasts",), "Stroma"),
}


def tissue(run: Run) -> str:
    """PDAC-A: shares against annotated regions and against marker genes."""
    found = real().first(80) if run.quick else real()
    folder = run.root / "PDAC_A"
    write_section(folder, found)
    results = {DEFAULT: ours(DEFAULT, found, folder)}
    for method in BASELINES:
        results[method] = baseline(method, found, folder)
    for method in () if run.quick else PEERS:
        if python() and method != "RCTD" and not peer(method, found, folder):
            run_peer(method, folder)
        if result := peer(method, found, folder):
            results[method] = result
    rows = [
        [f"{name}, {kind}", *_regions(found, getattr(result, kind))]
        for name, result in results.items()
        for kind in ("rna", "cells")
    ]
    head = [f"{name} → {region}" for name, (_, region) in REGIONS.items()]
    title = "### PDAC-A, labels withheld: AUROC of shares, and r with markers"
    return f"{title}\n\n" + markdown(["", *head, "marker r"], rows)


def _regions(found: Section, shares: Floats) -> list[str]:
    table = pd.DataFrame(shares, columns=found.types)
    region = found.spots.obs["region"]
    known = region.notna().to_numpy()
    row = []
    for names, place in REGIONS.values():
        scores = table[list(names)].sum(axis=1).to_numpy()
        row.append(auroc(scores[known], (region == place).to_numpy()[known]))
    return [f"{value:.3f}" for value in (*row, _marker_r(found, table))]


def _marker_r(found: Section, table: pd.DataFrame) -> float:
    markers = json.loads((DATA / "pdac_a_markers.json").read_text())
    x = found.spots.X
    scale = np.asarray(x.sum(1)).ravel()
    values = []
    for name, genes in markers.items():
        where = found.spots.var_names.isin(genes)
        mean = np.asarray(x[:, where].sum(1)).ravel() / np.maximum(scale, 1)
        values.append(_pearson(table[name].to_numpy(float), mean))
    return float(np.median(values))


def speed(run: Run) -> str:
    """PDAC-A: three calls of a process."""
    rows = []
    names = ("poisson", "negative_binomial", "gaussian")
    for likelihood in names[:1] if run.quick else names:
        done = in_fresh_process("deconvolve_tissue", {"likelihood": likelihood})
        calls = zip(done["seconds"], done["cpu"], strict=True)
        rows.append([likelihood, *(f"{s:.2f} ({cpu:.2f})" for s, cpu in calls)])
        progress(*rows[-1])
    title = "### PDAC-A, 428 × 5,400 × 20 types: seconds (CPU seconds) of three calls"
    return f"{title}\n\n" + markdown(["likelihood", "first", "second", "third"], rows)


def many(run: Run, n: int = 100_000) -> str:
    """Many shallow locations beside FlashDeconv, with memory."""
    n = 5_000 if run.quick else n
    rows = []
    folder = write_many(run.root, n)
    truth = np.load(folder / "truth.npy")
    if python() and n <= 100_000:
        run_peer("many", folder)
        with np.load(folder / "FlashDeconv.npz") as found:
            rows.append(_many_row("FlashDeconv", found["shares"], found, truth))
    done = in_fresh_process(
        "deconvolve_many",
        {"folder": str(folder), "repeat": 2 if n <= 100_000 else 1},
    )
    rows.append(_many_row("nonneg", np.load(folder / "nonneg.npy"), done, truth))
    title = f"### {n:,} locations × 2,000 genes × 30 types, 150 counts each"
    header = [
        "",
        "first call, s (CPU s)",
        "second call",
        "peak growth, MB",
        "RMSE",
        "r",
    ]
    return f"{title}\n\n" + markdown(header, rows)


def many_input(folder: Path) -> tuple[ad.AnnData, pd.DataFrame]:
    """Counts, and the ready signatures as a reference."""
    b = np.load(folder / "signatures.npy")
    genes = [f"g{j}" for j in range(b.shape[1])]
    types = [f"t{k:02d}" for k in range(b.shape[0])]
    reference = pd.DataFrame(1e3 * b, index=types, columns=genes)
    adata = ad.AnnData(
        sp.csr_matrix(sp.load_npz(folder / "counts.npz")), var=pd.DataFrame(index=genes)
    )
    adata.obsm["spatial"] = np.load(folder / "coords.npy")
    return adata, reference


def _many_row(
    name: str, shares: Floats, found: Mapping[str, Any], truth: Floats
) -> list[str]:
    calls = [
        f"{s:.1f} ({cpu:.1f})"
        for s, cpu in zip(found["seconds"], found["cpu"], strict=True)
    ]
    row = [
        name,
        *(calls if len(calls) > 1 else [*calls, "–"]),
        f"{float(found['growth']) / 2**20:.0f}",
        f"{rmse(np.asarray(shares, float), truth):.4f}",
        f"{correlation(np.asarray(shares, float), truth):.3f}",
    ]
    progress(*row)
    return row


def huge(run: Run) -> str:
    """500,000 locations, ours alone."""
    return many(run, 500_000)


CASES: dict[str, Callable[[Run], str]] = {
    "deconv-peers": against_peers,
    "deconv-accuracy": accuracy,
    "deconv-likelihoods": likelihoods,
    "deconv-tissue": tissue,
    "deconv-graph": graph,
    "deconv-speed": speed,
    "deconv-many": many,
    "deconv-huge": huge,
}
