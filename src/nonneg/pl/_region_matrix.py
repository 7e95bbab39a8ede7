"""Patterns and the best sets of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._adata.anatomy import TOGETHER, read_region_correlation
from .._adata.tables import read_table
from .._adata.views import select_factors
from .._core.arguments import checked
from .._core.docs import shared_docs
from ._colors import NO_DATA
from ._panels import figure_of, new_figure
from ._region_correlation import score_name

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from spatialdata import SpatialData

    from .._adata.views import FactorSelection

_CELL = 0.3


@checked
@shared_docs
def region_matrix(
    adata: AnnData | SpatialData,
    key: str = "nmf",
    *,
    factors: FactorSelection | None = None,
    cmap: str | Colormap = "RdBu_r",
    ax: Axes | None = None,
    table_key: str | None = None,
) -> Axes:
    """Show the score of every pattern on the best set of every one.

    Patterns are rows, and the sets of regions that they fit best are columns in the same
    order. A dark diagonal in pale columns: each set has one pattern. Where a column
    has another dark cell, two patterns share these regions, see `exclusivity` in
    :func:`nonneg.get.region_sets`. A star marks sets that random maps do not fit as
    well (adjusted p-value of at most .05).

    Parameters
    ----------
    %(key)s
    factors
        Patterns to show, by name or number; `None`: all.
    cmap
        Colours of scores from -1 to 1.
    ax
        Axes to draw on.
    %(table_key)s

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        If :func:`nonneg.tl.region_correlation` was not called for the key, or there is
        no such pattern.

    See Also
    --------
    nonneg.pl.region_correlation : single regions

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> adata = nng.datasets.quilt(12, 30)
    >>> x, y = adata.obsm["spatial"].T
    >>> adata.obs["region"] = np.where(x < 6, "west", np.where(y < 6, "north", "south"))
    >>> nng.tl.region_correlation(adata, key="truth", null=None)
    >>> ax = nng.pl.region_matrix(adata, "truth")
    >>> [label.get_text() for label in ax.get_yticklabels()][:2]
    ['truth_0', 'truth_1']
    """
    adata = read_table(adata, table_key)
    found = read_region_correlation(adata, key)
    names = [str(name) for name in found.factors]
    chosen = select_factors(names, factors)
    matrix = np.asarray(found.matrix)[np.ix_(chosen, chosen)]
    rows = found.best[chosen]
    adjusted = found.sets["p_adjusted"].to_numpy(float)[rows]
    labels = [_wrap(TOGETHER.join(found.names(row)) or "–") for row in rows]
    if ax is None:
        lines = [line for label in labels for line in label.split("\n")]
        longest = 0.09 * max(map(len, lines))
        wide = 0.09 * max(len(names[k]) for k in chosen)
        n_lines = max(label.count("\n") + 1 for label in labels)
        cell = max(_CELL, 0.06 + 0.14 * n_lines)
        size = 1.1 + wide + cell * len(chosen), 0.3 + longest + cell * len(chosen)
        _, ax = new_figure(figsize=size, layout="constrained")
    picture = ax.imshow(matrix, cmap=cmap, vmin=-1, vmax=1, interpolation="none")
    for i in np.flatnonzero(adjusted <= 0.05).tolist():
        # On dark colours, white is seen.
        color = "white" if abs(matrix[i, i]) > 0.5 else "black"
        ax.text(
            i, i, "*", color=color, ha="center", va="center_baseline", fontsize="medium"
        )
    place = np.arange(len(chosen))
    ax.set_xticks(place, labels, rotation=90, fontsize="small", linespacing=1)
    ax.set_yticks(place, [names[k] for k in chosen], fontsize="small")
    ax.set_xticks(place[:-1] + 0.5, minor=True)
    ax.set_yticks(place[:-1] + 0.5, minor=True)
    ax.grid(which="minor", color=NO_DATA, lw=0.3)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    bar = figure_of(ax).colorbar(
        picture, ax=ax, fraction=0.04, pad=0.02, aspect=14, shrink=0.6, ticks=[-1, 0, 1]
    )
    bar.outline.set_visible(False)
    bar.set_label(score_name(found), fontsize="small")
    bar.ax.tick_params(labelsize="x-small", length=0)
    return ax


def _wrap(label: str) -> str:
    """One region a line where names are long."""
    return label if len(label) <= 24 else label.replace(TOGETHER, " +\n")
