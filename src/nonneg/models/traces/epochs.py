"""Traces around events."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of the time between frames: how far a frame may be from where it is looked for, before
# it counts as dropped.
_TOLERANCE = 0.75
# Of the time between frames: how far before a frame an event may be and still belong to
# it. Times are rounded, in tables often to milliseconds.
ROUNDING = 0.01


class Windows(NamedTuple):
    """Frames around events."""

    frame: NDArray[np.intp]
    """(n_events, n_times): -1 where a frame was dropped."""
    offset: NDArray[np.float64]
    """(n_times,): seconds from the event."""
    inside: NDArray[np.bool_]
    """(n_events,): whether the whole window is within the recording."""


def frames_before(
    time: NDArray[np.float64], events: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Last frame at or before each event, so that nothing after it is seen."""
    late = ROUNDING * float(np.median(np.diff(time)))
    return np.searchsorted(time, events + late, side="right") - 1


def windows(
    time: NDArray[np.float64], events: NDArray[np.float64], span: tuple[float, float]
) -> Windows:
    """Frames of a window around each event, counted from the last one before it."""
    step = float(np.median(np.diff(time)))
    # Rounded inwards, but 0.67 s are 20 frames at 30 Hz, as 0.33 s are 10.
    first, last = np.rint(span[0] / step), np.rint(span[1] / step)
    offset = np.arange(int(first), int(last) + 1).astype(np.float64) * step
    at = time[np.maximum(frames_before(time, events), 0)]
    wanted: NDArray[np.float64] = at[:, None] + offset
    frame = nearest(time, wanted)
    near = np.abs(time[frame] - wanted) < _TOLERANCE * step
    inside = (wanted[:, 0] > time[0] - step / 2) & (wanted[:, -1] < time[-1] + step / 2)
    return Windows(np.where(near, frame, -1), offset, inside)


def nearest(time: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.intp]:
    """Position of the nearest time."""
    after = np.clip(np.searchsorted(time, wanted), 1, time.size - 1)
    return after - (wanted - time[after - 1] < time[after] - wanted)


def epochs(x: NDArray[np.float64], frame: NDArray[np.intp]) -> NDArray[np.float64]:
    """(n_events, n_times, K) traces, NaN where frames were dropped."""
    out = x[frame]
    out[frame < 0] = np.nan
    return out
