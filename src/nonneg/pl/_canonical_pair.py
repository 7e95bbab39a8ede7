"""What two regions have in common, over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from .._adata.tables import of_table
from .._adata.traces import read_regions, read_time, read_traces
from .._core.arguments import checked
from .._core.docs import shared_docs
from ..models.traces.cca import canonical_pair as fit_pair

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes


@of_table
@checked
@shared_docs
def canonical_pair(
    adata: AnnData,
    region: str,
    other: str,
    *,
    key: str = "locanmf",
    n_components: int | None = None,
    interval: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Show the two sums of components that two regions have most in common.

    Parameters
    ----------
    adata
        Annotated data with time courses of components in regions.
    region, other
        The two regions.
    key
        Key of the components.
    n_components
        Number of components of each to take, those of the most energy. `None`: all.
    interval
        Seconds to show, first and last. `None`: the minute in the middle. Weights are
        those of the whole recording.
    ax
        Axes to draw on.

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        If there are no such components or regions.
    ValueError
        If no frame is in the interval.

    See Also
    --------
    nonneg.tl.region_cca : all pairs, and whether it means anything

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> adata = nng.datasets.quilt(12, 400)
    >>> adata.var["time"] = np.arange(400) / 10
    >>> adata.uns["truth"]["region"] = np.array(["VISp", "VISp", "MOs", "RSP"])
    >>> nng.pl.canonical_pair(adata, "VISp", "MOs", key="truth").get_xlabel()
    'time (s)'
    """
    traces = read_traces(adata, key)
    chosen = read_regions(traces, key, [region, other], at_least=2)
    time = read_time(adata)
    one, two = (traces.signals[:, chosen.columns(i)[:n_components]] for i in range(2))
    r, left, right = fit_pair(one, two)
    if interval is None:
        middle = (time[0] + time[-1]) / 2
        interval = middle - 30, middle + 30
    inside = (time >= interval[0]) & (time <= interval[1])
    if not inside.any():
        msg = (
            f"No frame is in interval={interval!r}; they are from {time[0]:.6g} s to "
            f"{time[-1]:.6g} s."
        )
        raise ValueError(msg)
    # Signs of the pair are arbitrary: most of the larger deflections go up.
    sign = np.sign((left**3).mean()) or 1.0
    if ax is None:
        _, ax = plt.subplots(figsize=(6, 2), layout="constrained")
    for name, trace, color in ((region, left, "C0"), (other, right, "C1")):
        ax.plot(time[inside], sign * trace[inside], color=color, lw=1, label=name)
    ax.legend(
        fontsize="small", frameon=False, ncols=2, loc="lower right",
        bbox_to_anchor=(1, 1), borderaxespad=0,
    )  # fmt: skip
    ax.set(xlabel="time (s)", ylabel="canonical variate (sd)")
    ax.set_title(f"r = {r:.2f}, in-sample", fontsize="medium", loc="left")
    ax.margins(x=0)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
