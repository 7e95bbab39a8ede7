"""Components of trial averages, by what they depend on."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._adata.read import resolve_adata
from ..._adata.traces import EVENTS, read_regions, read_traces, trace_key
from ..._adata.write import write_values
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ..._core.random import as_seed
from ..._core.validators import check_at_least, check_positive_int
from ...models.traces.demixed import choose_ridge, demix, marginals
from .conditions import read_levels
from .front import read_trials

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._core.random import RNGLike

# Relative to the mean variance of traces, and splits of the trials to choose one.
_RIDGES = np.concatenate([[0.0], 10.0 ** np.arange(-7, 1)])
_N_SPLITS = 10


@checked
@shared_docs
def demixed_pca(
    adata: AnnData | SpatialData,
    by: str | Sequence[str],
    events: str | pd.DataFrame = EVENTS,
    *,
    key: str = "locanmf",
    regions: str | Sequence[str] | None = None,
    window: tuple[float, float] = (-1.0, 2.0),
    n_components: int = 3,
    ridge: float | None = None,
    rng: RNGLike = 0,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    r"""Split trial averages into components of time, of conditions, and of both.

    Demixed principal component analysis :cite:p:`Kobak2016`: averages of all conditions
    are a sum of parts, of time alone, of every condition with its course in time, and of
    combinations of conditions. For each part, the few weighted sums of the traces are
    found from which it is best reconstructed:

    .. math::

        \min_{F, D} \lVert X_\phi - F D X \rVert^2 + \lambda \lVert F D \rVert^2,

    by ridge regression and a singular value decomposition. A component of direction, say,
    is what in the activity tells directions apart.

    Parameters
    ----------
    adata
        Annotated data with time courses of components.
    by
        Column of the events with conditions, or several: every combination must have
        trials.
    events
        Table of events with a column `time`, in seconds, or its key in `uns`.
    key
        Key of the components.
    regions
        Regions whose components are used. `None`: all components.
    window
        Seconds from the event, first and last.
    n_components
        Largest number of components of each part; `explained` says how many matter.
    ridge
        Penalty :math:`\lambda`, relative to the mean variance of the averages. `None`:
        the one with which single trials, held out, tell the averages of the others best;
        every condition must have two trials.
    %(rng)s
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets:

    `.uns['locanmf_demixed_pca' | key + '_demixed_pca']` : :class:`dict`
        `decoder` and `encoder` (k, n); `marginal`, the part of each of the n
        components, in descending order of `explained`, its share of the variance of the
        averages; `purity`, the share of the component's own variance that is of its
        part; `scores` (n, n_times, levels…), the averages times the decoder;
        `variance`, a data frame with the share of each part; `total`, the share that
        all components explain; `offset`, `levels` and `params`, with the `ridge`.

    Raises
    ------
    KeyError
        If there are no such components, regions, events or columns.
    ValueError
        If a combination of conditions has no complete trials (or fewer than two, to
        choose the penalty), a column has one label only, averages do not vary, or events
        are outside of the recording, or in one frame where the penalty is chosen.

    See Also
    --------
    nonneg.pl.demixed_pca : shows the components
    nonneg.tl.event_average : averages of single components

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> import pandas as pd
    >>> adata = nng.datasets.quilt(12, 100)
    >>> adata.var["time"] = np.arange(100) / 10
    >>> events = pd.DataFrame({"time": [2.0, 4.0, 6.0, 8.0], "side": list("lrlr")})
    >>> nng.tl.demixed_pca(adata, "side", events, key="truth", window=(-1, 1))
    >>> sorted(set(adata.uns["truth_demixed_pca"]["marginal"]))
    ['side', 'time']
    """
    n_components = check_positive_int(n_components, "n_components")
    if ridge is not None:
        check_at_least(ridge, 0, "ridge")
    seed = as_seed(rng)
    columns = [by] if isinstance(by, str) else list(by)
    if not columns or len(set(columns)) < len(columns) or "time" in columns:
        msg = f"by={by!r} must name columns of conditions, each once."
        raise ValueError(msg)
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    traces = read_traces(target, key)
    used = np.arange(traces.signals.shape[1])
    if regions is not None:
        used = np.flatnonzero(read_regions(traces, key, regions).codes >= 0)
    trials = read_trials(target, traces.signals[:, used], events, window, complete=True)
    if ridge is None:
        trials.check_distinct()
    if trials.offset.size < 2:
        msg = f"window={window!r} holds one frame; averages over time need more."
        raise ValueError(msg)
    found = [read_levels(trials.events, column) for column in columns]
    for column, (_, names) in zip(columns, found, strict=True):
        if names.size < 2:
            msg = f"Column {column!r} has the label {names.tolist()} only; there must be two."
            raise ValueError(msg)
    codes = np.stack([code for code, _ in found], axis=1)
    sizes = [names.size for _, names in found]
    least = 2 if ridge is None else 1
    of_condition = {}
    for place in product(*map(range, sizes)):
        some = trials.signals[(codes == place).all(axis=1)]
        if len(some) < least:
            labels = [str(names[i]) for i, (_, names) in zip(place, found, strict=True)]
            msg = (
                f"The condition {labels} has {len(some)} complete trials; there must be "
                f"{least}{' to choose a ridge' if ridge is None else ''}."
            )
            raise ValueError(msg)
        of_condition[place] = some
    shape = (used.size, trials.offset.size, *sizes)
    x = np.empty(shape)
    for place, some in of_condition.items():
        at: tuple[Any, ...] = (slice(None), slice(None), *place)
        x[at] = some.mean(axis=0).T
    _check_varies(x, key)
    errors = np.empty(0)
    if ridge is None:
        ridge, errors = choose_ridge(
            of_condition, shape, columns, n_components,
            candidates=_RIDGES, n_splits=_N_SPLITS, rng=np.random.default_rng(seed),
        )  # fmt: skip
    result = demix(x, columns, n_components, ridge)
    parts = marginals(x, columns)
    size = {name: float((part**2).sum()) for name, part in parts.items()}
    order = list(parts)
    centred = x - x.mean(axis=tuple(range(1, x.ndim)), keepdims=True)
    entry = {
        "params": {
            "key": key,
            "by": np.array(columns, object),
            "window": np.array(window, np.float64),
            "n_components": n_components,
            "ridge": float(ridge),
            "n_trials": len(trials.signals),
            "seed": seed,
        },
        "components": np.array([traces.names[i] for i in used], object),
        "offset": trials.offset,
        "levels": {
            column: np.asarray(labels, object)
            for column, (_, labels) in zip(columns, found, strict=True)
        },
        "decoder": result.decoder.astype(np.float32),
        "encoder": result.encoder.astype(np.float32),
        "marginal": np.array(result.marginal, object),
        "explained": result.explained,
        "purity": result.of_marginals[
            np.arange(len(result.marginal)),
            np.array([order.index(m) for m in result.marginal]),
        ],
        "scores": np.tensordot(result.decoder.T, centred, 1).astype(np.float32),
        "variance": pd.DataFrame(
            {"part": order, "share": np.array(list(size.values())) / sum(size.values())}
        ).rename(index=str),
        "total": result.total,
        "ridge_error": errors,
    }
    write_values(target, {("uns", trace_key(key, "demixed_pca")): entry})
    return target if copy else None


def _check_varies(averages: NDArray[np.float64], key: str) -> None:
    if not np.ptp(averages, axis=tuple(range(1, averages.ndim))).any():
        msg = f"The averages of key={key!r} do not vary: there is nothing to split."
        raise ValueError(msg)
