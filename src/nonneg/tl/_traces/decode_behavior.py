"""What regions know of behaviour in every frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from ..._adata.behavior import BEHAVIOR, read_behavior
from ..._adata.read import resolve_adata
from ..._adata.traces import read_frame_step, read_regions, read_traces
from ..._adata.write import write_beside
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ..._core.progress import progress
from ..._core.random import as_seed
from ..._core.text import counted
from ..._core.validators import check_one_of, check_positive_int
from ..._core.warnings import warn
from ...models.loop import Report
from ...models.traces.regress import lagged, network, ridge
from ...models.traces.timescale import correlation_time
from ...operators.threads import computing
from .decode_events import region_table
from .front import check_window, draw_shifts, smallest_shift

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._core.random import RNGLike
    from ...models.traces.regress import Regressed

# Features of all regions together, at most: leading axes of the traces times lags.
_MOST_FEATURES = 600


@checked
@shared_docs
def decode_behavior(
    adata: AnnData | SpatialData,
    column: str,
    *,
    key: str = "locanmf",
    behavior_key: str = BEHAVIOR,
    regions: str | Sequence[str] | None = None,
    window: tuple[float, float] = (-0.67, 0.0),
    model: Literal["ridge", "network"] = "ridge",
    n_hidden: int = 64,
    n_null: int = 100,
    min_shift: float | None = None,
    n_folds: int = 5,
    rng: RNGLike = 0,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    r"""Predict continuous behaviour from each region, e.g. the position of a paw.

    All components of a region, in all frames of a window, predict the behaviour of each
    frame. Contiguous blocks of time are held out in turn, with an autocorrelation time
    of the behaviour on either side that is not used: neighbouring frames are so alike
    that a split at random would reward remembering them. Chance is what remains for
    behaviour that was shifted in a circle against the traces.

    Parameters
    ----------
    adata
        Annotated data with time courses of components in regions.
    column
        Behaviour to predict: a column that :func:`nonneg.pp.align_behavior` has stored,
        or of `var`. Frames where it is NaN are left out.
    key
        Key of the components.
    behavior_key
        Key of the aligned behaviour.
    regions
        Regions to decode from. `None`: all.
    window
        Seconds from the frame, first and last. With 0 as the end, behaviour is predicted
        from what came before it. Try `(-0.33, 0.33)` for indicators that lag.
    model
        `"ridge"`: linear, with the penalty chosen within the training blocks.
        `"network"`: one hidden layer of rectified units, stopped early; it takes
        hundreds of times as long, also for the null.
    n_hidden
        Hidden units of the network.
    n_null
        Number of shifted copies; the smallest p-value is `1 / (1 + n_null)`. 0: no null.
    min_shift
        Shortest shift, in seconds. `None`: five autocorrelation times of the behaviour
        (until it falls to 1/e).
    n_folds
        Number of contiguous blocks of time, each held out in turn.
    %(rng)s
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets the following fields:

    `.uns['locanmf_decode_behavior' | key + '_decode_behavior']` : :class:`dict`
        `table`, a data frame with a row for every region: `region`, `n_components`, `r2`
        (held out: 0 is as good as the mean), `correlation`, `relative` to the :math:`R^2`
        of all regions together, `null_mean`, `null_q95`, `p_value`, `p_adjusted` (chance
        that any region comes as high) and `rank`; `joint_r2`, of all regions together; `column`;
        `null` (n_null, n_regions); `window`; `params`.
    `.varm['locanmf_decoded' | varm_key + '_decoded']` : :class:`numpy.ndarray` (shape `(n_vars, n_regions + 1)`)
        Held-out predictions of every region, and of all together in the last column.

    Raises
    ------
    KeyError
        If there are no such components, regions or behaviour.
    ValueError
        If behaviour is infinite or does not vary, time courses are not finite,
        components have no regions, or there are too few frames.

    See Also
    --------
    nonneg.pl.decoded_trace : prediction over truth
    nonneg.pl.decoding : regions in order, beside chance

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> adata = nng.datasets.quilt(12, 400)
    >>> adata.var["time"] = np.arange(400) / 10
    >>> adata.var["speed"] = adata.varm["truth"][:, 2]
    >>> adata.uns["truth"]["region"] = np.array(["VISp", "VISp", "MOs", "RSP"])
    >>> nng.tl.decode_behavior(adata, "speed", key="truth", n_null=19)
    >>> table = adata.uns["truth_decode_behavior"]["table"].set_index("region")
    >>> table["rank"].idxmin()
    'MOs'
    """
    check_one_of(model, ("ridge", "network"), "model")
    n_folds = check_positive_int(n_folds, "n_folds")
    if n_folds < 3:
        msg = f"n_folds={n_folds} must be at least 3: two to choose the penalty."
        raise ValueError(msg)
    hidden = check_positive_int(n_hidden, "n_hidden")
    n_null = check_positive_int(n_null, "n_null") if n_null else 0
    span = check_window(window, "window")
    seed = as_seed(rng)
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    traces = read_traces(target, key)
    chosen = read_regions(traces, key, regions)
    step = read_frame_step(target)
    lags = np.arange(round(span[0] / step), round(span[1] / step) + 1)
    behavior = read_behavior(target, column, behavior_key)
    known = _check_behavior(behavior, column)
    y = behavior[known]
    tau = correlation_time(y[:, None])
    gap = tau + int(np.abs(lags).max())
    if y.size // n_folds <= 2 * gap:
        msg = (
            f"{y.size} frames with behaviour are too few for n_folds={n_folds}, an "
            f"autocorrelation time of {tau} frames and a window of {lags.size}."
        )
        raise ValueError(msg)
    shifts = np.empty(0, np.intp)
    if n_null:
        smallest = smallest_shift(min_shift, step=step, tau=tau, n_frames=y.size)
        generator = np.random.default_rng(seed)
        shifts = draw_shifts(y.size, n_null, smallest, generator)
        # In either direction.
        shifts = shifts * generator.choice([-1, 1], shifts.size)

    def decode(values: NDArray[np.float64], moved: NDArray[np.intp]) -> Regressed:
        features = lagged(values, lags)[known]
        if model == "ridge":
            return ridge(features, y, moved, n_folds=n_folds, gap=gap)
        return network(
            features, y, moved, n_folds=n_folds, gap=gap, n_hidden=hidden, seed=seed
        )

    n_regions = len(chosen.names)
    with computing(), progress("decode_behavior", n_regions + 1) as callback:
        found = []
        for i in range(n_regions):
            found.append(decode(traces.signals[:, chosen.columns(i)], shifts))
            callback(i + 1, Report(None, None))
        together = traces.signals[:, chosen.codes >= 0]
        joint = decode(
            _leading(together, max(1, _MOST_FEATURES // lags.size)), shifts[:0]
        )
        callback(n_regions + 1, Report(None, None))
    r2 = np.array([one.r2 for one in found])
    null = np.stack([one.null for one in found], axis=1)
    decoded = np.full((target.n_vars, n_regions + 1), np.nan)
    decoded[known] = np.stack([one.predicted for one in [*found, joint]], axis=1)
    table = region_table(
        chosen.names,
        [chosen.columns(i).size for i in range(n_regions)],
        {
            "r2": r2,
            "correlation": np.array([one.correlation for one in found]),
            "relative": r2 / joint.r2 if joint.r2 > 0 else np.full(r2.size, np.nan),
        },
        null,
    )
    entry = {
        "params": {
            "key": key,
            "behavior_key": behavior_key,
            "model": model,
            "n_hidden": hidden if model == "network" else None,
            "n_null": len(null),
            "n_folds": n_folds,
            "n_frames": int(y.size),
            "seed": seed,
        },
        "column": column,
        "window": np.array(span),
        "table": table,
        "joint_r2": joint.r2,
        "null": null,
    }
    write_beside(
        target,
        traces.factors,
        {
            "varm": {"decoded": decoded.astype(np.float32)},
            "uns": {"decode_behavior": entry},
        },
    )
    return target if copy else None


def _check_behavior(behavior: NDArray[np.float64], column: str) -> NDArray[np.bool_]:
    """Frames in which behaviour is known."""
    n_infinite = int(np.isinf(behavior).sum())
    if n_infinite:
        msg = (
            f"Behaviour {column!r} is infinite in {counted(n_infinite, 'frame')}. Replace these "
            "with NaN; they are left out then."
        )
        raise ValueError(msg)
    known = np.isfinite(behavior)
    if not known.any() or not np.ptp(behavior[known]) > 0:
        msg = f"Behaviour {column!r} does not vary; there is nothing to predict."
        raise ValueError(msg)
    n_missing = int((~known).sum())
    if n_missing:
        warn(
            f"Behaviour {column!r} is NaN in {n_missing} of {known.size} frames, which "
            "are left out."
        )
    return known


def _leading(x: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Traces as they are, or their leading principal axes where there are many."""
    if x.shape[1] <= n:
        return x
    centred = x - x.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return centred @ vectors[:, ::-1][:, :n]
