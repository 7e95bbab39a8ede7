"""Figures of small panels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt

from .._core.validators import check_positive_int

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# matplotlib draws fewer pixels than this along a side.
_MOST = 2**16


def new_figure(*args: Any, figsize: tuple[float, float], **kwargs: Any) -> Any:
    """As `plt.subplots`, of a size that can be drawn."""
    dpi = float(plt.rcParams["figure.dpi"])
    if max(figsize) * dpi >= _MOST:
        wide, tall = figsize
        msg = (
            f"The figure would be {wide:.0f} x {tall:.0f} inches, and at {dpi:g} pixels "
            f"per inch no side can be above {_MOST / dpi:.0f}. Show a part: fewer "
            "factors, genes or regions, or panels in more rows or columns."
        )
        raise ValueError(msg)
    return plt.subplots(*args, figsize=figsize, **kwargs)


def new_panels(
    n_panels: int, ncols: int, panel_size: tuple[float, float], *, n_groups: int = 1
) -> list[Axes]:
    """Draw axes in rows of ``ncols``, each with ``panel_size`` inches to itself.

    Every group of ``n_panels`` starts on a new row.
    """
    ncols = min(check_positive_int(ncols, "ncols"), n_panels)
    rows = -(-n_panels // ncols)
    _, axes = new_figure(
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


def bottom_of_columns(panels: Sequence[Axes]) -> list[Axes]:
    """Find the lowest panel of every column, where labels are that all share."""
    lowest = {}
    for panel in panels:
        place = panel.get_subplotspec()
        lowest[place.colspan.start if place else None] = panel
    return list(lowest.values())


def figure_of(ax: Axes) -> Figure:
    """Find the figure that holds the axes, through subfigures."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    return figure


def fit_titles(panels: Sequence[Axes]) -> None:
    """Break, and then shrink, titles that reach into the next panel."""
    figure = figure_of(panels[0])
    figure.draw_without_rendering()
    for ax in panels:
        grid = ax.get_subplotspec()
        if grid is None:
            continue
        # Titles are in the middle of the axes, which ticks push off that of their place.
        box = ax.get_window_extent()
        middle = (box.x0 + box.x1) / 2
        room = 0.97 * min(
            figure.bbox.width / grid.get_gridspec().ncols,
            2 * middle,
            2 * (figure.bbox.width - middle),
        )
        title = ax.title
        if title.get_window_extent().width > room:
            title.set_text(_break(title.get_text()))
        width = title.get_window_extent().width
        if width > room:
            title.set_fontsize(max(title.get_fontsize() * room / width, 5))


def _break(text: str) -> str:
    """Two lines of about the same length, where the text has a joint."""
    joints = [i + 1 for i, letter in enumerate(text[:-1]) if letter in " _-|/"]
    if not joints:
        return text
    best = min(joints, key=lambda i: abs(2 * i - len(text)))
    return f"{text[:best].rstrip()}\n{text[best:]}"
