"""Heat maps of shared and specific metagenes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize as ColorRange

from .._adata.tables import read_table
from .._adata.views import select_factors
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_positive_int
from ..get._dataset_specificity import read_metagenes
from ._panels import figure_of, new_panels

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from .._adata.views import FactorSelection

# Inches.
_CELL = 0.15
_LETTER = 0.085
_MARGIN = 0.55
# Between the shared part and the specific ones, in cells.
_GAP = 0.4
# Quantile of the specific genes' weights at which colours end.
_EXTREME = 0.95


@checked
@shared_docs
def metagenes(
    adata: AnnData | SpatialData,
    key: str = "inmf",
    *,
    factors: FactorSelection | None = None,
    n_genes: int = 5,
    ncols: int = 4,
    cmap: str | Colormap = "magma_r",
    cmap_specific: str | Colormap = "Blues",
    ax: Axes | None = None,
    table_key: str | None = None,
) -> list[Axes]:
    """Show what data sets share of every factor beside what each has of its own.

    One panel per factor. Above the line are the genes that lead the shared metagene,
    below it others that lead the metagene of some data set; the first column is the
    shared metagene, the others are those of the data sets. Weights are relative to
    the factor's largest weight in any data set, shared and specific ones together.
    Specific weights are often small: they have a colour scale of their own.

    Parameters
    ----------
    %(key)s
    factors
        Factors to show, by name or number; `None`: all.
    n_genes
        Maximum number of genes above the line, and below it.
    ncols
        Panels per row.
    cmap
        Colour map of shared weights.
    cmap_specific
        Colour map of specific weights.
    ax
        Axes to draw on, for a single factor.
    %(table_key)s

    Returns
    -------
    One Axes per factor.

    Raises
    ------
    KeyError
        If the factorization or a factor does not exist.
    ValueError
        If the factorization knows no data sets, or `ax` is given for several factors.

    See Also
    --------
    nonneg.tl.factor_markers : tests what is shared and what is specific
    nonneg.get.dataset_specificity : one number per factor

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.batches((60, 40), 50, 3)
    >>> axes = nng.pl.metagenes(adata, key="truth", n_genes=2)
    >>> [label.get_text() for label in axes[-1].get_xticklabels()]
    ['shared', 'batch_0', 'batch_1']
    """
    adata = read_table(adata, table_key)
    n_genes = check_positive_int(n_genes, "n_genes")
    ncols = check_positive_int(ncols, "ncols")
    stored = read_metagenes(adata, key)
    names = stored.factors.names
    chosen = select_factors(names, factors)
    if ax is not None and len(chosen) > 1:
        msg = (
            f"ax is one Axes, but there are {len(chosen)} factors. Choose one with "
            "`factors`, or leave ax out."
        )
        raise ValueError(msg)
    if not adata.n_vars:
        msg = "adata has no variables: there is nothing to draw."
        raise ValueError(msg)
    largest = np.nanmax(stored.total, axis=(0, 1))
    largest = np.where(largest > 0, largest, 1)
    shared = np.nan_to_num(stored.shared / largest)
    specific = np.nan_to_num(stored.specific / largest)
    leading = [_leading(shared[:, k], specific[:, :, k], n_genes) for k in chosen]
    genes = adata.var_names.to_numpy().astype(str)
    if ax is None:
        longest = max(
            [len(genes[j]) for both in leading for part in both for j in part],
            default=0,
        )
        width = _CELL * (1 + len(stored.batches)) + _LETTER * longest + _MARGIN
        panels = new_panels(len(chosen), ncols, (width, 0.45 + 2 * n_genes * _CELL))
    else:
        panels = [ax]
    own = [
        specific[below].max(axis=1)[:, k]
        for k, (_, below) in zip(chosen, leading, strict=True)
    ]
    # A few extreme genes do not hide the rest.
    most = np.quantile(np.concatenate([*own, [0]]), _EXTREME) or 1.0
    styles = (
        (cmap, ColorRange(0, 1), "shared weight"),
        (cmap_specific, ColorRange(0, most), "specific weight"),
    )
    n_columns = min(ncols, len(panels))
    for i, (panel, k, rows) in enumerate(zip(panels, chosen, leading, strict=True)):
        order = np.concatenate(rows)
        _draw(panel, shared[order, k], specific[order][:, :, k], len(rows[0]), styles)
        panel.set_yticks(np.arange(order.size) + 0.5, genes[order], fontsize="x-small")
        # Panels are as high as the largest, so that all cells are.
        panel.set_ylim(2 * n_genes, 0)
        columns = np.concatenate([[0], 1 + _GAP + np.arange(len(stored.batches))])
        below = i + n_columns < len(panels)
        panel.set_xticks(
            columns + 0.5,
            [""] * len(columns) if below else ["shared", *stored.batches],
            rotation=90,
            fontsize="x-small",
        )
        panel.set_title(names[k], fontsize="small")
    # The first takes the place at the edge.
    for (colors, norm, label), extend in zip(
        reversed(styles), ("max", "neither"), strict=True
    ):
        bar = figure_of(panels[0]).colorbar(
            ScalarMappable(norm, colors),
            ax=panels,
            fraction=0.03,
            pad=0.02,
            aspect=20,
            shrink=0.6,
            extend=extend,
        )
        bar.outline.set_visible(False)
        bar.set_label(label, fontsize="small")
        bar.ax.tick_params(labelsize="x-small")
    return panels


def _leading(
    shared: NDArray[np.floating], specific: NDArray[np.floating], n_genes: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Genes that lead the shared metagene, and others that lead those of data sets."""
    first = np.argsort(-shared, kind="stable")
    first = first[shared[first] > 0][:n_genes]
    most = specific.max(axis=1)
    most[first] = 0
    second = np.argsort(-most, kind="stable")
    second = second[most[second] > 0][:n_genes]
    # Data set by data set.
    home = specific[second].argmax(axis=1)
    return first, second[np.lexsort((-most[second], home))]


def _draw(
    panel: Axes,
    shared: NDArray[np.floating],
    specific: NDArray[np.floating],
    n_above: int,
    styles: tuple[tuple[str | Colormap, ColorRange, str], ...],
) -> None:
    rows = np.arange(len(shared) + 1)
    parts = (
        (np.array([0, 1]), shared[:, None]),
        (1 + _GAP + np.arange(specific.shape[1] + 1), specific),
    )
    for (edges, values), (cmap, norm, _) in zip(parts, styles, strict=True):
        panel.pcolormesh(edges, rows, values, cmap=cmap, norm=norm, ec="0.9", lw=0.3)
    panel.hlines(
        n_above, 0, parts[1][0][-1], color=panel.yaxis.label.get_color(), lw=0.8
    )
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
