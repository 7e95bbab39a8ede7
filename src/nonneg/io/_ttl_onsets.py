"""Pulses on a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._adata.checks import as_numbers
from .._adata.video import TIME
from .._core.arguments import checked
from .._core.text import conjugated, counted
from .._core.validators import check_at_least

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# Of the way between the two levels, on either side of the threshold: what has crossed
# one limit counts as crossed until it crosses the other.
_HYSTERESIS = 0.2


@checked
def ttl_onsets(
    trace: ArrayLike,
    fs: float,
    *,
    threshold: float | None = None,
    min_gap: float = 0.0,
    start: float = 0.0,
) -> pd.DataFrame:
    """Find the pulses of a digital or analog line: frame triggers, stimuli, licks.

    A pulse begins with the first sample above the threshold. Noise around it makes no
    pulses: to begin one, the trace must have been clearly below, and to end one, clearly
    above.

    Parameters
    ----------
    trace
        Samples of the line, one-dimensional: volts, numbers or booleans.
    fs
        Samples per second.
    threshold
        Between the two levels, in the units of the trace. `None`: half way between the
        mean of samples that are high and of those that are low, by Otsu's threshold.
    min_gap
        Pulses that begin within so many seconds of the last one are left out, such as of
        a switch that bounces.
    start
        Time of the first sample, in seconds.

    Returns
    -------
    Data frame with a row for every pulse: `time` of its onset, and `duration`, NaN if it
    does not end; both in seconds. A line that is high at the beginning has no onset
    there.

    Raises
    ------
    ValueError
        If the trace is not one-dimensional, has entries that are infinite or NaN, or
        never changes, or the threshold is outside of it.

    See Also
    --------
    nonneg.io.align_clocks : clocks that recorded the same pulses

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> line = np.zeros(1000)
    >>> line[200:250] = line[600:650] = 5.0
    >>> nng.io.ttl_onsets(line, fs=1000).round(3)
       time  duration
    0   0.2      0.05
    1   0.6      0.05
    """
    check_at_least(fs, 0, "fs")
    check_at_least(min_gap, 0, "min_gap")
    if fs == 0:
        msg = "fs=0 must be above 0."
        raise ValueError(msg)
    x = as_numbers(trace, "trace")
    if x.ndim != 1 or x.size < 2:
        msg = f"trace must be one-dimensional, but its shape is {x.shape}."
        raise ValueError(msg)
    n_bad = int((~np.isfinite(x)).sum())
    if n_bad:
        msg = (
            f"trace has {counted(n_bad, 'sample')} that {conjugated(n_bad, 'is')} infinite or NaN, the first at "
            f"{int((~np.isfinite(x)).argmax())}. Replace them first."
        )
        raise ValueError(msg)
    low, high, middle = _levels(x, threshold)
    width = _HYSTERESIS * (high - low)
    state = np.select([x > middle + width, x < middle - width], [1, -1], 0)
    # Between the limits, the last state holds.
    last = np.maximum.accumulate(np.where(state != 0, np.arange(x.size), -1))
    held = np.where(last >= 0, state[np.maximum(last, 0)], -1 if x[0] < middle else 1)
    change = np.flatnonzero(np.diff(held))
    up = change[held[change + 1] > 0]
    down = change[held[change + 1] < 0]
    rise, fall = _edges(x, up, middle, 1), _edges(x, down, middle, -1)
    ends = np.append(fall.astype(np.float64), np.nan)[np.searchsorted(down, up)]
    time = start + rise / fs
    kept = np.ones(time.size, bool)
    if min_gap > 0:
        before = -np.inf
        for i, t in enumerate(time.tolist()):
            kept[i] = t - before >= min_gap
            before = t if kept[i] else before
    return pd.DataFrame({TIME: time, "duration": (ends - rise) / fs})[kept].reset_index(
        drop=True
    )


def _levels(
    x: NDArray[np.float64], threshold: float | None
) -> tuple[float, float, float]:
    from skimage.filters import threshold_otsu

    if not np.ptp(x):
        msg = f"trace never changes: all samples are {x[0]:g}."
        raise ValueError(msg)
    if threshold is None:
        # In parts of the range, whose steps can be too small to be told apart.
        part = (x - x.min()) / np.ptp(x)
        split = x.min() + np.ptp(x) * threshold_otsu(part)
    else:
        split = threshold
    if not x.min() <= split < x.max():
        msg = f"threshold={threshold!r} is not between {x.min():g} and {x.max():g}."
        raise ValueError(msg)
    above = x > split
    low, high = float(x[~above].mean()), float(x[above].mean())
    return low, high, (low + high) / 2 if threshold is None else float(split)


def _edges(
    x: NDArray[np.float64], change: NDArray[np.intp], level: float, sign: int
) -> NDArray[np.intp]:
    """First sample beyond the level of each change."""
    before = np.where(sign * (x - level) <= 0, np.arange(x.size), -1)
    return np.maximum.accumulate(before)[change] + 1
