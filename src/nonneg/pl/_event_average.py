"""Averages around events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from .._adata.labels import as_text
from .._adata.tables import read_table
from .._adata.traces import of_result, read_result
from .._adata.views import select_factors
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_one_of
from ._colors import NO_DATA
from ._panels import new_panels

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from spatialdata import SpatialData

    from .._adata.views import FactorSelection


@of_result("event_average")
@checked
@shared_docs
def event_average(
    adata: AnnData | SpatialData,
    key: str = "locanmf",
    *,
    components: FactorSelection | None = None,
    center: Literal["mean", "median"] = "mean",
    ncols: int = 4,
    table_key: str | None = None,
) -> list[Axes]:
    """Show averages around events, a panel for each component.

    Parameters
    ----------
    %(key)s
    components
        Components to show, by name or number; `None`: the first of each region, or the
        first twelve.
    center
        `"mean"`, with a band of one standard error; `"median"`, with its interval.
    ncols
        Panels in a row.
    %(table_key)s

    Returns
    -------
    Axes of the components.

    Raises
    ------
    KeyError
        If :func:`nonneg.tl.event_average` was not called for the key, or there is no
        such component.

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> import pandas as pd
    >>> adata = nng.datasets.quilt(12, 100)
    >>> adata.var["time"] = np.arange(100) / 10
    >>> events = pd.DataFrame(
    ...     {"time": [2.0, 4.0, 6.0], "side": ["left", "right", "left"]}
    ... )
    >>> nng.tl.event_average(adata, events, key="truth", by="side", window=(-1, 1))
    >>> len(nng.pl.event_average(adata, "truth"))
    4
    """
    adata = read_table(adata, table_key)
    check_one_of(center, ("mean", "median"), "center")
    found = read_result(adata, key, "event_average", {"mean", "conditions"})
    names = [str(name) for name in np.ravel(found["components"])]
    stored = adata.uns[key].get("region")
    regions = None if stored is None else as_text(stored)
    if components is None and regions is not None:
        chosen = np.sort(np.unique(regions, return_index=True)[1]).tolist()
    elif components is None:
        chosen = list(range(min(12, len(names))))
    else:
        chosen = select_factors(names, components)
    offset = np.asarray(found["offset"], np.float64)
    middle = np.asarray(found[center], np.float64)
    if center == "mean":
        sem = np.asarray(found["sem"], np.float64)
        low, high = middle - sem, middle + sem
        band = "± standard error"
    else:
        low, high = (np.asarray(found[name], np.float64) for name in ("low", "high"))
        band = f"{found['params']['confidence']:.0%} interval"
    conditions = [str(name) for name in np.ravel(found["conditions"])]
    counts = np.ravel(found["n_events"])
    panels = new_panels(len(chosen), ncols, (2.2, 1.8))
    for ax, k in zip(panels, chosen, strict=True):
        for c, (name, n) in enumerate(zip(conditions, counts, strict=True)):
            label = f"{name} ({n})" if len(conditions) > 1 else f"{n} events"
            ax.plot(offset, middle[c, :, k], color=f"C{c}", lw=1.2, label=label)
            ax.fill_between(
                offset, low[c, :, k], high[c, :, k], color=f"C{c}", alpha=0.25, lw=0
            )
        ax.axvline(0, color=NO_DATA, lw=0.8, zorder=0)
        title = names[k] if regions is None else f"{regions[k]} ({names[k]})"
        ax.set_title(title, fontsize="small")
        ax.tick_params(labelsize="x-small")
        ax.margins(x=0)
        ax.spines[["top", "right"]].set_visible(False)
        grid = ax.get_subplotspec()
        if grid is None or grid.is_first_col():
            ax.set_ylabel(f"{center}, {band}", fontsize="x-small")
        if k in chosen[-ncols:]:
            ax.set_xlabel("time from event (s)", fontsize="x-small")
    panels[0].legend(fontsize="x-small", frameon=False, handlelength=1)
    return panels
