"""Behaviour in every frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from .._adata.behavior import BEHAVIOR
from .._adata.checks import as_numbers, check_flat
from .._adata.read import resolve_adata
from .._adata.traces import frame_step, on_clock, read_time
from .._adata.write import write_values
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.text import counted
from .._core.validators import check_at_least, check_one_of
from .._core.warnings import warn
from ..models.traces.resample import frame_means, interpolate

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData


@checked
@shared_docs
def align_behavior(
    adata: AnnData | SpatialData,
    behavior: pd.DataFrame,
    *,
    clock: Callable[[Any], Any] | None = None,
    method: Literal["mean", "linear"] = "mean",
    max_gap: float = 0.2,
    key_added: str = BEHAVIOR,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    """Resample behaviour to the times of the frames.

    Parameters
    ----------
    adata
        Annotated data with the seconds of every frame in `.var['time']`.
    behavior
        Data frame whose index is time in seconds, or time deltas, ascending, such as of
        :func:`nonneg.io.read_pose`; NaN where something is not known.
    clock
        Maps these times to those of frames, e.g. of :func:`nonneg.io.align_clocks`.
        `None`: they are of one clock.
    method
        `"mean"`: of all samples within half the time between frames, which keeps
        what is faster than frames from appearing as something slow; frames without
        samples are interpolated. `"linear"`: interpolated between the samples before and
        after.
    max_gap
        In seconds: frames between samples that are farther apart are NaN.
    key_added
        Key under which to store the result.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets the following fields:

    `.varm['behavior' | key_added]` : :class:`numpy.ndarray` (shape `(n_vars, n_columns)`)
        Behaviour in every frame, NaN where it is not known. There is a warning that
        counts these frames.
    `.uns['behavior' | key_added]` : :class:`dict`
        `columns`, their names, and `params`.

    Raises
    ------
    KeyError
        If frames have no time.
    ValueError
        If times are not finite and ascending, entries are infinite or no numbers, or no
        frame has any.

    See Also
    --------
    nonneg.io.read_pose : positions of body parts
    nonneg.tl.decode_behavior : what regions know of it

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> import pandas as pd
    >>> adata = nng.datasets.quilt(12, 100)
    >>> adata.var["time"] = np.arange(100) / 10
    >>> time = np.arange(1000) / 100
    >>> nng.pp.align_behavior(adata, pd.DataFrame({"speed": np.sin(time)}, index=time))
    >>> adata.varm["behavior"].shape
    (100, 1)
    """
    check_one_of(method, ("mean", "linear"), "method")
    check_at_least(max_gap, 0, "max_gap")
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    frames = read_time(target)
    if not hasattr(behavior, "columns"):
        msg = f"behavior must be a data frame, not a {type(behavior).__name__}."
        raise ValueError(msg)
    check_flat(behavior, "behavior")
    times = _seconds(behavior.index)
    if clock is not None:
        times = on_clock(clock, times)
    if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        msg = (
            "The index of behavior must be seconds, finite and in ascending order. Sort "
            "it, and remove samples that are there twice."
        )
        raise ValueError(msg)
    names = [str(name) for name in behavior.columns]
    if len(set(names)) < len(names):
        msg = f"behavior must have columns of different names, but has {names}."
        raise ValueError(msg)
    values = np.empty((len(behavior), len(names)))
    for i, name in enumerate(names):
        values[:, i] = as_numbers(behavior.iloc[:, i], f"column {name!r} of behavior")
        n_infinite = int(np.isinf(values[:, i]).sum())
        if n_infinite:
            msg = (
                f"Column {name!r} of behavior has {n_infinite} infinite entries. Replace "
                "them with NaN, for what is not known."
            )
            raise ValueError(msg)
    found = interpolate(times, values, frames, max_gap)
    if method == "mean":
        means = frame_means(times, values, frames, frame_step(frames))
        found = np.where(np.isfinite(means), means, found)
    unknown = ~np.isfinite(found)
    if not names or unknown.all():
        covered = f", from {times[0]:.6g} s to {times[-1]:.6g} s" if times.size else ""
        msg = (
            f"No frame, from {frames[0]:.6g} s to {frames[-1]:.6g} s, has behaviour"
            f"{covered}. Check its unit and clock (`nonneg.io.align_clocks`)."
        )
        raise ValueError(msg)
    if unknown.any():
        worst = int(unknown.sum(axis=0).argmax())
        warn(
            f"{counted(int(unknown.any(axis=1).sum()), 'frame', 'lacks', of=frames.size)} behaviour, "
            f"most of them {names[worst]!r} ({int(unknown[:, worst].sum())})."
        )
    entry = {
        "columns": np.array(names, object),
        "params": {"method": method, "max_gap": float(max_gap)},
    }
    write_values(
        target,
        {
            ("varm", key_added): found.astype(np.float32),
            ("uns", key_added): entry,
        },
    )
    return target if copy else None


def _seconds(index: pd.Index) -> NDArray[np.float64]:
    """Of numbers, which are seconds, or of time deltas."""
    if index.dtype.kind == "M":
        msg = (
            "The index of behavior holds dates. Subtract the time at which the recording "
            "began, or give seconds."
        )
        raise ValueError(msg)
    values = index.to_numpy()
    if index.dtype.kind == "m":
        values = values / np.timedelta64(1, "s")
    return as_numbers(values, "the index of behavior")
