"""Stability of numbers of components, beside a loop of scikit-learn's NMF."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from anndata import AnnData
from sklearn.decomposition import NMF

import nonneg as nng
from nonneg.models.nmf.problem import Problem
from nonneg.models.nmf.solver import nmf as fit_nmf
from nonneg.models.stability.draws import Draws
from nonneg.models.stability.replicates import Replicates, sketch_of
from nonneg.models.stability.spectra import Spectra
from nonneg.operators.choose import as_operator
from nonneg.operators.threads import computing

from .data import low_rank_dense
from .measure import in_fresh_process, markdown, objective, progress

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from nonneg.models.loop import Report

# A scan as in the article: numbers of components, and samples of each.
_RANKS, _SAMPLES = range(8, 31), 100

# Of the embryos: around the published 21, and around what is stable.
_PUBLISHED_RANKS = [5, 8, 10, 11, 12, 13, 15, 18, 20, 21, 22, 23, 25, 30]

# A fit goes on until scikit-learn's objective is passed, or so long.
_RACE_ITER = 1000


class Times(NamedTuple):
    """Of the processors, and of the clock: both, since machines are shared."""

    cpu: float
    wall: float

    @staticmethod
    def now() -> Times:
        return Times(time.process_time(), time.perf_counter())

    def since(self, start: Times, parts: int = 1) -> Times:
        return Times((self.cpu - start.cpu) / parts, (self.wall - start.wall) / parts)


def fit(*, quick: bool, workdir: Path | None) -> str:
    """One factorization of a whole atlas, until it is as good as scikit-learn's."""
    del workdir
    shape, rank = ((3000, 600), 5) if quick else ((55_954, 4345), 11)
    x = low_rank_dense(*shape, rank)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        begin = Times.now()
        model = NMF(rank, init="nndsvda", random_state=0)
        w = model.fit_transform(x)
        peer = Times.now().since(begin)
    aim = objective(x, w, model.components_, "frobenius")
    progress("scikit-learn", f"{peer.wall:.1f} s")
    end: list[Times] = []

    def watch(_: int, report: Report) -> None:
        if report.objective is not None and report.objective <= aim:
            end.append(Times.now())
            # As a user would end it: what was found is kept.
            raise KeyboardInterrupt

    with computing():
        op = as_operator(x, where="the matrix")
        begin = Times.now()
        result = fit_nmf(
            Problem(op, op.stats()), rank, tol=0, max_iter=_RACE_ITER, callback=watch
        )
    until = end[0].since(begin)
    ratio = objective(x, result.W, result.H, "frobenius") / aim
    rows = [
        [
            f"{shape[0]:,} x {shape[1]:,}, k = {rank}",
            f"{peer.wall:.1f} ({peer.cpu:.1f})",
            f"{until.wall:.1f} ({until.cpu:.1f})",
            f"{peer.wall / until.wall:.1f} ({peer.cpu / until.cpu:.1f})",
            f"{model.n_iter_}, {result.trace.n_iter}",
            f"{ratio:.6f}",
        ]
    ]
    header = ["dense", "scikit-learn, s (CPU)", "nonneg, until as good", "ratio"]
    return markdown([*header, "iterations", "objective / scikit-learn's"], rows)


def scan(*, quick: bool, workdir: Path | None) -> str:
    """What a sample of a scan costs, and that instability is the same."""
    del workdir
    shape, true = ((2000, 400), 5) if quick else ((20_000, 2000), 11)
    ranks = (4, 6) if quick else (9, 11, 13, 30)
    n_ours, n_theirs = (8, 2) if quick else (16, 2)
    x = low_rank_dense(*shape, true)
    draws = Draws(x.shape, n_ours, "var", 0)
    rows, totals = [], []
    with computing():
        op = as_operator(x, where="the matrix")
        begin = Times.now()
        replicates = Replicates(op, draws, sketch_of(op, max(ranks), 0))
        compute = Spectra(op, draws)
        once = Times.now().since(begin)
        begin = Times.now()
        spectra = [compute(sample, max(ranks)) for sample in range(n_ours)]
        each = Times.now().since(begin, n_ours)
    for rank in ranks:
        with computing():
            # What is compiled is used for all samples of a number: not counted.
            batches = list(replicates.batches(rank, range(n_ours)))
            first = batches[0]
            replicates.fit(rank, first, [spectra[i] for i in first])
            begin = Times.now()
            n_iter: list[Any] = []
            for batch in batches:
                found = replicates.fit(rank, batch, [spectra[i] for i in batch])
                n_iter += found.n_iter.tolist()
            ours = Times.now().since(begin, n_ours)
        begin = Times.now()
        theirs = [n for _, n in loop(x, draws, rank, n_theirs)]
        peer = Times.now().since(begin, n_theirs)
        # Singular vectors serve all numbers of components.
        shared = (each.cpu + once.cpu / _SAMPLES) / len(_RANKS)
        totals.append((peer.cpu, ours.cpu + shared))
        rows.append(
            [
                str(rank),
                f"{peer.cpu:.2f} ({peer.wall:.2f})",
                f"{ours.cpu + shared:.2f} ({ours.wall:.2f})",
                f"{peer.cpu / (ours.cpu + shared):.1f}",
                f"{np.mean(theirs):.0f}, {np.mean(n_iter):.0f}",
            ]
        )
        progress("k", str(rank), *rows[-1][1:])
    memory = in_fresh_process("scan_memory", {"quick": quick})
    header = ["components", "scikit-learn, CPU s (wall) / sample", "nonneg", "ratio"]
    table = markdown([*header, "iterations, both"], rows)
    hours = [sum(values) / len(totals) for values in zip(*totals, strict=True)]
    hours = [value * len(_RANKS) * _SAMPLES / 3600 for value in hours]
    return (
        f"{shape[0]:,} x {shape[1]:,} dense; a scan of {len(_RANKS)} numbers x "
        f"{_SAMPLES} samples, from the mean of these: {hours[0]:.1f} against "
        f"{hours[1]:.1f} CPU hours. Memory of a scan with {_SAMPLES} samples, the data "
        f"included: {memory['peak'] / memory['data']:.2f} of the data.\n\n{table}"
    )


def loop(
    x: NDArray[Any], draws: Draws, rank: int, n_samples: int
) -> list[tuple[NDArray[Any], int]]:
    """scikit-learn sample by sample: patterns, and the number of iterations."""
    found = []
    for sample in range(n_samples):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = NMF(rank, init="nndsvda", random_state=sample)
            patterns = model.fit_transform(x[:, draws.index(sample)])
        found.append((patterns, model.n_iter_))
    return found


def volumes(*, quick: bool, workdir: Path | None) -> str:
    """Simulated atlases: is the true number found?"""
    del workdir
    numbers, seeds = ((5,), 1) if quick else ((6, 8, 11), 2)
    shape, n_genes = ((14, 11, 9), 120) if quick else ((24, 18, 16), 400)
    rows = []
    for true in numbers:
        for seed in range(seeds):
            adata = nng.datasets.atlas_expression(
                shape, n_genes, true, missing_planes=0, slice_gain=0, rng=seed
            )
            begin = Times.now()
            nng.tl.stability(adata, range(true - 2, true + 3), n_bootstraps=12)
            seconds = Times.now().since(begin).cpu
            entry = adata.uns["stability"]
            table = entry["table"].set_index("n_components")
            match = nng.metrics.match_factors(
                adata.obsm["truth"], adata.obsm["X_stability"]
            )
            others = table["instability"].drop(true)
            rows.append(
                [
                    f"{true} ({seed})",
                    str(entry.get("best", "none")),
                    f"{table['instability'][true]:.4f}",
                    f"{others.min():.3f}",
                    f"{table['pca'][true]:.3f}",
                    f"{match.similarity.min():.3f}",
                    f"{seconds:.0f}",
                ]
            )
            progress(*rows[-1])
    header = ["true number (seed)", "selected", "instability there", "next best"]
    header = [*header, "of components (PCA)", "smallest matched cosine", "CPU s"]
    return markdown(header, rows)


def published(*, quick: bool, workdir: Path | None) -> str:
    """The method's first data: what is drawn, and how it is measured, decides."""
    from testing.nonneg import real_data

    del workdir
    file = np.load(real_data("wu2016_drosophila.npz"))
    x = file["X"].astype(np.float32)
    adata = AnnData(x)
    _, gene, n_images = np.unique(
        file["genes"], return_inverse=True, return_counts=True
    )
    weights = 1 / n_images[gene]
    ranks, n_samples = ([5, 12, 21], 4) if quick else (_PUBLISHED_RANKS, 20)
    columns: dict[str, Any] = {}
    for name, resample in (
        ("images drawn", "var"),
        ("pixels drawn", "obs"),
        ("starts", None),
    ):
        nng.tl.stability(
            adata,
            ranks,
            n_bootstraps=n_samples,
            resample=resample,
            var_weights=weights,
            baseline=resample == "var",
        )
        table = adata.uns["stability"]["table"].set_index("n_components")
        for metric in ("hungarian", "amari"):
            columns[f"{name}, {metric}"] = table[metric]
        if resample == "var":
            columns["PCA, images drawn"] = table["pca"]
            columns["corrected, images drawn"] = table["corrected"]
            columns["standard error"] = table["instability_se"]
            columns["converged"] = table["converged"]
        progress(name)
    permuted = AnnData(np.random.default_rng(0).permuted(x, axis=0))
    some = list(ranks)[::5]
    with warnings.catch_warnings():
        # That nothing is selected: this is what is asked.
        warnings.simplefilter("ignore")
        nng.tl.stability(
            permuted,
            some,
            n_bootstraps=max(n_samples // 2, 2),
            var_weights=weights,
            baseline=False,
        )
    entry = permuted.uns["stability"]
    columns["corrected, pixels in random order"] = entry["table"].set_index(
        "n_components"
    )["corrected"]
    rows = [
        [
            str(rank),
            *(
                f"{column[rank]:.3f}" if rank in column.index else ""
                for column in columns.values()
            ),
        ]
        for rank in ranks
    ]
    best = ", ".join(
        f"{name}: {column.idxmin()}"
        for name, column in columns.items()
        if "hungarian" in name or "amari" in name
    )
    selected = entry.get("best", "nothing")
    return (
        f"Lowest instability, {n_samples} samples: {best}. With pixels in random order, "
        f"{selected} is selected.\n\n{markdown(['components', *columns], rows)}"
    )


CASES = {
    "stability-fit": fit,
    "stability-scan": scan,
    "stability-volumes": volumes,
    "stability-published": published,
}
