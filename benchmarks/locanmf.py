"""Components near regions: time, fit and truth, beside what the published program reached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .deconvolution import provenance
from .measure import in_fresh_process, markdown, progress

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from anndata import AnnData

# The published program in PyTorch, on two cores: seconds, R², components, lowest
# localisation, median of the best correlations with true time courses. It does not run
# beside current versions of what it needs: figures are of another run, on this movie.
PUBLISHED = {
    "3 each": ("2.9", "0.9964", "36", "0.75", "0.77"),
    "1 to 5": ("7.4", "0.9975", "37", "0.78", "0.77"),
}
RANKS: dict[str, dict[str, Any]] = {
    "3 each": {"min_rank": 3, "max_rank": 3},
    "1 to 5": {"min_rank": 1, "max_rank": 5},
}
# As those figures were taken.
OPTIONS = {"loc_threshold": 0.7, "r2_threshold": 0.99}
_HEADER = [
    "components of a region", "first call, s (CPU s)", "second call", "R²", "components",
    "lowest localisation", "median r with truth", "peak growth, MB",
]  # fmt: skip


def compare(*, quick: bool, workdir: Path | None) -> str:
    """200 x 200 pixels, twelve regions, 5,000 frames of rank 60, 40 sources."""
    del workdir
    size = {"side": 60, "n_frames": 500} if quick else {}
    rows = []
    for name, ranks in RANKS.items():
        found = in_fresh_process(
            "fit_locanmf", {"movie": size, "options": {**ranks, **OPTIONS}}
        )
        rows.append(_row(f"nonneg, {name}", found))
        progress(*rows[-1])
        if not quick:
            seconds, *others = PUBLISHED[name]
            rows.append([f"published program, {name}", "", seconds, *others, ""])
    stated = (
        ""
        if quick
        else " Rows of the published program are stated from another run on the same movie."
    )
    return f"{_title(found)}\n\n{markdown(_HEADER, rows)}\n\n{provenance()}{stated}"


def session(*, quick: bool, workdir: Path | None) -> str:
    """200,000 pixels, 66 regions, rank 200: a real session in size."""
    del workdir
    found = in_fresh_process(
        "fit_locanmf",
        {"movie": {"quick": quick}, "options": {"max_rank": 4}, "large": True},
    )
    table = markdown(_HEADER, [_row("nonneg, 1 to 4", found)])
    return f"{_title(found)}\n\n{table}\n\n{provenance()}"


def _title(found: Mapping[str, Any]) -> str:
    return (
        f"### {found['n_pixels']:,} pixels, {found['n_regions']} regions, "
        f"{found['n_sources']} sources, rank {found['rank']}, {found['n_frames']:,} frames"
    )


def _row(name: str, found: Mapping[str, Any]) -> list[str]:
    times = [
        f"{wall:.1f} ({cpu:.1f})"
        for wall, cpu in zip(found["seconds"], found["cpu"], strict=True)
    ]
    return [
        name,
        *times,
        f"{found['r2']:.4f}",
        str(found["n_components"]),
        f"{found['localization']:.2f}",
        f"{found['truth']:.3f}",
        f"{found['growth'] / 1e6:.0f}",
    ]


def judge(adata: AnnData) -> dict[str, float]:
    """What was fitted, how much it explains, and how near the truth it is."""
    fit, truth = adata.uns["locanmf"], adata.varm["true_traces"]
    found = adata.varm["locanmf"]
    r = np.corrcoef(truth.T, found.T)[: truth.shape[1], truth.shape[1] :]
    return {
        "r2": _r2(adata),
        "n_components": found.shape[1],
        "localization": float(fit["localization"].min()),
        "truth": float(np.median(np.abs(r).max(axis=1))),
        "n_pixels": adata.n_obs,
        "n_frames": adata.n_vars,
        "rank": adata.varm["svd"].shape[1],
        "n_sources": truth.shape[1],
        "n_regions": len(fit["regions"]),
    }


def _r2(adata: AnnData) -> float:
    """Of all pixels together, in blocks of pixels: no shortcut of the fit's."""
    left = total = 0.0
    v, c = adata.varm["svd"].T, adata.varm["locanmf"].T
    for start in range(0, adata.n_obs, 1000):
        rows = slice(start, start + 1000)
        movie = adata.obsm["X_svd"][rows] @ v
        fitted = adata.obsm["X_locanmf"][rows] @ c
        left += float(np.square(movie - fitted, dtype=np.float64).sum())
        movie -= movie.mean(axis=1, keepdims=True)
        total += float(np.square(movie, dtype=np.float64).sum())
    return 1 - left / total


CASES = {"locanmf": compare, "locanmf-session": session}
