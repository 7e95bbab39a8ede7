"""Time courses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._adata.footprints import read_components
from .._adata.labels import as_text
from .._adata.tables import read_table
from .._adata.traces import read_time
from .._adata.video import TIME
from .._core.arguments import checked
from .._core.docs import shared_docs
from ._footprints import choose_components, region_colors
from ._panels import new_figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from spatialdata import SpatialData

    from .._adata.views import FactorSelection

# Between the middles of traces, in units of their range over most of the time.
_STEP = 1.1
_INCHES = 0.22


@checked
@shared_docs
def traces(
    adata: AnnData | SpatialData,
    key: str = "locanmf",
    *,
    components: FactorSelection | None = None,
    regions: Sequence[str] | None = None,
    window: tuple[float, float] | None = None,
    ax: Axes | None = None,
    table_key: str | None = None,
) -> Axes:
    """Show time courses below each other, coloured by region.

    All have the same scale, which the bar at the right shows in units of the movie.

    Parameters
    ----------
    %(key)s
    components
        Components to show, by name or number; `None`: all.
    regions
        Regions whose components are shown; `None`: all.
    window
        First and last time to show, in seconds. `None`: all.
    ax
        Axes to draw on.
    %(table_key)s

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        If there is no such factorization, component or region.
    ValueError
        If components have no regions, there is none to show, or no frame is in the
        window.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.widefield(
    ...     form="svd", shape=(40, 48), n_regions=2, n_frames=50
    ... )
    >>> ax = nng.pl.traces(adata, "truth", window=(0, 2))
    >>> len(ax.get_yticks())
    6
    """
    adata = read_table(adata, table_key)
    found, entry = read_components(adata, key)
    of_components = as_text(entry.region)
    chosen = choose_components(found.names, of_components, components, regions)
    in_seconds = TIME in adata.var
    time = read_time(adata) if in_seconds else np.arange(adata.n_vars)
    if not time.size:
        msg = "There is no frame to show: adata has no variables."
        raise ValueError(msg)
    low, high = window if window is not None else (time.min(), time.max())
    shown = (time >= low) & (time <= high)
    if not shown.any():
        msg = f"window={window} has no frame; they reach from {time[0]:g} to {time[-1]:g}."
        raise ValueError(msg)
    values = found.loadings[shown][:, chosen]
    values = values - values.mean(axis=0)
    step = _STEP * max(float(np.max(np.quantile(np.abs(values), 0.995, axis=0))), 1e-30)
    colors = region_colors(of_components)
    if ax is None:
        size = (6, 0.9 + _INCHES * len(chosen))
        _, ax = new_figure(figsize=size, layout="constrained")
    for i, k in enumerate(chosen):
        ax.plot(
            time[shown], values[:, i] - i * step, color=colors[of_components[k]], lw=0.7
        )
    labels = [of_components[k] for k in chosen]
    # A region is named once.
    labels = [
        name if i == 0 or labels[i - 1] != name else "" for i, name in enumerate(labels)
    ]
    ax.set_yticks(-step * np.arange(len(chosen)), labels, fontsize="small")
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("time (s)" if in_seconds else "frame")
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.margins(x=0.01, y=0.02)
    power = 10.0 ** np.floor(np.log10(step))
    length = max(x for x in (1, 2, 5) if x * power <= step) * power
    edge = 1.015
    ax.plot(
        [edge, edge], [-length, 0],
        transform=ax.get_yaxis_transform(), color="0.3", lw=1.5, clip_on=False,
    )  # fmt: skip
    ax.text(
        edge + 0.01, -length / 2, f"{length:g}",
        transform=ax.get_yaxis_transform(), va="center", fontsize="x-small",
    )  # fmt: skip
    return ax
