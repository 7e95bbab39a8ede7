"""Where the reference lacks a cell type, and which."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize as ColorRange
from matplotlib.ticker import MaxNLocator

from .._adata.compositions import read_compositions
from .._adata.schema import stored_table
from .._adata.tables import read_table
from .._adata.views import fitted_sections
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_positive_int
from ._colors import NO_DATA, check_color_range, intensity_map
from ._panels import figure_of, new_figure
from ._tissue import draw_spots, frame, map_size, read_tissue

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from spatialdata import SpatialData

    from ._tissue import Tissue

_EDGE = "#1f9e89"
# Of the distance between locations: discs, and what an edge takes of them.
_DISC, _RING = 0.86, 0.1


@checked
@shared_docs
def missing_type(
    adata: AnnData | SpatialData,
    key: str = "deconv",
    *,
    n_genes: int = 15,
    spatial_key: str = "spatial",
    library_key: str | None = None,
    cmap: str | Colormap | None = None,
    vmax: float | None = None,
    img: bool = True,
    img_alpha: float = 1.0,
    table_key: str | None = None,
) -> list[Axes]:
    """Map the score of a type that the reference lacks, with its leading genes.

    Scores are standard deviations above locations without it; those below 0 have the
    colour of 0. Locations where the score is certain, at the false discovery rate of the
    fit, have a green edge, and the threshold is a line in the colour bar. Genes are
    ranked by their gain: counts beyond those expected in locations with high scores,
    times the fold change there, which is the colour. Trust a map that has a shape, and
    genes that are known together.

    Parameters
    ----------
    %(key)s
    n_genes
        Number of genes to name.
    spatial_key
        Coordinates in `adata.obsm`.
    library_key
        Column of `adata.obs` that names the section of every location. Every section
        gets its own panel. `None`: the one of the fit, if it had one.
    cmap
        Colour map of the score. `None`: `magma_r`, or `magma` on a dark figure.
    vmax
        Upper end of the colours. `None`: the largest score.
    img, img_alpha
        Whether to draw the picture of the tissue, if there is one; its opacity.
    %(table_key)s

    Returns
    -------
    One Axes per section, and that of the genes.

    Raises
    ------
    KeyError
        If there is no deconvolution under the key, it has no such scores, or there are
        no coordinates.
    ValueError
        If the key is that of another method, or `n_genes` is not positive.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata, reference = nng.datasets.spots(10, 60)
    >>> known = reference[reference.obs["cell_type"] != "type_2"].copy()
    >>> nng.tl.deconvolve(adata, known, cell_type_key="cell_type")
    >>> tissue, genes = nng.pl.missing_type(adata, n_genes=5)
    >>> len(genes.get_yticklabels())
    5
    """
    adata = read_table(adata, table_key)
    n_genes = check_positive_int(n_genes, "n_genes")
    found = read_compositions(adata, key)
    table, threshold = found.entry.missing_genes, found.entry.missing_threshold
    if table is None or threshold is None:
        msg = f"adata.uns[{key!r}] has no scores of a missing type."
        raise KeyError(msg)
    table = stored_table(
        table,
        f"adata.uns[{key!r}]['missing_genes']",
        "Call `nonneg.tl.deconvolve`",
        text=["gene"],
        numbers=["gain", "log2_fold_change"],
    )
    score = found.missing(adata)
    if library_key is None:
        library_key = fitted_sections(adata, found.entry)
    sections = read_tissue(adata, spatial_key, library_key)
    table = table.head(n_genes)
    panels, genes = _make_panels(sections, len(table))
    # Scores below 0 have its colour, and all of them may be.
    top = max(float(np.nanmax(score, initial=0)), 0.0)
    colors = intensity_map(cmap, figure_of(genes))
    high = (top or 1.0) if vmax is None else vmax
    check_color_range(0, high)
    shades = ScalarMappable(ColorRange(0, high), colors)
    for panel, section in zip(panels, sections, strict=True):
        frame(panel, section, img=img, img_alpha=img_alpha)
        values, diameter = score[section.rows], section.diameter
        # Scores are of single precision, and the threshold is one of them.
        known, certain = np.isfinite(values), values >= np.float32(threshold)
        # An edge is a disc beneath, as wide as discs are, however many there are.
        draw_spots(panel, section.coords[certain], diameter, facecolors=_EDGE)
        for rows, size in ((known & ~certain, _DISC), (certain, _DISC - _RING)):
            draw_spots(
                panel,
                section.coords[rows],
                size * diameter,
                facecolors=shades.to_rgba(values[rows]),
            )
        draw_spots(panel, section.coords[~known], _DISC * diameter, facecolors=NO_DATA)
        head = f"{section.name}: " if section.name else ""
        panel.set_title(
            f"{head}{certain.sum():,} of {known.sum():,} certain", fontsize="medium"
        )
    bar = figure_of(genes).colorbar(
        shades,
        ax=panels,
        extend="max" if vmax is not None and vmax < top else "neither",
        fraction=0.05,
        pad=0.02,
        aspect=16,
        shrink=0.6,
        ticks=MaxNLocator(4),
    )
    if threshold <= high:
        bar.ax.axhline(threshold, color=_EDGE, lw=2)
    bar.outline.set_visible(False)
    bar.set_label("score of a missing type (s.d.)", fontsize="small")
    bar.ax.tick_params(labelsize="x-small", length=0)
    _draw_genes(genes, table)
    return [*panels, genes]


def _make_panels(sections: Sequence[Tissue], n_genes: int) -> tuple[list[Axes], Axes]:
    box = (3.2, 3.2) if len(sections) == 1 else (2.2, 2.6)
    width, height = map_size(sections, box)
    height = max(height + 0.3, 0.17 * n_genes + 0.7)
    _, axes = new_figure(
        1,
        len(sections) + 1,
        figsize=(width * len(sections) + 3.2, height),
        width_ratios=[width] * len(sections) + [1.5],
        layout="constrained",
        squeeze=False,
    )
    *panels, genes = axes[0].tolist()
    return panels, genes


def _draw_genes(ax: Axes, table: pd.DataFrame) -> None:
    rank = np.arange(len(table))
    gain = table["gain"].to_numpy()
    fold = table["log2_fold_change"].to_numpy()
    ax.hlines(rank, 0, gain, color=NO_DATA, lw=1, zorder=1)
    dots = ax.scatter(
        gain, rank, c=fold, s=24, cmap="viridis", vmin=0, zorder=2, clip_on=False
    )
    ax.set_yticks(rank, table["gene"], fontsize="small", style="italic")
    ax.set(ylim=(len(table) - 0.4, -0.6), xlabel="gain (counts × log2 fold change)")
    ax.set_xlim(left=0)
    ax.set_title("its genes", fontsize="medium")
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize="x-small")
    ax.xaxis.label.set_fontsize("small")
    ax.locator_params(axis="x", nbins=3)
    ax.spines[["top", "right", "left"]].set_visible(False)
    bar = figure_of(ax).colorbar(
        dots,
        ax=ax,
        fraction=0.08,
        pad=0.04,
        aspect=14,
        shrink=0.6,
        ticks=MaxNLocator(4),
    )
    bar.outline.set_visible(False)
    bar.set_label("log2 fold change", fontsize="small")
    bar.ax.tick_params(labelsize="x-small", length=0)
