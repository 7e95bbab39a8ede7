"""Integration drawn: time and memory against cells, and what unshared genes add.

Pictures go to the working folder, if one is given.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import scipy.sparse as sp
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter
from sklearn.metrics import adjusted_rand_score

import nonneg as nng

from .data import first_rows, write_stored
from .inmf import SIZES
from .measure import in_fresh_process, markdown, progress

if TYPE_CHECKING:
    from collections.abc import Sequence

# Cells in total.
N_CELLS = (10_000, 30_000, 100_000, 300_000, sum(SIZES))

# Genes of each data set alone.
N_OWN = (0, 10, 25, 50, 100, 200)


def scale(*, quick: bool, workdir: Path | None) -> str:
    """Seconds and growth of memory of one epoch from nine files, against cells.

    Uses ``d0.h5ad``, … of the folder if they exist.
    """
    n_vars, rank, numbers = (300, 10, (500, 2000)) if quick else (2000, 50, N_CELLS)
    rows: list[tuple[int, float, float]] = []
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        whole = {p.stem: p for p in sorted((workdir or folder).glob("d?.h5ad"))}
        if not whole:
            for d, n in enumerate(SIZES):
                whole[f"d{d}"] = folder / f"d{d}.h5ad"
                write_stored(whole[f"d{d}"], n // 200 if quick else n, n_vars, rank)
        total = sum(ad.read_h5ad(p, backed="r").n_obs for p in whole.values())
        for number in sorted({min(n, total) for n in numbers}):
            part = {}
            for name, path in whole.items():
                part[name] = path
                if number < total:
                    part[name] = folder / f"{number}-{name}.h5ad"
                    first_rows(path, number / total, part[name])
            result = in_fresh_process(
                "integrate_stored",
                {
                    "files": {name: str(path) for name, path in part.items()},
                    "rank": rank,
                    "n_epochs": 1,
                    "scores": str(folder / f"scores-{number}.h5ad"),
                },
            )
            growth = result["growth"] / 2**20
            rows.append((result["n_cells"], result["seconds"], growth))
            progress(*(f"{value:.0f}" for value in rows[-1]))
    if workdir is not None:
        _draw_scale(rows, workdir / "inmf-scale.png")
    title = f"### Integration from nine files, {rank} components, one epoch"
    table = markdown(
        ["cells", "s, with scores on disk", "peak growth, MB"],
        [[f"{n:,}", f"{s:.0f}", f"{mb:.0f}"] for n, s, mb in rows],
    )
    return f"{title}\n\n{table}"


def _draw_scale(rows: Sequence[tuple[int, float, float]], path: Path) -> None:
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    n, seconds, growth = np.array(rows).T
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.6), layout="constrained")
    for ax, values, label in zip(
        axes, (seconds, growth), ("seconds", "peak growth of memory, MB"), strict=True
    ):
        ax.plot(n, values, "o-", ms=4, lw=1.2)
        ax.set(xscale="log", xlabel="cells", ylabel=label)
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_yscale("log")
    axes[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes[0].yaxis.set_major_formatter("{x:g}")
    axes[0].yaxis.set_minor_formatter(NullFormatter())
    axes[1].set_ylim(bottom=0)
    figure.savefig(path, dpi=150)
    plt.close(figure)


# --- unshared genes -------------------------------------------------------------------


def unshared(*, quick: bool, workdir: Path | None) -> str:
    """Clusters of both data sets, with and without the genes that each has alone."""
    numbers, seeds = (N_OWN[::5], range(2)) if quick else (N_OWN, range(5))
    found = np.empty((2, len(numbers), len(seeds)))
    for i, n_own in enumerate(numbers):
        for j, seed in enumerate(seeds):
            parts, shared = informative_pair(seed, n_own)
            few = {name: one[:, shared] for name, one in parts.items()}
            found[:, i, j] = [_agreement(data) for data in (few, parts)]
        progress(str(n_own), *(f"{x:.3f}" for x in found[:, i].mean(axis=1)))
    if workdir is not None:
        _draw_unshared(numbers, found, workdir / "inmf-unshared.png")
    rows = [
        [str(n), *(f"{x.mean():.3f} ({x.min():.3f} to {x.max():.3f})" for x in both)]
        for n, both in zip(numbers, found.transpose(1, 0, 2), strict=True)
    ]
    title = "### Genes that one data set has alone: agreement of clusters with kinds"
    header = ["genes of each alone", "40 shared genes only", "with them"]
    return f"{title}\n\n" + markdown(header, rows)


def informative_pair(
    seed: int, n_own: int, sizes: Sequence[int] = (400, 300), n_shared: int = 40
) -> tuple[dict[str, ad.AnnData], list[str]]:
    """Six kinds of cells that shared genes hardly tell apart, and others do."""
    rng, n_types = np.random.default_rng(seed), 6
    owner = np.repeat([-1, 0, 1], [n_shared, N_OWN[-1], N_OWN[-1]])
    profile = rng.exponential(size=(owner.size, n_types)) * (
        rng.random((owner.size, n_types)) > 0.7
    )
    profile += 0.3 * rng.exponential(size=(owner.size, 1))
    parts = {}
    for d, n in enumerate(sizes):
        kind = rng.integers(n_types, size=n)
        h = 0.9 * np.eye(n_types)[kind] + 0.1 * rng.dirichlet(np.ones(n_types), n)
        genes = np.flatnonzero((owner == -1) | (owner == d))
        mean = h @ (profile * rng.gamma(5, 0.2, (owner.size, 1)))[genes].T
        mean *= 0.5 * genes.size / mean.sum(axis=1, keepdims=True)
        counts = rng.poisson(mean).astype(np.float32)[:, : n_shared + n_own]
        names = [f"gene_{j}" for j in genes[: n_shared + n_own]]
        parts["ab"[d]] = ad.AnnData(
            sp.csr_matrix(counts),
            obs=pd.DataFrame(
                {"kind": kind.astype(str)}, index=[f"{'ab'[d]}{i}" for i in range(n)]
            ),
            var=pd.DataFrame(index=names),
        )
    return parts, [f"gene_{j}" for j in range(n_shared)]


def _agreement(data: dict[str, Any]) -> float:
    """Adjusted Rand index of aligned clusters of both data sets, the better of two starts."""
    joined = nng.tl.inmf(data, 6, batch_key="batch", size_factors="total", n_init=2)
    assert joined is not None
    nng.tl.quantile_align(joined)
    clusters = joined.obs["inmf_cluster"].astype(str)
    return float(adjusted_rand_score(joined.obs["kind"], clusters))


def _draw_unshared(numbers: Sequence[int], found: np.ndarray, path: Path) -> None:
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(4.2, 2.8), layout="constrained")
    for values, label in zip(found, ("shared genes only", "all genes"), strict=True):
        (line,) = ax.plot(numbers, values.mean(axis=1), "o-", ms=4, lw=1.2, label=label)
        x = np.repeat(numbers, values.shape[1])
        ax.plot(x, values.ravel(), ".", ms=3, alpha=0.5, color=line.get_color())
    ax.set(
        xlabel="genes that each data set has alone",
        ylabel="adjusted Rand index",
        ylim=(0, 1.03),
        title="clusters of both data sets and kinds of cells",
    )
    ax.title.set_fontsize("small")
    ax.legend(fontsize="small", frameon=False, loc="lower right")
    ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
