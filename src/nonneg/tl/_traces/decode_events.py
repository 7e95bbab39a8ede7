"""What regions know of an event before it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from ..._adata.read import resolve_adata
from ..._adata.traces import EVENTS, read_regions, read_traces, trace_key
from ..._adata.video import TIME
from ..._adata.write import write_values
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ..._core.progress import progress
from ..._core.random import as_seed
from ..._core.validators import check_n_folds, check_one_of, check_positive_int
from ...models.loop import Report
from ...models.traces.classify import classify
from ...operators.threads import computing
from .conditions import read_levels
from .front import max_adjusted, read_trials

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._core.random import RNGLike


@checked
@shared_docs
def decode_events(
    adata: AnnData | SpatialData,
    label: str,
    events: str | pd.DataFrame = EVENTS,
    *,
    key: str = "locanmf",
    regions: str | Sequence[str] | None = None,
    window: tuple[float, float] = (-0.67, 0.0),
    null: Literal["shuffle", "shift"] = "shuffle",
    n_null: int = 100,
    n_folds: int = 5,
    rng: RNGLike = 0,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    """Predict the label of events from each region, e.g. the direction of a lick.

    A penalised logistic regression on all components of the region in all frames of the
    window :cite:p:`Saxena2020`. Trials that are scored are never trained on: folds are
    runs of consecutive trials of each label, and the strength of the penalty is chosen
    within the trials of training. Balanced accuracies of permuted labels, fitted in the
    same way, say what is chance.

    The window ends with the last frame at or before the event, so that nothing of the
    event itself is seen, provided that filters were causal.

    Parameters
    ----------
    adata
        Annotated data with time courses of components in regions.
    label
        Column of the events with what to predict; two labels or more.
    events
        Table of events with a column `time`, in seconds, or its key in `uns`.
    key
        Key of the components.
    regions
        Regions to decode from. `None`: all.
    window
        Seconds from the event, first and last. The default are 21 frames at 30 Hz.
        Events whose window reaches beyond the recording, or over dropped frames, are
        left out, with a warning.
    null
        `"shuffle"`: labels are permuted. `"shift"`: labels are shifted in a circle along
        the trials, which keeps their order; where labels come in blocks, or an animal
        alternates, permuted ones are no fair comparison.
    n_null
        Number of label sequences that are drawn for the null; the smallest p-value is `1 / (1 + n_null)`. There are not more
        shifts than trials, less one. 0: no null.
    n_folds
        Number of folds of the cross-validation; every label must have as many trials.
    %(rng)s
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets:

    `.uns['locanmf_decode_events' | key + '_decode_events']` : :class:`dict`
        `table`, a data frame with a row for every region: `region`, `n_components`,
        `accuracy` (balanced: chance is 1 over the number of labels), `null_mean`,
        `null_q95`, `p_value`, `p_adjusted` (chance that any region comes as high)
        and `rank`, 1 being the most informative; `labels`; `truth` (n_trials) and `predicted`
        (n_trials, n_regions), positions among them; `time` of these events; `null`
        (n_null, n_regions); `params`.

    Raises
    ------
    KeyError
        If there are no such components, regions, events or columns.
    ValueError
        If a label has fewer trials than folds, there is one label only, labels are
        missing, components have no regions, time courses are not finite, or events are
        outside of the recording, or in one frame.

    See Also
    --------
    nonneg.pl.decoding : regions in order, beside chance
    nonneg.tl.decode_behavior : for what is known in every frame

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> import pandas as pd
    >>> adata = nng.datasets.quilt(12, 200)
    >>> adata.var["time"] = np.arange(200) / 10
    >>> adata.uns["truth"]["region"] = np.array(["VISp", "VISp", "MOs", "RSP"])
    >>> events = pd.DataFrame(
    ...     {"time": np.arange(1, 19.0), "side": ["left", "right"] * 9}
    ... )
    >>> nng.tl.decode_events(adata, "side", events, key="truth", n_null=0)
    >>> adata.uns["truth_decode_events"]["table"]["region"].tolist()
    ['VISp', 'MOs', 'RSP']
    """
    check_one_of(null, ("shuffle", "shift"), "null")
    n_folds = check_n_folds(n_folds)
    n_null = check_positive_int(n_null, "n_null") if n_null else 0
    seed = as_seed(rng)
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    traces = read_traces(target, key)
    chosen = read_regions(traces, key, regions)
    trials = read_trials(target, traces.signals, events, window, complete=True)
    trials.check_distinct()
    # Folds are runs of consecutive trials.
    order = np.argsort(trials.events[TIME].to_numpy(), kind="stable")
    table, values = trials.events.iloc[order], trials.signals[order]
    y, names = read_levels(table, label)
    counts = np.bincount(y, minlength=names.size)
    if names.size < 2 or counts.min() < n_folds:
        of_each = dict(zip(names.tolist(), counts.tolist(), strict=True))
        msg = (
            f"Column {label!r} has the labels {of_each} (number of complete trials); "
            f"there must be two, with at least n_folds={n_folds} trials each."
        )
        raise ValueError(msg)
    null_labels = _null_labels(y, null, n_null, np.random.default_rng(seed))
    n_regions = len(chosen.names)
    predicted = np.empty((y.size, n_regions), np.int64)
    random = np.empty((len(null_labels), n_regions))
    accuracy = np.empty(n_regions)
    with computing(), progress("decode_events", n_regions) as callback:
        for i in range(n_regions):
            features = values[:, :, chosen.columns(i)].reshape(y.size, -1)
            found = classify(features, y, n_folds=n_folds, null_labels=null_labels)
            predicted[:, i], accuracy[i] = found.predicted, found.score
            random[:, i] = found.null
            callback(i + 1, Report(None, None))
    entry = {
        "params": {
            "key": key,
            "label": label,
            "window": np.array(window, np.float64),
            "null": null,
            "n_null": len(random),
            "n_folds": n_folds,
            "seed": seed,
        },
        "table": region_table(
            chosen.names,
            [chosen.columns(i).size for i in range(n_regions)],
            {"accuracy": accuracy},
            random,
        ),
        "labels": names.astype(object),
        "truth": y,
        "predicted": predicted,
        "time": table[TIME].to_numpy(),
        "null": random,
    }
    write_values(target, {("uns", trace_key(key, "decode_events")): entry})
    return target if copy else None


def _null_labels(
    y: NDArray[np.intp], null: str, n_null: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    if null == "shuffle":
        return np.array([rng.permutation(y) for _ in range(n_null)], np.intp).reshape(
            n_null, y.size
        )
    shifts = rng.permutation(np.arange(1, y.size))[:n_null]
    return np.array([np.roll(y, s) for s in shifts], np.intp).reshape(-1, y.size)


def region_table(
    names: Sequence[str],
    n_components: Sequence[int],
    scores: dict[str, NDArray[np.float64]],
    null: NDArray[np.float64],
) -> pd.DataFrame:
    """Scores of regions beside those of the null; the first one is what it is of."""
    score = next(iter(scores.values()))
    table = pd.DataFrame(
        {"region": list(names), "n_components": list(n_components), **scores}
    )
    some = len(null) > 0
    blank = np.full(score.size, np.nan)
    p = (1 + (null >= score).sum(axis=0)) / (1 + len(null)) if some else blank
    table["null_mean"] = null.mean(axis=0) if some else blank
    table["null_q95"] = np.quantile(null, 0.95, axis=0) if some else blank
    table["p_value"] = p
    table["p_adjusted"] = max_adjusted(score, null) if some else blank
    table["rank"] = score.size - np.argsort(np.argsort(score, kind="stable"))
    return table.rename(index=str)
