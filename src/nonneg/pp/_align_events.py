"""Events on the clock of the frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import h5py
import numpy as np
import pandas as pd
from anndata.io import write_elem

from .._adata.read import resolve_adata
from .._adata.traces import (
    EVENTS,
    FRAME,
    check_events,
    on_clock,
    read_time,
    within_recording,
)
from .._adata.video import TIME
from .._adata.write import write_values
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.text import conjugated, counted
from .._core.validators import check_one_of
from .._core.warnings import warn
from ..models.traces.epochs import frames_before

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from anndata import AnnData
    from spatialdata import SpatialData


@checked
@shared_docs
def align_events(
    adata: AnnData | SpatialData,
    events: pd.DataFrame,
    *,
    clock: Callable[[Any], Any] | None = None,
    outside: Literal["raise", "drop"] = "raise",
    key_added: str = EVENTS,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    """Store a table of events with the frame that each belongs to.

    Parameters
    ----------
    adata
        Annotated data with the seconds of every frame in `.var['time']`.
    events
        Data frame with a column `time`, in seconds, and any others.
    clock
        Maps the times of events to those of frames, e.g. of
        :func:`nonneg.io.align_clocks`. `None`: they are of one clock.
    outside
        What to do with events outside of the recording: `"raise"`, since they often mean
        another unit or clock; or `"drop"` them, with a warning that counts them.
    key_added
        Key under which to store the table.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets:

    `.uns['events' | key_added]` : :class:`pandas.DataFrame`
        The events in order of time: `time`, by the clock of the frames; `frame`, the last
        one at or before the event; and the other columns.

    Raises
    ------
    KeyError
        If frames have no time.
    ValueError
        If events have no time, one that is not finite, or one outside of the recording,
        all are outside, a column `frame` is not of the frames of this recording (unless
        the table is the one stored under the key, which is renewed), or a column has a name or values that files cannot hold, such as
        a "/", numbers mixed with text, or dates.

    See Also
    --------
    nonneg.io.read_events : reads a table
    nonneg.tl.event_average, nonneg.tl.decode_events : what to do with it

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> import pandas as pd
    >>> adata = nng.datasets.quilt(12, 100)
    >>> adata.var["time"] = np.arange(100) / 10
    >>> nng.pp.align_events(adata, pd.DataFrame({"time": [2.04, 0.5]}))
    >>> adata.uns["events"]["frame"].tolist()
    [5, 20]
    """
    check_one_of(outside, ("raise", "drop"), "outside")
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    frames = read_time(target)
    table = check_events(events, "events")
    times = table[TIME].to_numpy()
    if clock is not None:
        times = on_clock(clock, times)
    inside = within_recording(times, frames)
    n_outside = int((~inside).sum())
    if n_outside and (outside == "raise" or not inside.any()):
        msg = (
            f"{counted(n_outside, 'event', 'is', of=len(table))} outside of the recording, from "
            f"{frames[0]:.6g} s to {frames[-1]:.6g} s, e.g. at {times[~inside][0]:.6g} s. "
            "Check their unit and clock (`nonneg.io.align_clocks`)"
            f"{', or pass outside=' + repr('drop') if inside.any() else ''}."
        )
        raise ValueError(msg)
    if n_outside:
        warn(
            f"{counted(n_outside, 'event', 'is', of=len(table))} outside of the recording and "
            f"{conjugated(n_outside, 'is')} dropped."
        )
    table = table.assign(**{TIME: times})[inside].sort_values(TIME, kind="stable")
    found = frames_before(frames, table[TIME].to_numpy())
    stored = target.uns.get(key_added)
    # A table of ours is renewed, in place.
    is_stored = isinstance(stored, pd.DataFrame) and stored.equals(events)
    if FRAME in table and not is_stored and not np.array_equal(table[FRAME], found):
        msg = (
            f"events have a column {FRAME!r} with other values than the frames of this "
            "recording, which are stored under that name. Rename it, e.g. "
            f"`events.rename(columns={{{FRAME!r}: 'own_frame'}})`, or drop it."
        )
        raise ValueError(msg)
    table[FRAME] = found
    table.columns = table.columns.astype(str)
    # Row names of h5ad are strings.
    table = table.reset_index(drop=True).rename(index=str)
    _check_storable(table)
    write_values(target, {("uns", key_added): table})
    return target if copy else None


def _check_storable(table: pd.DataFrame) -> None:
    """Refuse columns that a file could not hold, when it is too late to change them."""
    names = table.columns
    if not names.is_unique:
        twice = names[names.duplicated()].unique().tolist()
        msg = f"events have several columns named {twice}. Rename them."
        raise ValueError(msg)
    refused = {}
    with h5py.File("events", "w", driver="core", backing_store=False) as file:
        for name in names:
            try:
                write_elem(file, "table", table[[name]])
            except Exception as error:  # noqa: BLE001 - whatever it is, it is not stored
                refused[name] = _reason(name, table[name], error)
    if refused:
        reasons = "; ".join(f"{name!r}, {why}" for name, why in refused.items())
        msg = (
            f"Columns of events could not be written to a file: {reasons}. Change them "
            "first, or leave them out with `events.drop(columns=…)`."
        )
        raise ValueError(msg)


def _reason(name: str, column: pd.Series, error: Exception) -> str:
    if not name or "/" in name:
        return "whose name is empty or has a '/'"
    if column.dtype == object:
        kinds = sorted({type(value).__name__ for value in column})
        return f"which holds {', '.join(kinds)} (`.astype(str)` makes text of them)"
    if column.dtype.kind in "mM":
        return f"of type {column.dtype} (make seconds of it)"
    return f"of type {column.dtype} ({error})"
