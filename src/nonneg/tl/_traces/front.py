"""What verbs on time courses ask alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.stats import false_discovery_control

from ..._adata.traces import read_event_table, read_time
from ..._adata.video import TIME
from ..._core.text import counted
from ..._core.validators import check_at_least
from ..._core.warnings import warn
from ...models.traces.epochs import epochs, frames_before, windows

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

# Of the autocorrelation time: shorter shifts keep some of the correlation at lag 0.
_SHORTEST_SHIFT = 5


class Trials(NamedTuple):
    """Traces around events."""

    signals: NDArray[np.float64]
    """(n_trials, n_times, k)"""
    offset: NDArray[np.float64]
    """(n_times,): seconds from the event."""
    events: pd.DataFrame
    """The events that are used."""
    frame: NDArray[np.intp]
    """(n_trials,): the last one at or before each event."""

    def check_distinct(self) -> None:
        """Refuse events in one frame: their traces are the same.

        One of them held out would be known from the other one, and both are counted.
        """
        _, first = np.unique(self.frame, return_index=True)
        again = np.setdiff1d(np.arange(self.frame.size), first)
        if again.size:
            times = self.events[TIME].to_numpy()
            msg = (
                f"{counted(again.size, 'event', 'is', of=self.frame.size)} in the same frame as "
                f"another one, e.g. at {times[again[0]]:.6g} s. Their traces are the "
                "same, so that what is held out would be known. Keep one in each frame, "
                "e.g. `events[~events['frame'].duplicated()]` of those that "
                "`nonneg.pp.align_events` has stored."
            )
            raise ValueError(msg)


def check_window(window: tuple[float, float], name: str) -> tuple[float, float]:
    """Two finite numbers of seconds in ascending order."""
    try:
        start, stop = (float(x) for x in window)
    except (TypeError, ValueError):
        start, stop = np.nan, np.nan
    if not (np.isfinite(start) and np.isfinite(stop) and start <= stop):
        msg = (
            f"{name}={window!r} must be two numbers of seconds, the first of which is "
            "not the larger one."
        )
        raise ValueError(msg)
    return start, stop


def read_trials(
    adata: AnnData,
    values: NDArray[np.float64],
    events: str | pd.DataFrame,
    window: tuple[float, float],
    *,
    complete: bool,
) -> Trials:
    """Traces around the events whose window is within the recording.

    ``complete``: events whose window lacks frames are left out as well.
    """
    span = check_window(window, "window")
    time = read_time(adata)
    table = read_event_table(adata, events, time)
    found = windows(time, table[TIME].to_numpy(), span)
    lacking = (found.frame < 0).any(axis=1)
    used = found.inside & ~lacking if complete else found.inside
    if not used.any():
        msg = (
            f"No event has the whole window={window!r} within the recording, from "
            f"{time[0]:.6g} s to {time[-1]:.6g} s. Shorten it."
        )
        raise ValueError(msg)
    reasons = [
        f"{n} of {len(table)} events {why}"
        for n, why in (
            (
                int((~found.inside).sum()),
                "have windows that reach beyond the recording",
            ),
            (
                int((found.inside & lacking).sum()) if complete else 0,
                "have windows with dropped frames",
            ),
        )
        if n
    ]
    if reasons:
        warn(f"{'; '.join(reasons)}. They are left out.")
    return Trials(
        epochs(values, found.frame[used]),
        found.offset,
        table[used],
        frames_before(time, table[TIME].to_numpy()[used]),
    )


def adjusted(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Benjamini and Hochberg's, NaN where there is no p-value."""
    out = np.full(p.shape, np.nan)
    known = np.isfinite(p)
    if known.any():
        out[known] = false_discovery_control(p[known])
    return out


def max_adjusted(
    observed: NDArray[np.float64], null: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Chance that any of several comes as high, relative to its own null.

    ``null`` (n, m) has draws in common: the largest of each is a draw of the largest.
    """
    mean, sd = null.mean(axis=0), null.std(axis=0)
    sd = np.where(sd > 0, sd, 1)
    top = np.nan_to_num((null - mean) / sd, nan=-np.inf).max(axis=1)
    z = (observed - mean) / sd
    p = (1 + (top[:, None] >= z).sum(axis=0)) / (1 + len(null))
    return np.where(np.isfinite(z), p, np.nan)


def smallest_shift(
    min_shift: float | None, *, step: float, tau: int, n_frames: int
) -> int:
    """Frames by which to shift at least; of the whole recording at most."""
    if min_shift is None:
        return _SHORTEST_SHIFT * tau
    check_at_least(min_shift, 0, "min_shift")
    return max(1, round(min(min_shift / step, n_frames)))


def draw_shifts(
    n_frames: int, n_shifts: int, smallest: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Shifts between the smallest one and half of the recording."""
    possible = np.arange(smallest, n_frames // 2 + 1)
    if not possible.size:
        msg = (
            f"{n_frames} frames are too few for circular shifts of at least {smallest} "
            "frames, several times the traces' autocorrelation time: such a recording "
            "has no independent stretches to compare. Record longer, or remove slow "
            "drifts first."
        )
        raise ValueError(msg)
    n = min(n_shifts, possible.size)
    return np.sort(rng.choice(possible, n, replace=False)).astype(np.intp)
