"""Figures of small panels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def new_panels(
    n_panels: int, ncols: int, panel_size: tuple[float, float], *, n_groups: int = 1
) -> list[Axes]:
    """Draw axes in rows of ``ncols``, each with ``panel_size`` inches to itself.

    Every group of ``n_panels`` starts on a new row.
    """
    ncols = min(ncols, n_panels)
    rows = -(-n_panels // ncols)
    _, axes = plt.subplots(
        n_groups * rows,
        ncols,
        figsize=(panel_size[0] * ncols, panel_size[1] * n_groups * rows),
        layout="constrained",
        squeeze=False,
    )
    panels = []
    for group in axes.reshape(n_groups, -1):
        panels += group[:n_panels].tolist()
        for ax in group[n_panels:]:
            ax.remove()
    return panels


def figure_of(ax: Axes) -> Figure:
    """Find the figure that holds the axes, through subfigures."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    return figure
