"""Heat map of loadings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from .._adata.checks import check_some
from .._adata.tables import read_table
from .._adata.views import select_factors
from .._core.arguments import checked
from .._core.docs import shared_docs
from ..get import loadings_df, top_genes
from ._colors import intensity_map
from ._panels import figure_of, new_figure

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from spatialdata import SpatialData

    from .._adata.views import FactorSelection, Normalize

# Of normalised loadings.
LABELS: dict[str | None, str] = {
    None: "loading",
    "spde": "share of the gene",
    "lda": "share of the factor",
    "sum": "share of the factor",
    "l2": "loading (2-norm 1)",
    "max": "loading (maximum 1)",
}
# Inches. Columns are wider than high while they are few.
_CELL, _WIDE_CELL, _FEW = 0.17, 0.3, 10


@checked
@shared_docs
def loadings(
    adata: AnnData | SpatialData,
    key: str = "nmf",
    *,
    n_top: int = 5,
    method: Literal["loading", "specificity"] = "loading",
    factors: FactorSelection | None = None,
    normalize: Normalize | None = "max",
    cmap: str | Colormap | None = None,
    ax: Axes | None = None,
    table_key: str | None = None,
) -> Axes:
    """Show the leading genes of all factors in one heat map.

    Genes are rows, each listed once, under the factor where its loading is largest;
    what lies off the blocks on the diagonal is shared between factors. With many
    factors, abundant genes lead most of them: `method="specificity"` then gives every
    factor rows of its own.

    Parameters
    ----------
    %(key)s
    n_top
        Leading genes per factor.
    method
        What leads: the largest loadings, or the largest shares of a gene's loadings.
        See :func:`nonneg.get.top_genes`.
    factors
        Factors to show, by name or number; `None`: all.
    normalize
        As in :func:`nonneg.get.loadings_df`. `"max"` makes factors comparable;
        `"spde"` shows how every gene is divided among factors.
    cmap
        Colour map. `None`: `magma_r` (`magma` on a dark figure), or `RdBu_r` around
        zero where loadings are negative.
    ax
        Axes to draw on.
    %(table_key)s

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        If the factorization or a factor does not exist.
    ValueError
        If `n_top`, `method` or `normalize` is not valid.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.quilt(12, 30)
    >>> ax = nng.pl.loadings(adata, "truth", n_top=3)
    >>> [label.get_text() for label in ax.get_xticklabels()]
    ['truth_0', 'truth_1', 'truth_2', 'truth_3']
    """
    adata = read_table(adata, table_key)
    check_some(adata, "variables")
    table = loadings_df(adata, key, normalize=normalize)
    names = list(table.columns)
    chosen = [names[i] for i in select_factors(names, factors)]
    ranked = top_genes(adata, n_top, key=key, normalize=normalize, method=method)
    ranked = ranked[ranked["factor"].isin(chosen)]
    table = table.loc[~table.isna().any(axis=1), chosen]
    table = table[table.index.isin(ranked["gene"])]
    values = table.to_numpy()
    home = values.argmax(axis=1)
    order = np.lexsort((-values.max(axis=1), home))
    table, values = table.iloc[order], values[order]

    if ax is None:
        height, width = values.shape
        cell = _CELL if width > _FEW else _WIDE_CELL
        _, ax = new_figure(
            figsize=(1.8 + cell * width, 0.9 + _CELL * height), layout="constrained"
        )
    limit = float(np.abs(values).max())
    signed = values.min() < 0
    image = ax.pcolormesh(
        values,
        cmap=cmap or "RdBu_r" if signed else intensity_map(cmap, figure_of(ax)),
        vmin=-limit if signed else 0,
        vmax=limit,
        edgecolor=ax.get_facecolor(),
        lw=0.4,
    )
    ax.set_xticks(np.arange(len(chosen)) + 0.5, chosen, rotation=90, fontsize="small")
    ax.set_yticks(np.arange(len(table)) + 0.5, table.index, fontsize="small")
    ax.tick_params(length=0)
    ax.invert_yaxis()
    ax.spines[:].set_visible(False)
    bar = figure_of(ax).colorbar(
        image, ax=ax, fraction=0.05, pad=0.03, aspect=15, shrink=0.5
    )
    bar.outline.set_visible(False)
    bar.set_label(LABELS[normalize], fontsize="small")
    bar.ax.tick_params(labelsize="x-small")
    return ax
