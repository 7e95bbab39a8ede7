"""Averages around events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..._adata.read import resolve_adata
from ..._adata.traces import EVENTS, read_traces, trace_key
from ..._adata.write import write_values
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ...models.traces.averages import average
from .conditions import read_levels
from .front import check_window, read_trials

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from spatialdata import SpatialData


@checked
@shared_docs
def event_average(
    adata: AnnData | SpatialData,
    events: str | pd.DataFrame = EVENTS,
    *,
    key: str = "locanmf",
    by: str | None = None,
    window: tuple[float, float] = (-1.0, 2.0),
    baseline: tuple[float, float] | None = None,
    confidence: float = 0.95,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    """Average time courses around events.

    Means come with standard errors; medians, which single trials with movement do not
    pull, with an interval between order statistics that holds whatever the
    distribution.

    Filters that run both ways, as they are common for the removal of slow drifts, spread
    a response to before its event: what looks like anticipation may come from there.

    Parameters
    ----------
    adata
        Annotated data with time courses of components.
    events
        Table of events with a column `time`, in seconds, or its key in `uns`, where
        :func:`nonneg.pp.align_events` stores it.
    key
        Key of the components.
    by
        Column of the events with conditions, which are averaged separately.
    window
        Seconds from the event, first and last. Time 0 is the last frame at or before
        the event. Events whose window reaches beyond the recording are left out, with a
        warning.
    baseline
        Seconds from the event: the mean of each trial in this interval is subtracted
        from it. `None`: none.
    confidence
        Confidence level of the interval around the median.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets:

    `.uns['locanmf_event_average' | key + '_event_average']` : :class:`dict`
        `offset` (n_times), seconds from the event; `conditions` (n_conditions) and
        `n_events` of each; `components`; `mean`, `sem`, `median`, `low`, `high`
        (n_conditions, n_times, k), NaN where there are too few trials; `params`.

    Raises
    ------
    KeyError
        If there are no such components, events or columns, or frames have no time.
    ValueError
        If events are outside of the recording, no window is inside of it, time courses
        are not finite, or labels are missing.

    See Also
    --------
    nonneg.pl.event_average : shows them

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> import pandas as pd
    >>> adata = nng.datasets.quilt(12, 100)
    >>> adata.var["time"] = np.arange(100) / 10
    >>> events = pd.DataFrame(
    ...     {"time": [2.0, 4.0, 6.0], "side": ["left", "right", "left"]}
    ... )
    >>> nng.tl.event_average(adata, events, key="truth", by="side", window=(-1, 1))
    >>> adata.uns["truth_event_average"]["mean"].shape
    (2, 21, 4)
    """
    if not 0 < confidence < 1:
        msg = f"confidence={confidence!r} must be between 0 and 1."
        raise ValueError(msg)
    base = None if baseline is None else check_window(baseline, "baseline")
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    traces = read_traces(target, key)
    span = check_window(window, "window")
    reach = span if base is None else (min(span[0], base[0]), max(span[1], base[1]))
    trials = read_trials(target, traces.signals, events, reach, complete=False)
    values, offset = trials.signals, trials.offset
    # Frames are at whole numbers of steps: halves of a step tell them apart.
    half = (offset[1] - offset[0]) / 2 if offset.size > 1 else 0.0
    if base is not None:
        inside = (offset > base[0] - half) & (offset < base[1] + half)
        known = np.isfinite(values[:, inside])
        total = np.where(known, values[:, inside], 0).sum(axis=1, keepdims=True)
        count = known.sum(axis=1, keepdims=True)
        values = values - np.divide(
            total, count, out=np.full(total.shape, np.nan), where=count > 0
        )
    shown = (offset > span[0] - half) & (offset < span[1] + half) | (half == 0)
    values, offset = values[:, shown], offset[shown]
    codes, names = np.zeros(len(values), np.intp), np.array(["all"])
    if by is not None:
        codes, names = read_levels(trials.events, by)
    found = [average(values[codes == i], confidence) for i in range(names.size)]
    entry = {
        "params": {
            "key": key,
            "by": by,
            "window": np.array(span),
            "baseline": None if base is None else np.array(base),
            "confidence": confidence,
        },
        "offset": offset,
        "conditions": names.astype(object),
        "n_events": np.bincount(codes, minlength=names.size),
        "components": np.array(traces.names, object),
        **{
            name: np.stack([getattr(each, name) for each in found]).astype(np.float32)
            for name in ("mean", "sem", "median", "low", "high")
        },
    }
    write_values(target, {("uns", trace_key(key, "event_average")): entry})
    return target if copy else None
