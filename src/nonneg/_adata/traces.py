"""Time courses of components, the regions they belong to, and when frames were taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from inspect import signature
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from .._core.arguments import is_ours
from .._core.text import conjugated, counted
from .._core.warnings import warn
from ..models.traces.epochs import ROUNDING, frames_before
from .checks import as_numbers, check_columns, check_flat, check_key
from .keys import SIDE_KEYS
from .labels import as_text
from .schema import Stored
from .video import TIME
from .views import read_factors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from .views import Factors

EVENTS = "events"
"""In uns: table of events."""
FRAME = "frame"
"""In that table: the last frame at or before each event."""


@dataclass(frozen=True)
class Traces:
    """Time courses of a factorization of pixels x frames."""

    signals: NDArray[np.float64]
    """(n_frames, k)"""
    factors: Factors
    region: NDArray[Any] | None
    """(k,): names of regions, where components belong to some."""

    @property
    def names(self) -> list[str]:
        """Of the components."""
        return self.factors.names


@dataclass(frozen=True)
class Regions:
    """Components by region, in the order in which regions first occur."""

    names: list[str]
    codes: NDArray[np.intp]
    """(k,)"""

    def columns(self, region: int) -> NDArray[np.intp]:
        """Components of a region, in order."""
        return np.flatnonzero(self.codes == region)


def read_traces(adata: AnnData, key: str) -> Traces:
    """Time courses stored under a key, all of them finite."""
    factors = read_factors(adata, key)
    where = f"adata.varm[{factors.keys.varm!r}]"
    if factors.entry.varm_key is None:
        msg = (
            f"adata.uns[{key!r}] is of an element of obsm, and has no time courses. "
            "Factorize pixels x frames."
        )
        raise ValueError(msg)
    values = as_numbers(factors.loadings, where)
    bad = ~np.isfinite(values)
    if bad.any():
        columns = [factors.names[i] for i in np.flatnonzero(bad.any(axis=0))]
        n, n_frames = int(bad.sum()), int(bad.any(axis=1).sum())
        msg = (
            f"{where} holds {counted(n, 'value')} that {conjugated(n, 'is')} infinite or NaN, "
            f"in {counted(n_frames, 'frame')} and the components {columns[:3]}"
            f"{' …' if len(columns) > 3 else ''}. Remove these frames, e.g. "
            f"`adata[:, np.isfinite({where}).all(axis=1)]`, or factorize again."
        )
        raise ValueError(msg)
    stored = adata.uns[key].get("region")
    region = None if stored is None else as_text(stored)
    if region is not None and region.size != values.shape[1]:
        msg = (
            f"adata.uns[{key!r}]['region'] names {counted(region.size, 'region')} "
            f"for {counted(values.shape[1], 'component')}. Factorize again."
        )
        raise ValueError(msg)
    return Traces(values, factors, region)


def read_regions(
    traces: Traces,
    key: str,
    wanted: str | Sequence[str] | None = None,
    *,
    at_least: int = 1,
) -> Regions:
    """Regions of the components, or some of them in the order given."""
    if traces.region is None:
        msg = (
            f"adata.uns[{key!r}] does not say which region each component belongs to. "
            "Call `nonneg.tl.locanmf`, or another method with regions, first."
        )
        raise ValueError(msg)
    names = list(dict.fromkeys(traces.region.tolist()))
    if wanted is not None:
        wanted = [wanted] if isinstance(wanted, str) else wanted
        unknown = [name for name in wanted if name not in names]
        if unknown:
            msg = f"There are no regions {unknown}; there are {names[:10]} …"
            raise KeyError(msg)
        names = list(dict.fromkeys(wanted))
    if len(names) < at_least:
        msg = f"There must be at least {counted(at_least, 'region')}, but there are {names}."
        raise ValueError(msg)
    position = {name: i for i, name in enumerate(names)}
    codes = np.array([position.get(name, -1) for name in traces.region], np.intp)
    return Regions(names, codes)


def read_time(adata: AnnData) -> NDArray[np.float64]:
    """Seconds of every frame, ascending."""
    check_key(
        adata,
        "var",
        TIME,
        hint="It holds the seconds of every frame, e.g. `np.arange(adata.n_vars) / fs`.",
    )
    where = f"adata.var[{TIME!r}]"
    time = as_numbers(adata.var[TIME], where)
    if time.size < 2:
        msg = f"There must be at least two frames, but there are {time.size}."
        raise ValueError(msg)
    if not np.isfinite(time).all() or (np.diff(time) <= 0).any():
        msg = f"{where} must hold finite seconds in ascending order."
        raise ValueError(msg)
    return time


def frame_step(time: NDArray[np.float64]) -> float:
    """Seconds between frames."""
    return float(np.median(np.diff(time)))


def read_frame_step(adata: AnnData) -> float:
    """Seconds between frames, of recordings that are looked at as one stretch."""
    time = read_time(adata)
    step = frame_step(time)
    n_gaps = int((np.diff(time) > 1.5 * step).sum())
    if n_gaps:
        warn(
            f"adata.var[{TIME!r}] has {counted(n_gaps, 'gap')} between frames (more than 1.5 times "
            f"{step:.4g} s), which are passed over."
        )
    return step


def check_events(table: Any, where: str) -> pd.DataFrame:
    """A table with a column of finite seconds."""
    check_flat(table, where)
    if not isinstance(table, pd.DataFrame) or TIME not in table:
        found = list(table) if isinstance(table, pd.DataFrame) else type(table).__name__
        msg = (
            f"{where} must be a data frame with a column {TIME!r}, of seconds, but "
            f"has {found}. `nonneg.io.read_events` reads one."
        )
        raise ValueError(msg)
    check_columns(table, where)
    times = as_numbers(table[TIME], f"column {TIME!r} of {where}")
    n_bad = int((~np.isfinite(times)).sum())
    if n_bad:
        msg = (
            f"{where} has {counted(n_bad, 'event')} without a finite time. Remove them first, e.g. "
            f"`events.dropna(subset=[{TIME!r}])`."
        )
        raise ValueError(msg)
    return table.assign(**{TIME: times})


def on_clock(
    clock: Callable[[Any], Any], times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Times as another clock has them."""
    try:
        found = as_numbers(clock(times), "The times of the clock")
    except Exception as error:
        msg = (
            f"clock={clock!r} cannot map an array of times: {error} Take one of "
            "`nonneg.io.align_clocks`."
        )
        raise ValueError(msg) from error
    if found.shape != times.shape:
        msg = f"clock={clock!r} makes times of shape {found.shape} of {times.shape}."
        raise ValueError(msg)
    return found


def within_recording(
    times: NDArray[np.float64], frames: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which times are within the recording, whose last frame lasts as long as others."""
    step = frame_step(frames)
    inside: NDArray[np.bool_] = (times >= frames[0] - ROUNDING * step) & (
        times < frames[-1] + step
    )
    return inside


def read_event_table(
    adata: AnnData, events: str | pd.DataFrame, frames: NDArray[np.float64]
) -> pd.DataFrame:
    """Events that were stored or are given, all of them within the recording."""
    if isinstance(events, str):
        check_key(
            adata, "uns", events, hint="Call `nonneg.pp.align_events` with them first."
        )
        table, where = adata.uns[events], f"adata.uns[{events!r}]"
    else:
        table, where = events, "events"
    table = check_events(table, where)
    times = table[TIME].to_numpy()
    outside = ~within_recording(times, frames)
    if outside.any():
        msg = (
            f"{counted(int(outside.sum()), 'event', 'is', of=len(table))} outside of the recording, "
            f"from {frames[0]:.6g} s to {frames[-1]:.6g} s, e.g. at "
            f"{times[outside][0]:.6g} s. Check their clock and unit "
            "(`nonneg.io.align_clocks`), or drop them with "
            "`nonneg.pp.align_events(adata, events, outside='drop')`."
        )
        raise ValueError(msg)
    if not len(table):
        msg = f"{where} holds no events."
        raise ValueError(msg)
    if isinstance(events, str) and FRAME in table:
        now = frames_before(frames, times)
        if not np.array_equal(table[FRAME].to_numpy(), now):
            warn(
                f"{where}[{FRAME!r}] counts other frames than there are now, as after "
                "`adata[:, …]`. Frames are found from the times instead; "
                f"`nonneg.pp.align_events(adata, {where}, key_added={events!r})` "
                "renews the column."
            )
            table = table.assign(**{FRAME: now})
    return table


def trace_key(key: str, kind: str) -> str:
    """Key in uns of what was made of time courses."""
    return key + SIDE_KEYS["uns"][kind]


def of_result[F: Callable[..., Any]](kind: str) -> Callable[[F], F]:
    """Say that a stored result cannot be shown, and why, where no message of ours does."""

    def decorate(function: F) -> F:
        @wraps(function)
        def showing(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                if is_ours(error):
                    raise
                bound = signature(function).bind(*args, **kwargs)
                bound.apply_defaults()
                key, verb = bound.arguments["key"], bound.arguments.get("of", kind)
                msg = (
                    f"adata.uns[{trace_key(key, verb)!r}] cannot be shown: "
                    f"{type(error).__name__}: {error}. If it was changed after "
                    f"`nonneg.tl.{verb}`, call that again."
                )
                raise ValueError(msg) from error

        return cast("F", showing)

    return decorate


def read_result(adata: AnnData, key: str, kind: str, names: set[str]) -> Stored:
    """What a verb has stored beside time courses."""
    name = trace_key(key, kind)
    stored: Any = adata.uns.get(name)
    if not hasattr(stored, "keys") or not names <= set(stored.keys()):
        msg = (
            f"adata.uns has no {name!r}. Call `nonneg.tl.{kind}(adata, …, key={key!r})` "
            "first."
        )
        raise KeyError(msg)
    return Stored(stored, f"adata.uns[{name!r}]", f"Call `nonneg.tl.{kind}`")
