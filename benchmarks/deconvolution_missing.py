"""A cell type that the reference lacks: each type left out in turn."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np

import nonneg as nng

from .deconvolution import WORKLOADS, Section, auroc, section
from .measure import markdown, progress

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_HAS, _FEWEST, _TOP = 0.3, 5, 20


def compare(*, quick: bool, workdir: Path | None = None) -> str:
    """AUROC of locations with the type, its genes, and false flags."""
    del workdir
    table = []
    for name in WORKLOADS:
        for seed in range(1 if quick else 5):
            found = section(name, seed)
            score, threshold, _ = _scores(found, None)
            false = 100 * float((score >= threshold).mean())
            row = [name, str(seed), *_left_out(found), f"{false:.1f} %"]
            table.append(row)
            progress(*row)
    head = ["section", "seed", "types left out", "AUROC >= .85", "least", "mean"]
    head += ["a marker in the top 20", "certain of those with > 30 %"]
    head += ["certain of those without", "false flags, full reference"]
    return "### A type that the reference lacks\n\n" + markdown(head, table)


def _left_out(found: Section) -> list[str]:
    assert found.truth is not None
    of = nng.pp.signatures(found.cells, "cell_type").var["marker_of"]
    records = []
    for share, name in zip(found.truth.T, found.types, strict=True):
        has = share > _HAS
        if has.sum() < _FEWEST:
            continue
        score, threshold, genes = _scores(found, name)
        certain = score >= threshold
        records.append(
            (
                auroc(score, has),
                (of.reindex(genes[:_TOP]) == name).any(),
                certain[has].mean(),
                certain[share == 0].mean() if (share == 0).any() else np.nan,
            )
        )
        progress(name, *(f"{value:.3f}" for value in records[-1]))
    area, marked, certain, false = np.array(records, float).T
    wrong = f"{100 * np.nanmean(false):.1f} %" if np.isfinite(false).any() else "–"
    return [
        str(area.size),
        str((area >= 0.85).sum()),
        f"{area.min():.3f}",
        f"{area.mean():.3f}",
        str(int(marked.sum())),
        f"{100 * certain.mean():.0f} %",
        wrong,
    ]


def _scores(
    found: Section, without: str | None
) -> tuple[NDArray[np.float64], float, NDArray[np.str_]]:
    """Scores, the threshold, and the leading genes."""
    cells = found.cells[found.cells.obs["cell_type"] != without]
    adata = ad.AnnData(found.spots.X, obs=found.spots.obs[[]], var=found.spots.var[[]])
    adata.obsm["spatial"] = np.asarray(found.spots.obsm["spatial"])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*fewer than 25 cells")
        warnings.filterwarnings("ignore", ".*have no counts of the genes used")
        nng.tl.deconvolve(adata, cells.copy(), cell_type_key="cell_type")
    info = adata.uns["deconv"]
    # Of locations without counts, nothing is known.
    score = adata.obs["deconv_missing"].to_numpy(np.float64)
    score = np.where(np.isnan(score), -np.inf, score)
    return (
        score,
        np.float32(info["missing_threshold"]),
        info["missing_genes"]["gene"].to_numpy(str),
    )
