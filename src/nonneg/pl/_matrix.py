"""Tables of correlations as coloured squares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from ._colors import NO_DATA
from ._panels import figure_of, new_figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from numpy.typing import NDArray

# Inches of a cell of the matrix, and of a letter.
_CELL, _LETTER = 0.21, 0.075


def draw_correlations(
    matrix: NDArray[np.float64],
    rows: Sequence[str],
    columns: Sequence[str],
    label: str,
    *,
    cmap: str | Colormap,
    ax: Axes | None,
) -> Axes:
    """Squares from -1 to 1, grey where nothing is known, and what they are."""
    if ax is None:
        beside, beneath = (_LETTER * max(map(len, names)) for names in (rows, columns))
        size = (
            max(_CELL * len(columns), 1.2) + beside + 0.9,
            max(_CELL * len(rows), 1.2) + beneath + 0.2,
        )
        _, ax = new_figure(figsize=size, layout="constrained")
    colors = plt.get_cmap(cmap).with_extremes(bad=NO_DATA)
    picture = ax.imshow(matrix, cmap=colors, vmin=-1, vmax=1, interpolation="none")
    ax.set_xticks(np.arange(len(columns)), columns, rotation=90, fontsize="small")
    ax.set_yticks(np.arange(len(rows)), rows, fontsize="small")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    bar = figure_of(ax).colorbar(
        picture, ax=ax, fraction=0.04, pad=0.02, aspect=14, shrink=0.6, ticks=[-1, 0, 1]
    )
    bar.outline.set_visible(False)
    bar.set_label(label, fontsize="small")
    bar.ax.tick_params(labelsize="x-small", length=0)
    return ax
