"""Convergence of the shared metagenes during an online fit."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from .._adata.integration import read_changes
from .._adata.schema import IntegrationEntry, recorded
from .._adata.tables import read_table
from .._adata.views import read_factors
from .._core.arguments import checked
from .._core.docs import shared_docs

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from spatialdata import SpatialData

# What arrives where all data sets take part in every mini-batch.
_ALL = "all"


@checked
@shared_docs
def shared_change(
    adata: AnnData | SpatialData,
    key: str = "inmf",
    *,
    ax: Axes | None = None,
    table_key: str | None = None,
) -> Axes:
    """Show how much the shared metagenes change with every mini-batch.

    The norm of the change relative to the norm of the metagenes, on a logarithmic
    scale, coloured by the data set that was arriving :cite:p:`Gao2021`. A data set
    that holds what others have not shows as a jump; where the curve ends low, more
    cells of the same kinds would change little.

    Parameters
    ----------
    %(key)s
    ax
        Axes to draw on.
    %(table_key)s

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        If there is no factorization under the key, or changes are not recorded.

    See Also
    --------
    nonneg.pl.objective : how the fit proceeds

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.batches((60, 40), 50, 3)
    >>> adata.uns["truth"] |= {
    ...     "change": [0.5, 0.2, 0.1, 0.2, 0.1],
    ...     "change_batch": ["batch_0"] * 3 + ["batch_1"] * 2,
    ... }
    >>> ax = nng.pl.shared_change(adata, key="truth")
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['batch_0', 'batch_1']
    """
    adata = read_table(adata, table_key)
    entry = read_factors(adata, key).entry
    if not isinstance(entry, IntegrationEntry) or entry.change is None:
        msg = (
            f"adata.uns[{key!r}] records no changes of the shared metagenes: it holds "
            f"{recorded(entry)}. Fit with `nonneg.tl.online_inmf`."
        )
        raise KeyError(msg)
    change, arriving = read_changes(entry, key)
    step = np.arange(1, change.size + 1)
    # What does not change has no place on the scale.
    change = np.where(change > 0, change, np.nan)
    if ax is None:
        _, ax = plt.subplots(figsize=(4.8, 2.4), layout="constrained")
    ax.plot(step, change, color="0.8", lw=0.8, zorder=1)
    names = list(dict.fromkeys(arriving.tolist()))
    colors = mpl.color_sequences["tab10" if len(names) <= 10 else "tab20"]
    for name, color in zip(names, cycle(colors), strict=False):
        here = arriving == name
        ax.plot(
            step[here],
            change[here],
            "o",
            ms=2.5,
            color="0.3" if name == _ALL else color,
            label=name,
            zorder=2,
        )
    # Where another data set begins to arrive.
    for begin in np.flatnonzero(arriving[1:] != arriving[:-1]):
        ax.axvline(begin + 1.5, color="0.85", lw=0.6, zorder=0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_yscale("log")
    # Less than a decade still has a few labels, and no more.
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set(xlabel="mini-batch", ylabel="relative change\nof shared metagenes")
    ax.tick_params(labelsize="small")
    ax.spines[["top", "right"]].set_visible(False)
    if names != [_ALL]:
        ax.legend(
            fontsize="small",
            frameon=False,
            loc="center left",
            bbox_to_anchor=(1, 0.5),
            handletextpad=0.1,
            markerscale=1.6,
            title="data set",
            title_fontsize="small",
            alignment="left",
        )
    return ax
