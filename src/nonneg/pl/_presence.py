"""How much there is of each cell type, and where that is certain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import PercentFormatter

from .._adata.compositions import read_compositions, select_types
from .._adata.tables import read_table
from .._core.arguments import checked
from .._core.docs import shared_docs
from ..get import presence as get_presence
from ._colors import NO_DATA, type_colors
from ._panels import new_figure

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from spatialdata import SpatialData

    from .._adata.compositions import TypeSelection
    from ._colors import Palette


@checked
@shared_docs
def presence(
    adata: AnnData | SpatialData,
    key: str = "deconv",
    *,
    cell_types: TypeSelection | None = None,
    palette: Palette | None = None,
    ax: Axes | None = None,
    table_key: str | None = None,
) -> Axes:
    """Show how much there is of every type, and in how many locations it is certain.

    A filled dot is the mean share of a type in the locations where it is called present
    at the false discovery rate of the fit; its bar is the typical (median) standard error of
    *one* such location to either side. A ring is the mean over all locations. At the end,
    the number of locations with the type, and their part of those with counts. Types
    found in most locations are at the top.

    Parameters
    ----------
    %(key)s
    cell_types
        Types to show, by name or number; `None`: all.
    palette
        Colours of the types, as in :func:`nonneg.pl.deconvolution`.
    ax
        Axes to draw on.
    %(table_key)s

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        If there is no deconvolution under the key, it has no standard errors, or there
        is no such type.
    ValueError
        If the key is that of another method.

    See Also
    --------
    nonneg.get.presence : the calls

    Examples
    --------
    >>> import nonneg as nng
    >>> adata, reference = nng.datasets.spots(10, 60)
    >>> nng.tl.deconvolve(adata, reference, cell_type_key="cell_type")
    >>> ax = nng.pl.presence(adata)
    >>> ax.get_xlabel()
    'share of cells'
    """
    adata = read_table(adata, table_key)
    found = read_compositions(adata, key)
    chosen = select_types(found.names, cell_types)
    called = get_presence(adata, key).to_numpy()
    std = found.std(adata)
    colors = type_colors(adata, key, found, palette)
    known = found.known
    count = called.sum(axis=0)
    chosen = sorted(chosen, key=lambda k: -count[k])
    if ax is None:
        longest = 0.075 * max(len(found.names[k]) for k in chosen)
        size = 3.6 + longest, 1.2 + 0.21 * len(chosen)
        _, ax = new_figure(figsize=size, layout="constrained")
    labels = ["all locations"]
    for y, k in enumerate(chosen):
        color, here = colors[found.names[k]], called[:, k]
        everywhere = float(found.shares[known, k].mean()) if known.any() else np.nan
        ax.plot(
            everywhere, y, "o", ms=5, mfc="none", mec=NO_DATA, mew=1.2, zorder=2,
            label=labels.pop() if labels else None,
        )  # fmt: skip
        if here.any():
            mean, error = (
                float(found.shares[here, k].mean()),
                float(np.median(std[here, k])),
            )
            ax.hlines(y, max(mean - error, 0), mean + error, color=color, lw=1.6)
            ax.plot(mean, y, "o", ms=5, color=color, zorder=3)
        part = count[k] / max(int(known.sum()), 1)
        percent = "<1%" if 0 < part < 0.005 else f"{part:.0%}"
        ax.text(
            1.02,
            y,
            f"{count[k]:,} ({percent})",
            transform=ax.get_yaxis_transform(),
            va="center",
            fontsize="small",
        )
    assert found.entry.presence is not None
    fdr = float(found.entry.presence["fdr"])
    ax.text(
        1.02,
        1.0,
        f"present at\nFDR {fdr:g}",
        transform=ax.transAxes,
        va="bottom",
        fontsize="small",
    )
    # The legend's dot has no colour of a type.
    text = plt.rcParams["text.color"]
    ax.plot([], [], "o-", ms=5, lw=1.6, color=text, label="where present ± s.e.")
    ax.legend(
        fontsize="small",
        frameon=False,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0,
        labelspacing=0.2,
        handletextpad=0.4,
        columnspacing=1,
    )
    ax.set_yticks(np.arange(len(chosen)), [found.names[k] for k in chosen])
    ax.set(ylim=(len(chosen) - 0.4, -0.6), xlabel=f"share of {found.unit('cells')}")
    ax.set_xlim(left=0)
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.tick_params(labelsize="small")
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", color=NO_DATA, lw=0.4, alpha=0.5)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    return ax
