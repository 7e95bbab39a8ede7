"""Draw the pictures of README and landing page, one for each system.

    python scripts/pictures.py            # all, into docs/_static
    python scripts/pictures.py widefield  # one of them

All data are simulated. Pictures have a white background of their own, so that they can
be seen on pages of any colour, and are stored with few colours, to be small.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import scanpy as sc
from matplotlib.lines import Line2D
from PIL import Image

import nonneg as nng

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

FOLDER = Path(__file__).parents[1] / "docs" / "_static"
# Inches: 16 to 9, as cards show them.
SIZE, DPI = (5.6, 3.15), 150
_N_COLORS = 96


def spatial() -> Figure:
    """One gene, then factors of all genes and how certain they are."""
    adata = nng.datasets.ggblocks(30, 200, height=3.0)
    nng.tl.nsf(adata, 4, size_factors=None)
    match = nng.metrics.match_factors(
        adata.obsm["truth"], adata.obsm["X_nsf"], metric="pearson"
    )
    order = np.asarray(match.permutation)
    figure, axes = plt.subplots(2, 3, figsize=SIZE, layout="constrained")
    gene = adata.var_names[adata.varm["truth"][:, 0].argmax()]
    _map(axes[0, 0], adata, sc.get.obs_df(adata, [gene]), "counts of one gene", "Greys")
    _map(
        axes[1, 0],
        adata,
        adata.obsm["X_nsf_std"][:, order[0]],
        "uncertainty of factor 1",
        "Blues",
    )
    for i, ax in enumerate(axes[:, 1:].flat):
        scores = adata.obsm["X_nsf"][:, order[i]]
        _map(ax, adata, scores, f"factor {i + 1}")
    return figure


def integration() -> Figure:
    """Cells of three data sets, before and after."""
    adata = nng.datasets.batches((400, 300, 300), 300, 6, specific=0.6)
    nng.tl.inmf(adata, 6, batch_key="batch", size_factors="total")
    nng.tl.quantile_align(adata)
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    sc.pp.pca(adata)
    figure, axes = plt.subplots(1, 2, figsize=SIZE, layout="constrained")
    for ax, key, title in zip(
        axes,
        ("X_pca", "X_inmf_aligned"),
        ("principal components", "iNMF, aligned"),
        strict=True,
    ):
        sc.pp.neighbors(adata, use_rep=key)
        sc.tl.umap(adata)
        batch = adata.obs["batch"].cat.codes.to_numpy()
        order = np.random.default_rng(0).permutation(adata.n_obs)
        ax.scatter(
            *adata.obsm["X_umap"][order].T,
            c=np.array(["C0", "C1", "C2"])[batch[order]],
            s=4,
            lw=0,
        )
        ax.set_title(title, fontsize="medium")
        _bare(ax)
    handles = [
        Line2D(
            [], [], marker="o", ls="", ms=4, color=f"C{i}", label=f"data set {i + 1}"
        )
        for i in range(3)
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9
    )
    return figure


def deconvolution() -> Figure:
    """Cell types of every spot as pies."""
    adata, reference = nng.datasets.spots(16)
    nng.tl.deconvolve(adata, reference, cell_type_key="cell_type")
    figure, ax = plt.subplots(figsize=SIZE, layout="constrained")
    nng.pl.deconvolution(adata, ax=ax, title="cell types of every spot")
    return figure


def stability() -> Figure:
    """How often patterns come back, and what they are."""
    adata = nng.datasets.atlas_expression((24, 18, 16), 200, 6, missing_planes=0)
    nng.tl.stability(adata, range(3, 11), n_bootstraps=8)
    figure = plt.figure(figsize=SIZE, layout="constrained")
    grid = figure.add_gridspec(2, 4, width_ratios=[1.2, 1.2, 1, 1])
    ax = figure.add_subplot(grid[:, :2])
    table = adata.uns["stability"]["table"]
    best = adata.uns["stability"]["best"]
    ax.errorbar(
        table["n_components"],
        table["instability"],
        table["instability_se"],
        fmt="o-",
        ms=4,
        lw=1.2,
    )
    ax.axvline(best, color="0.7", lw=0.8, ls="--", zorder=0)
    ax.set(xlabel="number of patterns", ylabel="instability", ylim=(0, None))
    ax.set_title(f"{best} patterns come back", fontsize="medium")
    ax.spines[["top", "right"]].set_visible(False)
    for i in range(4):
        panel = figure.add_subplot(grid[i // 2, 2 + i % 2])
        box = nng.get.image(adata, adata.obsm["X_stability"][:, i])
        panel.imshow(np.fmax.reduce(box, axis=0), cmap="magma_r", vmin=0)
        panel.set_title(f"pattern {i + 1}", fontsize="medium")
        _bare(panel)
    return figure


def widefield() -> Figure:
    """Components of brain regions, and what they do."""
    adata = nng.datasets.widefield(form="svd", n_frames=600, rng=1)
    nng.tl.locanmf(adata)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=SIZE, layout="constrained", width_ratios=[1, 1.1]
    )
    nng.pl.footprints(adata, ax=left)
    left.set_title("footprints", fontsize="medium")
    traces = adata.varm["locanmf"][:300, :8]
    time = adata.var["time"].to_numpy()[:300]
    for i, trace in enumerate(traces.T):
        right.plot(time, trace / np.ptp(trace) - i, lw=0.8)
    right.set_title("time courses", fontsize="medium")
    right.set(xlabel="seconds", yticks=[])
    right.spines[["top", "right", "left"]].set_visible(False)
    return figure


def _map(
    ax: Axes, adata: AnnData, values: ArrayLike, title: str, cmap: str = "magma_r"
) -> None:
    side = round(adata.n_obs**0.5)
    ax.imshow(np.reshape(values, (side, side)), cmap=cmap, vmin=0)
    ax.set_title(title, fontsize="medium")
    _bare(ax)


def _bare(ax: Axes) -> None:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


PICTURES: dict[str, Callable[[], Figure]] = {
    "spatial": spatial,
    "integration": integration,
    "deconvolution": deconvolution,
    "stability": stability,
    "widefield": widefield,
}


def save(figure: Figure, path: Path) -> None:
    """As a PNG with a palette."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DPI, facecolor="white")
    plt.close(figure)
    picture = Image.open(buffer).convert("RGB")
    picture.quantize(_N_COLORS).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def main(names: list[str]) -> None:
    plt.switch_backend("agg")
    nng.settings.progress = False
    for name in names or PICTURES:
        save(PICTURES[name](), FOLDER / f"{name}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
