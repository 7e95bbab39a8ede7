"""Held-out counts of real sections, and true factors of simulated ones, at defaults."""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np

import nonneg as nng
from testing.nonneg import real_data

from .measure import installed, markdown, progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from numpy.typing import NDArray

N_COMPONENTS, N_GENES, N_SPLITS = 10, 200, 5
HELD_OUT = (0.2, 0.05)
SPATIAL, BASELINES = ("nsf", "nsfh"), ("nmf", "pnmf", "intercept")

# Fewer counts than this say nothing of an observation.
_FEWEST_COUNTS = 10

_SIDES, _SEEDS = (18, 24, 30), range(3)


def sections(*, quick: bool = False) -> Iterator[tuple[str, ad.AnnData]]:
    """Sections that no default was chosen on alone, with their most deviant genes."""
    files = {
        "olfactory bulb": "mob.h5ad",
        "hypothalamus": "merfish_hypothalamus_spatial.h5ad",
        "pancreas": "pdac_a_spatial.h5ad",
        "breast cancer, one slice": "breast_cancer_4slices.h5ad",
        "cortex": "osmfish_cortex.h5ad",
    }
    for name, file in list(files.items())[: 1 if quick else None]:
        adata = ad.read_h5ad(real_data(file))
        if "slice" in adata.obs:
            adata = adata[adata.obs["slice"] == adata.obs["slice"].iloc[0]].copy()
        if "valid" in adata.obs:
            adata = adata[adata.obs["valid"].astype(bool)].copy()
        adata = adata[_totals(adata) >= _FEWEST_COUNTS].copy()
        nng.pp.deviant_genes(adata, N_GENES, subset=True)
        yield name, adata[_totals(adata) > 0].copy()


def _totals(adata: ad.AnnData) -> NDArray[np.floating[Any]]:
    return np.asarray(adata.X.sum(1)).ravel()


def held_out(*, quick: bool, workdir: Path | None) -> str:
    """Deviance of held-out counts beside models without space, split by split."""
    n_splits = 1 if quick else N_SPLITS
    rows = []
    for name, adata in sections(quick=quick):
        for test_size in HELD_OUT:
            start = time.process_time()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                nng.tl.compare(
                    adata,
                    [*SPATIAL, *BASELINES],
                    N_COMPONENTS,
                    n_splits=n_splits,
                    test_size=test_size,
                )
            table = adata.uns["comparison"]
            seconds = time.process_time() - start
            rows.append([name, f"{test_size:.0%}", *_judge(table), f"{seconds:.0f}"])
            progress(*rows[-1])
    header = [
        "section",
        "held out",
        *SPATIAL,
        *BASELINES,
        "nsf / best of the others, by split",
        "nsfh / nsf",
        "coverage of nsf, nsfh",
        "CPU s of all",
    ]
    title = (
        f"### Deviance of held-out counts, {N_COMPONENTS} factors, "
        f"mean of {n_splits} splits"
    )
    return f"{title}\n\n" + markdown(header, rows)


def _judge(table: pd.DataFrame) -> list[str]:
    deviance = table.pivot_table(index="split", columns="model", values="deviance")
    least = deviance[list(BASELINES)].min(axis=1)
    coverage = table.groupby("model")["coverage"].mean()
    return [
        *(f"{deviance[model].mean():.3f}" for model in (*SPATIAL, *BASELINES)),
        " ".join(f"{ratio:.3f}" for ratio in deviance["nsf"] / least),
        " ".join(f"{ratio:.3f}" for ratio in deviance["nsfh"] / deviance["nsf"]),
        " ".join(f"{coverage[model]:.2f}" for model in SPATIAL),
    ]


def recovery(*, quick: bool, workdir: Path | None) -> str:
    """Mean correlation of factors with the true ones, at defaults."""
    rows = []
    for name, make in (
        ("blocks", nng.datasets.ggblocks),
        ("quilt", nng.datasets.quilt),
    ):
        for side in _SIDES[: 1 if quick else None]:
            for size_factors in (None, "total"):
                found = [
                    _recovered(make(side, 200, rng=seed), size_factors)
                    for seed in (range(1) if quick else _SEEDS)
                ]
                cells = [
                    " ".join(f"{one[model]:.3f}" for one in found)
                    for model in ("nsf", "pnmf")
                ]
                rows.append([name, f"{side} × {side}", str(size_factors), *cells])
                progress(*rows[-1])
    header = ["simulation", "locations", "size_factors", "nsf", "pnmf"]
    title = "### Mean correlation with the true factors, three seeds"
    return f"{title}\n\n" + markdown(header, rows)


# At most; after 150 it has found nothing yet, at a second each on two cores.
_EPOCHS = 2000


def beside_mofaflex(*, quick: bool, workdir: Path | None) -> str:
    """Seconds and correlation with the true factors, beside the preset of MOFA-FLEX."""
    peer = installed("mofaflex")
    rows = []
    for name, make in (
        ("blocks", nng.datasets.ggblocks),
        ("quilt", nng.datasets.quilt),
    ):
        adata = make(_SIDES[0], 200)
        # Of two calls the second: what the first compiles is there for the next rows.
        for _ in range(2):
            begin = time.perf_counter()
            ours = _recovered(adata, None, ("nsf",))["nsf"]
            seconds = time.perf_counter() - begin
        theirs = [float("nan")] * 3
        if peer is not None:
            theirs = _mofaflex(peer.python, adata, 3 if quick else _EPOCHS)
        rows.append([name, *(f"{x:.3g}" for x in (seconds, ours, *theirs))])
        progress(*rows[-1])
    header = [
        *("simulation, 18 × 18", "nonneg, second call, s", "r"),
        *("MOFA-FLEX, s", "epochs", "r"),
    ]
    return markdown(header, rows)


def _mofaflex(python: str, adata: ad.AnnData, epochs: int) -> list[float]:
    """Seconds of its fit alone, epochs, and the mean correlation."""
    truth = adata.obsm["truth"]
    with TemporaryDirectory() as folder:
        source, target = Path(folder, "counts.h5ad"), Path(folder, "peer.npz")
        ad.AnnData(adata.X, obsm={"spatial": adata.obsm["spatial"]}).write_h5ad(source)
        script = Path(__file__).parent / "peers" / "nsf.py"
        rank = str(truth.shape[1])
        done = subprocess.run(
            [python, str(script), str(source), str(target), rank, str(epochs)],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            print(f"MOFA-FLEX failed:\n{done.stderr[-500:]}", file=sys.stderr)
            return [float("nan")] * 3
        with np.load(target) as left:
            factors = left["factors"]
            seconds, n_epochs = float(left["seconds"]), float(left["epochs"])
    matched = nng.metrics.match_factors(truth, factors, metric="pearson")
    return [seconds, n_epochs, float(matched.similarity.mean())]


def _recovered(
    adata: ad.AnnData,
    size_factors: str | None,
    models: tuple[str, ...] = ("nsf", "pnmf"),
) -> dict[str, float]:
    truth = adata.obsm["truth"]
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for model in models:
            fit = getattr(nng.tl, model)
            fit(adata, truth.shape[1], size_factors=size_factors)
            matched = nng.metrics.match_factors(
                truth, adata.obsm[f"X_{model}"], metric="pearson"
            )
            found[model] = float(matched.similarity.mean())
    return found
