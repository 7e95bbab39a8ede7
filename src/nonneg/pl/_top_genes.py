"""Leading genes of every factor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize as ColorRange
from matplotlib.ticker import MaxNLocator

from .._adata.tables import read_table
from .._adata.views import read_factors, select_factors
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_positive_int
from ..get import top_genes as get_top_genes
from ._loadings import LABELS
from ._panels import bottom_of_columns, figure_of, fit_titles, new_panels

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from spatialdata import SpatialData

    from .._adata.views import FactorSelection, Normalize

# Inches.
_LINE = 1.15
_LETTER = 0.075


@checked
@shared_docs
def top_genes(
    adata: AnnData | SpatialData,
    key: str = "nmf",
    *,
    n: int = 10,
    factors: FactorSelection | None = None,
    normalize: Normalize | None = None,
    method: Literal["loading", "specificity"] = "loading",
    ncols: int = 4,
    cmap: str | Colormap = "viridis",
    ax: Axes | None = None,
    table_key: str | None = None,
) -> list[Axes]:
    """Show the leading genes of every factor as ranked dots.

    One panel per factor. The length of the line is what genes are ranked by, the
    colour of the dot the other number: with `method="loading"`, loadings are lengths
    and colours tell how specific a gene is for the factor; with
    `method="specificity"`, it is the other way round. :func:`nonneg.get.top_genes`
    gives the numbers.

    Genes that lead many factors are dark in all of them. To name a factor, try
    `method="specificity"`, after rarely seen genes were left out of the fit.

    Parameters
    ----------
    %(key)s
    n
        Number of genes per factor.
    factors
        Factors to show, by name or number; `None`: all.
    normalize, method
        As in :func:`nonneg.get.top_genes`.
    ncols
        Panels per row.
    cmap
        Colour map of the dots.
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
        If `ax` is given for several factors, or arguments are not valid.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.quilt(12, 30)
    >>> axes = nng.pl.top_genes(adata, "truth", n=3, factors=0)
    >>> [label.get_text() for label in axes[0].get_yticklabels()]
    ['gene_5', 'gene_6', 'gene_7']
    """
    adata = read_table(adata, table_key)
    ncols = check_positive_int(ncols, "ncols")
    ranked = get_top_genes(adata, n, key=key, normalize=normalize, method=method)
    names = read_factors(adata, key).names
    chosen = [names[i] for i in select_factors(names, factors)]
    if ax is None:
        longest = max(map(len, ranked["gene"]), default=0)
        panels = new_panels(
            len(chosen), ncols, (_LINE + _LETTER * longest, 0.6 + 0.17 * n)
        )
    elif len(chosen) == 1:
        panels = [ax]
    else:
        msg = (
            f"ax is one Axes, but there are {len(chosen)} factors. Choose one with "
            "`factors`, or leave ax out."
        )
        raise ValueError(msg)
    ranked = ranked[ranked["factor"].isin(chosen)]
    labels = {"loading": LABELS[normalize], "specificity": "specificity"}
    length, color = labels if method == "loading" else reversed(labels)
    whole = ColorRange(0, ranked[color].max())
    colors = ScalarMappable(whole, cmap)
    for panel, factor in zip(panels, chosen, strict=True):
        genes = ranked[ranked["factor"] == factor]
        panel.hlines(genes["rank"], 0, genes[length], color="0.6", lw=0.8, zorder=1)
        panel.scatter(
            genes[length],
            genes["rank"],
            c=genes[color],
            s=22,
            # Seen on white and on black.
            edgecolors="0.6",
            linewidths=0.5,
            cmap=colors.cmap,
            norm=whole,
            zorder=2,
            clip_on=False,
        )
        panel.set_yticks(genes["rank"], genes["gene"], fontsize="small")
        panel.set_ylim(n + 0.6, 0.4)
        panel.set_xlim(left=0)
        panel.set_title(factor, fontsize="medium")
        panel.tick_params(axis="y", length=0)
        panel.tick_params(axis="x", labelsize="x-small")
        panel.xaxis.set_major_locator(MaxNLocator(2, steps=[1, 2, 5, 10]))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.spines[["top", "right", "left"]].set_visible(False)
    for panel in panels if ax is not None else bottom_of_columns(panels):
        panel.set_xlabel(labels[length], fontsize="small")
    bar = figure_of(panels[0]).colorbar(
        colors, ax=panels, fraction=0.02, pad=0.02, aspect=20, shrink=0.6
    )
    bar.outline.set_visible(False)
    bar.set_label(labels[color], fontsize="small")
    bar.ax.tick_params(labelsize="x-small")
    if ax is None:
        fit_titles(panels)
    return panels
