"""Ranges and bars of colours of maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.ticker import MaxNLocator

from ._colors import check_color_range, intensity_map
from ._panels import figure_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from numpy.typing import NDArray


def color_ranges(
    scores: NDArray[np.floating[Any]],
    chosen: Sequence[int],
    genes: Sequence[int],
    vmin: float | None,
    vmax: float | str,
    *,
    share_scale: bool,
) -> dict[int, tuple[float, float]]:
    """Colour range of every factor and gene."""
    ranges = {i: _color_range(scores[:, i], vmin, vmax) for i in chosen}
    if share_scale:
        low = min(low for low, _ in ranges.values())
        high = max(high for _, high in ranges.values())
        ranges = dict.fromkeys(chosen, (low, high))
    # Numbers that are given are those of scores.
    of_genes = vmax if isinstance(vmax, str) else "p99.5"
    return ranges | {i: _color_range(scores[:, i], None, of_genes) for i in genes}


def _color_range(
    scores: NDArray[np.floating[Any]], vmin: float | None, vmax: float | str
) -> tuple[float, float]:
    signed = np.nanmin(scores) < 0
    if isinstance(vmax, str):
        sizes = np.abs(scores)
        # Of a factor that is present in very few places the percentile is zero, and of
        # one that is nowhere the largest score is.
        vmax = _percentile(sizes, vmax) or float(np.nanmax(sizes)) or 1.0
    if vmin is None:
        vmin = -vmax if signed else 0.0
    return vmin, vmax


def _percentile(values: NDArray[np.floating[Any]], given: str) -> float:
    try:
        return float(np.nanpercentile(values, float(given.removeprefix("p"))))
    except ValueError:
        msg = f"vmax={given!r} must be a number, or a percentile such as 'p99'."
        raise ValueError(msg) from None


def check_range(name: str, low: float, high: float, scale: str, *, given: bool) -> None:
    """Raise unless colours go up, and where they are of square roots, from zero."""
    check_color_range(low, high, f" of {name!r}")
    if scale == "sqrt" and low < 0:
        what = f"vmin={low:g}" if given else f"{name!r} has negative ones"
        msg = f"scale='sqrt' needs values of at least 0, but {what}."
        raise ValueError(msg)


def limits(low: float, high: float, scale: str) -> dict[str, Any]:
    """Colour range, as arguments."""
    if scale == "sqrt":
        return {"norm": PowerNorm(0.5, vmin=low, vmax=high)}
    return {"vmin": low, "vmax": high}


def color_map(given: str | Colormap | None, low: float, panel: Axes) -> Colormap:
    # A copy: squidpy sets the colour of missing values on it.
    if low < 0:
        return plt.get_cmap(given or "RdBu_r").copy()
    return intensity_map(given, figure_of(panel)).copy()


def add_colorbars(
    panels: Sequence[Axes],
    factors: Sequence[int],
    ranges: Mapping[int, tuple[float, float]],
    scores: NDArray[np.floating[Any]],
    genes: Sequence[int],
) -> None:
    """Draw a bar for all factors if they have one range, and one for each if not.

    Genes have their own. They part the factors, and no bar reaches across them.
    """
    one_range = len({ranges[i] for i in factors if i not in genes}) == 1
    are_genes = [i in genes for i in factors]
    # Panels without a change of kind between them.
    part = np.cumsum(np.diff(are_genes, prepend=are_genes[0]))
    shared: dict[tuple[int, int | None], list[int]] = {}
    for place, i in enumerate(factors):
        common = one_range and not are_genes[place]
        bar_of = int(part[place]), None if common else i
        shared.setdefault(bar_of, []).append(place)
    for places in shared.values():
        first = factors[places[0]]
        low, high = ranges[first]
        drawn = scores[:, [factors[place] for place in places]]
        outside = 2 * (np.nanmin(drawn) < low) + (np.nanmax(drawn) > high)
        with_bar = [panels[place] for place in places]
        single = len(places) == 1
        bar = figure_of(panels[0]).colorbar(
            with_bar[0].collections[-1],
            ax=with_bar[0] if single else with_bar,
            extend=("neither", "max", "min", "both")[outside],
            fraction=0.08 if single else 0.03,
            pad=0.02,
            aspect=12,
            shrink=0.6,
            ticks=MaxNLocator(3, min_n_ticks=2),
        )
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize="x-small", length=0, pad=2)
        name = "expression" if first in genes else "score"
        bar.set_label(name, fontsize="x-small", labelpad=2)
