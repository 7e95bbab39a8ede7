"""Samples at other times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def frame_means(
    times: NDArray[np.float64],
    values: NDArray[np.float64],
    frames: NDArray[np.float64],
    step: float,
) -> NDArray[np.float64]:
    """(n_frames, n_columns) means of the samples within half a step of each frame.

    NaN where there are none; samples that are NaN do not count.
    """
    first = np.searchsorted(times, frames - step / 2)
    last = np.searchsorted(times, frames + step / 2)
    known = np.isfinite(values)
    zero = np.zeros((1, values.shape[1]))
    total = np.concatenate([zero, np.cumsum(np.where(known, values, 0), axis=0)])
    count = np.concatenate([zero, np.cumsum(known, axis=0)])
    n = count[last] - count[first]
    out = np.full(n.shape, np.nan)
    np.divide(total[last] - total[first], n, out=out, where=n > 0)
    return out


def interpolate(
    times: NDArray[np.float64],
    values: NDArray[np.float64],
    frames: NDArray[np.float64],
    max_gap: float,
) -> NDArray[np.float64]:
    """Between the samples before and after each frame, if they are not too far apart."""
    out = np.full((frames.size, values.shape[1]), np.nan)
    for column, x in enumerate(values.T):
        known = np.isfinite(x)
        t, y = times[known], x[known]
        if t.size < 2:
            continue
        after = np.clip(np.searchsorted(t, frames), 1, t.size - 1)
        near = (t[after] - t[after - 1] <= max_gap) & (frames >= t[0])
        near &= frames <= t[-1]
        # A sample at the time of the frame needs no neighbour.
        near |= (t[after] == frames) | (t[after - 1] == frames)
        out[near, column] = np.interp(frames[near], t, y)
    return out
