"""Patterns and regions as bubbles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from .._adata.anatomy import read_region_correlation
from .._adata.tables import read_table
from .._adata.views import select_factors
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_positive_int
from ._colors import NO_DATA
from ._panels import figure_of, new_figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from .._adata.anatomy import RegionCorrelation
    from .._adata.views import FactorSelection

# Inches between bubbles, and square points of the largest one.
_STEP = 0.24
_LARGEST = 170


@checked
@shared_docs
def region_correlation(
    adata: AnnData | SpatialData,
    key: str = "nmf",
    *,
    factors: FactorSelection | None = None,
    regions: Sequence[str] | None = None,
    n_regions: int = 3,
    cmap: str | Colormap = "RdBu_r",
    ax: Axes | None = None,
    table_key: str | None = None,
) -> Axes:
    """Show how well patterns fit single regions, as bubbles.

    Area and colour of a bubble are the score of a pattern on a region, blue where it is
    negative. Regions of the best set of each pattern have a ring; they belong together,
    so that each alone may have a lower score than regions that are not in it. Regions
    are in the order of the patterns that fit them.

    Parameters
    ----------
    %(key)s
    factors
        Patterns to show, by name or number; `None`: all.
    regions
        Regions to show. `None`: those of the best sets, and the best ones of every
        pattern.
    n_regions
        Number of best single regions of every pattern, if `regions` are not named.
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
        no such pattern or region.
    ValueError
        If no pattern or region is left.

    See Also
    --------
    nonneg.pl.region_matrix : patterns and the best sets of all
    nonneg.pl.region_sets : maps

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> adata = nng.datasets.quilt(12, 30)
    >>> x, y = adata.obsm["spatial"].T
    >>> adata.obs["region"] = np.where(x < 6, "west", np.where(y < 6, "north", "south"))
    >>> nng.tl.region_correlation(adata, key="truth", null=None)
    >>> ax = nng.pl.region_correlation(adata, "truth")
    >>> len(ax.get_xticks())
    3
    """
    adata = read_table(adata, table_key)
    found = read_region_correlation(adata, key)
    names = [str(name) for name in found.factors]
    chosen = select_factors(names, factors)
    members = [np.asarray(found.members)[found.best[k]] for k in chosen]
    scores = np.asarray(found.scores)[:, chosen]
    columns = _columns(found, scores, members, regions, n_regions)
    shown = scores[columns].T
    labels = found.regions["region"].iloc[columns].astype(str).tolist()
    if ax is None:
        longest = 0.09 * max(map(len, labels))
        high = 0.09 * max(len(names[k]) for k in chosen)
        size = 1.3 + high + _STEP * len(columns), 0.5 + longest + _STEP * len(chosen)
        _, ax = new_figure(figsize=size, layout="constrained")
    y, x = np.indices(shown.shape)
    bubbles = ax.scatter(
        x.ravel(),
        y.ravel(),
        s=_LARGEST * np.abs(shown).ravel(),
        c=shown.ravel(),
        cmap=cmap,
        vmin=-1,
        vmax=1,
        linewidths=0,
    )
    rings = [
        (columns.index(r), row)
        for row, inside in enumerate(members)
        for r in inside[inside >= 0]
        if r in columns
    ]
    if rings:
        ax.scatter(
            [x for x, _ in rings],
            [y for _, y in rings],
            s=1.1 * _LARGEST,
            facecolors="none",
            edgecolors=plt.rcParams["text.color"],
            linewidths=0.8,
            label="best set",
        )
        ax.legend(
            fontsize="x-small",
            frameon=False,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            borderaxespad=0,
            handletextpad=0.2,
            markerscale=0.6,
        )
    ax.set_xticks(np.arange(len(columns)), labels, rotation=90, fontsize="small")
    ax.set_yticks(np.arange(len(chosen)), [names[k] for k in chosen], fontsize="small")
    ax.set(xlim=(-0.7, len(columns) - 0.3), ylim=(len(chosen) - 0.3, -0.7))
    ax.set_aspect("equal")
    ax.tick_params(length=0)
    ax.grid(color=NO_DATA, lw=0.3, alpha=0.5)
    ax.set_axisbelow(True)
    ax.spines[:].set_visible(False)
    bar = figure_of(ax).colorbar(
        bubbles, ax=ax, fraction=0.03, pad=0.01, aspect=10, shrink=0.5, ticks=[-1, 0, 1]
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize="x-small", length=0)
    bar.set_label(score_name(found), fontsize="small")
    return ax


def score_name(found: RegionCorrelation) -> str:
    """What scores are."""
    return "correlation" if found.params["metric"] == "pearson" else "Dice coefficient"


def _columns(
    found: RegionCorrelation,
    scores: NDArray[np.float64],
    members: list[NDArray[np.int32]],
    regions: Sequence[str] | None,
    n_regions: int,
) -> list[int]:
    """Rows of the regions to show."""
    names = found.regions["region"].astype(str).tolist()
    if regions is not None:
        unknown = [name for name in regions if name not in names]
        if unknown:
            msg = f"There are no regions {unknown}; there are {names[:10]} …"
            raise KeyError(msg)
        if not len(regions):
            msg = "regions names no region."
            raise ValueError(msg)
        return [names.index(name) for name in regions]
    n_best = check_positive_int(n_regions, "n_regions")
    kept: dict[int, None] = {}
    for column, inside in zip(scores.T, members, strict=True):
        own = inside[inside >= 0].tolist()
        top = np.argsort(-column, kind="stable")[:n_best].tolist()
        kept |= dict.fromkeys([*own, *top])
    return list(kept)
