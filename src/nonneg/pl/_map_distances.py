"""Distances of maps, within animals and between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from .._core.arguments import checked

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..tl import MapDistances


@checked
def map_distances(distances: MapDistances, *, ax: Axes | None = None) -> Axes:
    """Show distances of maps within animals and between them, as violins.

    Every point is a pair of sessions; lines are medians. The p-value is that of permuted
    animals.

    Parameters
    ----------
    distances
        What :func:`nonneg.tl.map_distances` returns.
    ax
        Axes to draw on.

    Returns
    -------
    The Axes.

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> sessions = {}
    >>> for seed in range(4):
    ...     adata = nng.datasets.quilt(12, 400, rng=seed)
    ...     adata.var["time"] = np.arange(400) / 10
    ...     adata.uns["truth"]["region"] = np.array(["VISp", "VISp", "MOs", "RSP"])
    ...     nng.tl.region_cca(adata, key="truth", n_shifts=0)
    ...     sessions[f"session {seed}"] = adata
    >>> found = nng.tl.map_distances(
    ...     sessions, key="truth", subjects=["A", "A", "B", "B"]
    ... )
    >>> ax = nng.pl.map_distances(found)
    """
    table = distances.table
    same = table["same_subject"].to_numpy(bool)
    values = table["distance"].to_numpy(np.float64)
    groups = {"within animals": values[same], "between animals": values[~same]}
    if ax is None:
        _, ax = plt.subplots(figsize=(3, 3), layout="constrained")
    rng = np.random.default_rng(0)
    for place, (color, some) in enumerate(
        zip(("C0", "C1"), groups.values(), strict=True)
    ):
        if some.size > 2 and np.ptp(some) > 0:
            parts = ax.violinplot(some, [place], widths=0.8, showextrema=False)
            for body in parts["bodies"]:  # type: ignore[attr-defined]
                body.set(facecolor=color, alpha=0.3, linewidth=0)
        ax.scatter(
            place + rng.uniform(-0.12, 0.12, some.size), some, s=6, color=color, lw=0
        )
        ax.hlines(np.median(some), place - 0.25, place + 0.25, color=color, lw=2)
    labels = [f"{name}\n{some.size} pairs" for name, some in groups.items()]
    ax.set_xticks([0, 1], labels, fontsize="small")
    ax.set(ylabel="mean squared difference of maps", xlim=(-0.6, 1.6))
    ax.set_ylim(bottom=0)
    ax.set_title(
        f"permutation of animals: p = {distances.p_value:.3g}", fontsize="small"
    )
    ax.spines[["top", "right"]].set_visible(False)
    return ax
