"""Cell types in locations beside FlashDeconv, TACCO, RCTD, CARD's model and NNLS.

Sections with known truth are made by `deconvolution_workloads.py` and `workloads.py`
from real data; both are looked for in ``$NONNEG_CHECK``, by default beside the data of
``$NONNEG_DATA``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.optimize import nnls
from scipy.stats import rankdata

import nonneg as nng

from .measure import in_fresh_process, markdown, progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    type Floats = NDArray[np.floating[Any]]

nng.settings.progress = False

# Python of the environment in which the peers are installed.
PYTHON = os.environ.get("NONNEG_PEERS")
DATA = Path(os.environ.get("NONNEG_DATA", Path(__file__).parents[2] / "shared/data"))
CHECK = Path(os.environ.get("NONNEG_CHECK", DATA.parent / "check"))

PEERS = ("FlashDeconv", "TACCO", "RCTD")
OURS = ("poisson", "negative_binomial", "gaussian")
# What the truth of a workload is: shares of RNA, or of cells.
WORKLOADS = {
    "W5": "rna",
    "PDAC 5 types, clean": "rna",
    "PDAC 5 types, noisy": "rna",
    "osmFISH bins": "cells",
    "PDAC held-out cells": "cells",
}


@cache
def _module(name: str) -> Any:
    os.environ.setdefault("NONNEG_DATA", str(DATA))
    os.environ.setdefault("WORKLOADS", os.environ.get("TMPDIR", "/tmp"))
    spec = importlib.util.spec_from_file_location(name, CHECK / f"{name}.py")
    if spec is None or spec.loader is None or not (CHECK / f"{name}.py").exists():
        msg = f"{CHECK / name}.py is not there; set NONNEG_CHECK."
        raise FileNotFoundError(msg)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- sections -------------------------------------------------------------------------


@dataclass(frozen=True)
class Section:
    """Locations, a reference, and the true shares where there is a truth."""

    spots: ad.AnnData
    cells: ad.AnnData
    truth: Floats | None

    @property
    def types(self) -> list[str]:
        return sorted(set(self.cells.obs["cell_type"]))

    def signatures(self) -> Floats:
        """Mean counts of a cell of each type, pooled."""
        x, labels = self.cells.X, self.cells.obs["cell_type"].to_numpy(str)
        return np.stack(
            [np.asarray(x[labels == name].mean(0)).ravel() for name in self.types]
        )

    def shared(self) -> tuple[Floats, Floats, Floats]:
        """Counts and signatures of the shared genes, and library sizes of types."""
        genes, b = self.genes(), self.signatures()
        y = self.spots[:, genes].X.toarray().astype(np.float64)
        return y, b[:, self.cells.var_names.get_indexer(genes)], b.sum(1)

    def genes(self) -> pd.Index[str]:
        """Those with counts in locations and in cells."""
        found = [
            adata.var_names[np.asarray(adata.X.sum(0)).ravel() > 0]
            for adata in (self.cells, self.spots)
        ]
        return found[0].intersection(found[1])


def section(name: str, seed: int) -> Section:
    if name == "W5":
        d = _module("workloads").w5(seed=seed)
        genes = [f"g{i:05d}" for i in range(d["sc"].shape[1])]
        types = [f"ct{k}" for k in range(d["P"].shape[1])]
        cells = ad.AnnData(d["sc"], var=pd.DataFrame(index=genes))
        cells.obs["cell_type"] = np.array(types)[d["lab"]]
        spots = ad.AnnData(d["st"], var=pd.DataFrame(index=genes))
        spots.obsm["spatial"], truth = d["xy"], d["P"]
    elif name == "PDAC-A":
        return real()
    else:
        module = _module("deconvolution_workloads")
        cells, spots = {
            "PDAC 5 types, clean": lambda: module.pdac("clean", seed=seed),
            "PDAC 5 types, noisy": lambda: module.pdac("noisy", seed=seed),
            "osmFISH bins": lambda: module.osm(seed=seed),
            "PDAC held-out cells": lambda: module.pdac_cells(seed=seed),
        }[name]()
        cells.obs["cell_type"] = cells.obs["cellType"].astype(str)
        truth = spots.obsm["prop"]
        truth = truth[sorted(truth.columns)].to_numpy()
        del spots.obsm["prop"]
    return Section(spots, cells, np.asarray(truth))


def real() -> Section:
    """PDAC-A, with its annotated regions, which no method is given."""
    cells = ad.read_h5ad(DATA / "pdac_a_scrna.h5ad")
    cells.obs_names = [f"c{i}" for i in range(cells.n_obs)]
    cells.obs["cell_type"] = cells.obs["cell_type"].astype(str)
    spots = ad.read_h5ad(DATA / "pdac_a_spatial.h5ad")
    regions = pd.read_csv(DATA / "pdac_a_regions.csv", index_col="spot")["region"]
    spots.obs["region"] = regions.reindex(spots.obs_names).to_numpy()
    for adata in (cells, spots):
        adata.var_names_make_unique()
        adata.X = sp.csr_matrix(adata.X).astype(np.float32)
    return Section(spots, cells, None)


def write_section(folder: Path, found: Section) -> None:
    """Files that any environment can read."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {
        "types": found.types,
        "spots": list(found.spots.obs_names),
        "spot_genes": list(found.spots.var_names),
        "cell_genes": list(found.cells.var_names),
        "labels": list(found.cells.obs["cell_type"].to_numpy(str)),
    }
    sp.save_npz(folder / "spots.npz", sp.csr_matrix(found.spots.X))
    sp.save_npz(folder / "cells.npz", sp.csr_matrix(found.cells.X))
    np.save(folder / "coords.npy", np.asarray(found.spots.obsm["spatial"], float))
    (folder / "names.json").write_text(json.dumps(names))


@contextmanager
def _folder(workdir: Path | None) -> Iterator[Path]:
    """The folder that is kept, or a temporary one."""
    if workdir is not None:
        workdir.mkdir(parents=True, exist_ok=True)
        yield workdir
        return
    with TemporaryDirectory() as temporary:
        yield Path(temporary)


# --- methods --------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """Shares of RNA and of cells, with columns in the order of the types."""

    rna: Floats
    cells: Floats
    seconds: float


def deconvolve(found: Section, likelihood: str = "poisson", **kwargs: Any) -> Found:
    """What a user runs, with the defaults."""
    adata = ad.AnnData(found.spots.X, obs=found.spots.obs[[]], var=found.spots.var[[]])
    adata.obsm["spatial"] = np.asarray(found.spots.obsm["spatial"])
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*fewer than 25 cells")
        nng.tl.deconvolve(
            adata,
            found.cells,
            cell_type_key="cell_type",
            likelihood=likelihood,
            **kwargs,
        )
    seconds = time.perf_counter() - start
    info = adata.uns["deconv"]
    order = np.argsort(np.asarray(info["cell_types"], str), kind="stable")
    progress(
        likelihood,
        f"{seconds:.2f} s",
        f"{info['n_iter']} iterations",
        str({k: v for k, v in info["tuning"].items() if np.ndim(v) == 0}),
    )
    return Found(
        *(
            np.nan_to_num(adata.obsm[key][:, order], nan=1 / order.size)
            for key in ("X_deconv_rna", "X_deconv")
        ),
        seconds,
    )


def _both(rna: Floats, library_size: Floats, seconds: float) -> Found:
    """Of a method that returns shares of RNA."""
    rna = _unit(np.maximum(rna, 0))
    return Found(rna, _unit(rna / library_size), seconds)


def _unit(values: Floats) -> Floats:
    total = values.sum(1, keepdims=True)
    return np.where(
        total > 0, values / np.where(total > 0, total, 1), 1 / len(values.T)
    )


def least_squares(found: Section) -> Found:
    """Non-negative least squares, location by location."""
    start = time.perf_counter()
    y, b, library_size = found.shared()
    profiles = b / b.sum(1, keepdims=True)
    q, r = np.linalg.qr(profiles.T)
    y = y / np.maximum(y.sum(1, keepdims=True), 1)
    shares = np.stack([nnls(r, row)[0] for row in y @ q])
    return _both(shares, library_size, time.perf_counter() - start)


def card(found: Section) -> Found:
    """CARD's model, by the updates of its article, from its choice of genes on.

    Types have conditional autoregressive priors with variance λ_k and mean b_k; the
    parameter φ is the one of its grid with the largest objective.
    """
    start = time.perf_counter()
    y, b, library_size = found.shared()
    keep = _card_genes(found, b)
    x = y[:, keep].T
    x = x / np.maximum(x.sum(0), 1)
    sizes = b.sum(1, keepdims=True)
    basis = (b / sizes * library_size[:, None])[:, keep].T
    x *= 0.1 / x.mean()
    basis *= 0.1 / basis.mean()
    coords = np.asarray(found.spots.obsm["spatial"], float)
    coords = coords - coords.min(0)
    coords /= coords.max()
    distance = np.square(coords[:, None] - coords).sum(-1)
    near = np.exp(-distance / (2 * 0.1**2))
    np.fill_diagonal(near, 0)
    rng = np.random.default_rng(20200107)
    begin = rng.dirichlet(np.full(b.shape[0], 10.0), x.shape[1]).T
    best, value = begin, -np.inf
    for phi in (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        fitted, objective = _card_fit(x, basis, near, phi, begin)
        if objective > value:
            best, value = fitted, objective
    cells = _unit(best.T)
    rna = _unit(cells * library_size)
    return Found(rna, cells, time.perf_counter() - start)


def _card_genes(found: Section, b: Floats) -> NDArray[np.bool_]:
    """Log fold change above 1.25 in some type, the most dispersed 1 % left out."""
    mean = b / b.sum(1, keepdims=True)
    others = (mean.sum(0) - mean) / (len(mean) - 1)
    keep = np.asarray((np.log(mean + 1e-6) - np.log(others + 1e-6)).max(0) > 1.25)
    if keep.sum() < 10 * len(b):  # a panel: all genes
        return np.ones_like(keep)
    x, labels = found.cells.X, found.cells.obs["cell_type"].to_numpy(str)
    dispersion = np.zeros(x.shape[1])
    for name in found.types:
        part = x[labels == name]
        middle = np.asarray(part.mean(0)).ravel()
        square = np.asarray(part.multiply(part).mean(0)).ravel()
        dispersion += (square - middle**2) / np.maximum(middle, 1e-12)
    dispersion = dispersion[found.cells.var_names.get_indexer(found.genes())]
    return keep & (dispersion <= np.quantile(dispersion[keep], 0.99))


def _card_fit(
    x: Floats, b: Floats, near: Floats, phi: float, v: Floats, tol: float = 1e-4
) -> tuple[Floats, float]:
    n, m = x.shape
    degree = near.sum(1)
    gram, projected, norm = b.T @ b, b.T @ x, np.vdot(x, x)
    alpha, beta = 1.0, m / 2
    laplacian_ones = degree - phi * near.sum(1)
    total, old = laplacian_ones.sum(), -np.inf
    for _ in range(1000):
        mean = v @ laplacian_ones / total
        centred = v - mean[:, None]
        quadratic = (centred * (centred * degree - phi * (centred @ near))).sum(1)
        spread = (quadratic / 2 + beta) / (m / 2 + alpha + 1)
        residual = norm - 2 * np.vdot(projected, v) + np.vdot(gram @ v, v)
        noise = max(residual, 1e-300) / (n * m)
        up = spread[:, None] * projected
        up += noise * (phi * (v @ near) + mean[:, None] * degree)
        down = spread[:, None] * (gram @ v)
        down += noise * (v * degree + phi * mean[:, None] * degree)
        v = v * up / np.maximum(down, 1e-300)
        objective = -n * m / 2 * (np.log(noise) + 1) - np.sum(
            m / 2 * np.log(spread)
            + quadratic / (2 * spread)
            + (alpha + 1) * np.log(spread)
            + beta / spread
        )
        if objective > old and (objective - old) * 2 < tol * abs(objective + old):
            break
        old = objective
    return v, float(objective)


def peers(names: Sequence[str], folders: Sequence[Path], root: Path) -> None:
    """Run the peers on sections that have no result of theirs yet."""
    if PYTHON is None:
        return
    tables = Path(os.environ.get("RCTD_Q_MATRICES", root / "q_matrices.npz"))
    if "RCTD" in names and not tables.exists():
        _peer("tables", tables)
    for name in names:
        missing = [f for f in folders if not (f / f"{name}.npz").exists()]
        if missing:
            _peer(name, *missing, RCTD_Q_MATRICES=str(tables))
            progress(name, f"{len(missing)} sections")


def _peer(name: str, *paths: Path, **env: str) -> str:
    script = Path(__file__).parent / "peers" / "deconvolution.py"
    done = subprocess.run(
        [str(PYTHON), str(script), name, *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **env},
    )
    for line in done.stderr.splitlines():
        if "failed" in line or done.returncode:
            print(line, file=sys.stderr)
    return done.stdout


def _peer_result(folder: Path, name: str, library_size: Floats) -> Found | None:
    path = folder / f"{name}.npz"
    if not path.exists():
        return None
    with np.load(path) as stored:
        return _both(stored["shares"], library_size, float(stored["seconds"]))


def _all_results(folder: Path, found: Section, ours: Sequence[str]) -> dict[str, Found]:
    """Results by method; those in the folder are not made again."""
    library_size = found.signatures().sum(1)
    results = {}
    for name in PEERS:
        result = _peer_result(folder, name, library_size)
        if result is not None:
            results[name] = result
    runs: dict[str, Callable[[], Found]] = {
        "NNLS": lambda: least_squares(found),
        "CARD's model": lambda: card(found),
    }
    for each in ours:
        runs[f"nonneg, {each}"] = lambda each=each: deconvolve(found, each)
    for name, run in runs.items():
        path = folder / f"{name}.npz"
        if not path.exists():
            made = run()
            np.savez(path, rna=made.rna, cells=made.cells, seconds=made.seconds)
        with np.load(path) as stored:
            results[name] = Found(
                stored["rna"], stored["cells"], float(stored["seconds"])
            )
    return results


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


def accuracy(
    *,
    quick: bool,
    workdir: Path | None,
    n_seeds: int = 5,
    ours: Sequence[str] = OURS,
    workloads: Sequence[str] = tuple(WORKLOADS),
) -> str:
    """Error and correlation of all methods on the same sections."""
    n_seeds = 1 if quick else n_seeds
    records = []
    with _folder(workdir) as root:
        for name in workloads:
            folders = []
            sections = [section(name, seed) for seed in range(n_seeds)]
            for seed, found in enumerate(sections):
                folders.append(root / f"{name.replace(' ', '_')}-{seed}")
                if not (folders[-1] / "names.json").exists():
                    write_section(folders[-1], found)
            peers(PEERS, folders, root)
            for seed, (found, folder) in enumerate(zip(sections, folders, strict=True)):
                for method, result in _all_results(folder, found, ours).items():
                    records.append(_record(name, seed, method, result, found))
                    progress(
                        *(
                            f"{v:.5g}" if isinstance(v, float) else str(v)
                            for v in records[-1].values()
                        )
                    )
    table = pd.DataFrame(records)
    if workdir is not None:
        table.to_csv(workdir / "accuracy.csv", index=False)
    return _accuracy_tables(table)


def _record(
    name: str, seed: int, method: str, result: Found, found: Section
) -> dict[str, Any]:
    assert found.truth is not None
    kind = WORKLOADS[name]
    shares = result.rna if kind == "rna" else result.cells
    return {
        "workload": name,
        "seed": seed,
        "method": method,
        "rmse": rmse(shares, found.truth),
        "r": correlation(shares, found.truth),
        "r_rna": correlation(result.rna, found.truth),
        "seconds": result.seconds,
    }


def _accuracy_tables(table: pd.DataFrame) -> str:
    means = table.groupby(["method", "workload"])[["rmse", "r", "r_rna", "seconds"]]
    means = means.mean()
    methods = list(dict.fromkeys(table["method"]))
    workloads = list(dict.fromkeys(table["workload"]))
    n_seeds = table["seed"].nunique()
    rows = []
    for method in methods:
        n = table.loc[table["method"] == method, "seed"].nunique()
        row = [method if n == n_seeds else f"{method}, {n} seeds"]
        for name in workloads:
            if (method, name) not in means.index:
                row.append("–")
                continue
            found = means.loc[(method, name)]
            r = f"{found['r']:.3f}"
            if WORKLOADS[name] == "cells":
                r += f"; RNA {found['r_rna']:.3f}"
            error = (
                f"{found['rmse']:.4f}"
                if found["rmse"] >= 0.002
                else f"{found['rmse']:.5f}"
            )
            row.append(f"{error} ({r})")
        rows.append(row)
    against = []
    default = table[table["method"] == "nonneg, poisson"].set_index(
        ["workload", "seed"]
    )["rmse"]
    for name in workloads:
        others = table[
            (table["workload"] == name) & ~table["method"].str.startswith("nonneg")
        ]
        best = others.groupby("method")["rmse"].mean().idxmin()
        peer = others[others["method"] == best].set_index("seed")["rmse"]
        ratio = (default.loc[name] / peer).dropna()
        against.append(
            [
                name,
                str(best),
                f"{ratio.mean():.3f}",
                f"{ratio.min():.3f} to {ratio.max():.3f}",
                f"{int((ratio <= 1).sum())} of {len(ratio)}",
            ]
        )
    times = [
        [
            method,
            *(
                f"{median(part['seconds']):.2f}"
                if len(
                    part := table[
                        (table["method"] == method) & (table["workload"] == name)
                    ]
                )
                else "–"
                for name in workloads
            ),
        ]
        for method in methods
    ]
    return "\n\n".join(
        [
            f"### Cell types: RMSE (median r per type), mean of {n_seeds} paired seeds",
            markdown(["", *workloads], rows),
            "### The default against the best peer of each workload, seed by seed",
            markdown(
                ["", "best peer", "RMSE, ours / peer", "range", "seeds not worse"],
                against,
            ),
            "### Seconds, median",
            markdown(["", *workloads], times),
        ]
    )


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


def tissue(*, quick: bool, workdir: Path | None, ours: Sequence[str] = OURS) -> str:
    """PDAC-A: shares against annotated regions and against marker genes."""
    found = real()
    with _folder(workdir) as root:
        folder = root / "PDAC-A"
        if not (folder / "names.json").exists():
            write_section(folder, found)
        peers(() if quick else PEERS, [folder], root)
        results = _all_results(folder, found, ours)
    rows = []
    for name, result in results.items():
        for kind in ("rna", "cells"):
            rows.append([f"{name}, {kind}", *_regions(found, getattr(result, kind))])
            progress(*rows[-1])
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


def graph(*, quick: bool, workdir: Path | None) -> str:
    """What neighbours add, and what they must not: shuffled coordinates, a border."""
    del workdir
    n_seeds = 1 if quick else 5
    rows = []
    for name in ("W5",) if quick else tuple(WORKLOADS):
        kind = "rna" if WORKLOADS[name] == "rna" else "cells"
        ratios = []
        for seed in range(n_seeds):
            found = section(name, seed)
            assert found.truth is not None
            order = np.random.default_rng(seed).permutation(found.spots.n_obs)
            shuffled = found.spots.copy()
            shuffled.obsm["spatial"] = shuffled.obsm["spatial"][order]
            fits = (
                deconvolve(found),
                deconvolve(found, graph_weight=0),
                deconvolve(Section(shuffled, found.cells, found.truth)),
            )
            errors = [rmse(getattr(fit, kind), found.truth) for fit in fits]
            ratios.append((*errors, errors[0] / errors[1], errors[2] / errors[1]))
        mean = np.mean(ratios, 0)
        worst = np.max(ratios, 0)
        rows.append(
            [
                name,
                *(f"{value:.4f}" for value in mean[:3]),
                f"{100 * (mean[3] - 1):+.1f} %",
                f"{100 * (mean[4] - 1):+.1f} % ({100 * (worst[4] - 1):+.1f} %)",
            ]
        )
        progress(*rows[-1])
    header = [
        "RMSE",
        "with graph",
        "graph_weight=0",
        "shuffled coordinates",
        "graph / none",
        "shuffled / none (worst)",
    ]
    border = [halves(seed) for seed in range(n_seeds)]
    return "\n\n".join(
        [
            f"### Graph: mean of {n_seeds} seeds",
            markdown(header, rows),
            "### Two pure halves: share of the other's type, and of all wrong types",
            markdown(
                [
                    "column from the border",
                    *(f"{who}, {d}" for who in ("other", "wrong") for d in range(3)),
                ],
                [
                    ["mean", *(f"{v:.4f}" for v in np.mean(border, 0))],
                    ["worst seed", *(f"{v:.4f}" for v in np.max(border, 0))],
                ],
            ),
        ]
    )


def halves(seed: int, side: int = 20) -> list[float]:
    """Shares of the other half's type, and of all wrong ones, from the border inwards."""
    found = section("W5", seed)
    rng = np.random.default_rng(seed)
    b = found.signatures()
    b = b / b.sum(1, keepdims=True)
    yy, xx = np.mgrid[0:side, 0:side]
    right = (xx.ravel() >= side // 2).astype(int)
    depth = rng.lognormal(np.log(2000), 0.4, (side * side, 1))
    noise = rng.gamma(4, 0.25, (side * side, b.shape[1]))
    counts = rng.poisson(depth * noise * b[right]).astype(np.float32)
    spots = ad.AnnData(sp.csr_matrix(counts), var=found.spots.var)
    spots.obsm["spatial"] = np.c_[xx.ravel(), yy.ravel()].astype(float)
    shares = deconvolve(Section(spots, found.cells, None)).rna
    other = np.where(right, shares[:, 0], shares[:, 1])
    wrong = 1 - np.where(right, shares[:, 1], shares[:, 0])
    inside = np.where(right, xx.ravel() - side // 2, side // 2 - 1 - xx.ravel())
    return [
        float(share[inside == d].mean()) for share in (other, wrong) for d in range(3)
    ]


def speed(*, quick: bool, workdir: Path | None) -> str:
    """PDAC-A: first and second call."""
    del workdir
    rows = []
    for likelihood in OURS[:1] if quick else OURS:
        done = in_fresh_process("deconvolve_tissue", {"likelihood": likelihood})
        rows.append([likelihood, *(f"{s:.2f}" for s in done["seconds"])])
        progress(*rows[-1])
    title = "### PDAC-A, 428 × 5,400 × 20 types: seconds of three calls of a process"
    return f"{title}\n\n" + markdown(["likelihood", "first", "second", "third"], rows)


def many(*, quick: bool, workdir: Path | None, n: int = 100_000) -> str:
    """Many shallow locations beside FlashDeconv, with memory."""
    n = 5_000 if quick else n
    rows = []
    with _folder(workdir) as root:
        folder = root / f"many-{n}"
        if not (folder / "coords.npy").exists():
            write_many(folder, n)
        truth = np.load(folder / "truth.npy")
        if PYTHON is not None and n <= 100_000:
            _peer("many", folder)
            with np.load(folder / "FlashDeconv.npz") as found:
                row = [found["shares"], found["seconds"], float(found["growth"])]
            rows.append(_many_row("FlashDeconv", row, truth))
        done = in_fresh_process(
            "deconvolve_many",
            {"folder": str(folder), "repeat": 2 if n <= 100_000 else 1},
        )
        shares = np.load(folder / "nonneg.npy")
        rows.append(
            _many_row("nonneg", [shares, done["seconds"], done["growth"]], truth)
        )
    title = f"### {n:,} locations × 2,000 genes × 30 types, 150 counts each"
    header = ["", "s, first call", "s, second call", "peak growth, MB", "RMSE", "r"]
    return f"{title}\n\n" + markdown(header, rows)


def write_many(folder: Path, n: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    d = _module("deconvolution_workloads").many_spots(n)
    sp.save_npz(folder / "counts.npz", d["Y"], compressed=False)
    np.save(folder / "signatures.npy", d["B"])
    np.save(folder / "truth.npy", d["P"])
    np.save(folder / "coords.npy", d["xy"])


def _many_row(name: str, found: list[Any], truth: Floats) -> list[str]:
    shares, seconds, growth = found
    row = [
        name,
        f"{seconds[0]:.1f}",
        f"{seconds[1]:.1f}" if len(seconds) > 1 else "–",
        f"{growth / 2**20:.0f}",
        f"{rmse(np.asarray(shares, float), truth):.4f}",
        f"{correlation(np.asarray(shares, float), truth):.3f}",
    ]
    progress(*row)
    return row


def huge(*, quick: bool, workdir: Path | None) -> str:
    """500,000 locations, ours alone."""
    return many(quick=quick, workdir=workdir, n=500_000)


def peer_versions() -> str:
    if PYTHON is None:
        return "peers: NONNEG_PEERS is not set"
    return "peers: " + _peer("versions").strip()


CASES: dict[str, Callable[..., str]] = {
    "deconv-accuracy": accuracy,
    "deconv-tissue": tissue,
    "deconv-graph": graph,
    "deconv-speed": speed,
    "deconv-many": many,
    "deconv-huge": huge,
}
