"""Time courses in a part of a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

# Seconds on both sides of the middle, where no interval is given.
_AROUND = 30


def draw_time_courses(
    time: NDArray[np.float64],
    courses: Sequence[tuple[str, NDArray[np.floating], str, float]],
    interval: tuple[float, float] | None,
    *,
    title: str,
    ylabel: str,
    ax: Axes | None,
) -> Axes:
    """Lines with a name, values, a colour and a width; `None`: the minute in the middle."""
    if interval is None:
        middle = (time[0] + time[-1]) / 2
        interval = middle - _AROUND, middle + _AROUND
    inside = (time >= interval[0]) & (time <= interval[1])
    if not inside.any():
        msg = (
            f"No frame is in interval={interval!r}; they are from {time[0]:.6g} s to "
            f"{time[-1]:.6g} s."
        )
        raise ValueError(msg)
    if ax is None:
        _, ax = plt.subplots(figsize=(6, 2), layout="constrained")
    for name, values, color, width in courses:
        ax.plot(time[inside], values[inside], color=color, lw=width, label=name)
    ax.legend(
        fontsize="small", frameon=False, ncols=2, loc="lower right",
        bbox_to_anchor=(1, 1), borderaxespad=0,
    )  # fmt: skip
    ax.set_title(title, fontsize="medium", loc="left")
    ax.set(xlabel="time (s)", ylabel=ylabel)
    ax.margins(x=0)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
