"""Canonical correlations of regions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from ..._adata.read import resolve_adata
from ..._adata.traces import read_frame_step, read_regions, read_traces, trace_key
from ..._adata.write import write_values
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ..._core.random import as_seed
from ..._core.text import counted
from ..._core.validators import (
    check_n_folds,
    check_one_of,
    check_positive_int,
)
from ..._core.warnings import warn
from ...models.traces.cca import (
    Groups,
    held_out_correlations,
    shifted_correlations,
    top_correlations,
    whitening,
)
from ...models.traces.timescale import correlation_time
from ...operators.threads import computing
from .front import adjusted, draw_shifts, max_adjusted, smallest_shift

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._adata.traces import Regions
    from ..._core.random import RNGLike


@checked
@shared_docs
def region_cca(
    adata: AnnData | SpatialData,
    key: str = "locanmf",
    *,
    regions: str | Sequence[str] | None = None,
    n_components: int | None = None,
    n_shifts: int = 400,
    min_shift: float | None = None,
    correction: Literal["max", "fdr"] = "max",
    n_folds: int = 5,
    rng: RNGLike = 0,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    r"""Correlate all pairs of regions by their top canonical correlation.

    The top canonical correlation of two regions is the largest one that weighted sums of
    their components have :cite:p:`Hotelling1936`; maps of it are compared between
    sessions and animals in :cite:t:`Saxena2020`. *Independent* regions have a
    high one as well: weights are fitted, and slow signals have few independent frames.
    With ten components each, 2,000 frames and an autocorrelation time of 30, it is .59.
    So every pair is compared with itself after one of its regions was shifted in a
    circle, which leaves everything as it was except what they have in common; and
    `r_held_out` is the correlation of the same sums in stretches of time that weights
    were not fitted to.

    All regions that see a common signal (arousal, movement, light that was not corrected
    for) are significant, and rightly: the null is independence, not a direct connection.

    Parameters
    ----------
    adata
        Annotated data with time courses of components in regions.
    key
        Key of the components.
    regions
        Regions to correlate, in this order. `None`: all.
    n_components
        Number of components of each region to take, those of the most energy; regions
        with fewer are left out. The in-sample value grows with the number of
        components: with the same number everywhere, it can be compared between pairs,
        and between sessions. `None`: all.
    n_shifts
        Number of circular shifts for each pair; the smallest p-value is
        `1 / (1 + n_shifts)`. Both directions of a shift count, so it is rounded up to
        an even number. 0: no null.
    min_shift
        Shortest shift, in seconds. `None`: five times the median time in which the
        autocorrelation of components falls to 1/e.
    correction
        Of `p_adjusted`, for the number of pairs. `"max"`: chance that any pair comes as
        high, relative to its own null. `"fdr"`: false discovery rate of Benjamini and
        Hochberg, which suits maps in which many pairs correlate; a few among many pairs
        need thousands of shifts, since their p-values must be far below .05.
    n_folds
        Number of contiguous blocks of time that are held out in turn, with one
        autocorrelation time on either side that is not used at all.
    %(rng)s
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets:

    `.uns['locanmf_region_cca' | key + '_region_cca']` : :class:`dict`
        In the order of `regions`, symmetric arrays (n_regions, n_regions): `r`, the top
        canonical correlation; `r_held_out`; `null_mean` and `null_q95`, mean and 95 %
        quantile of the shifted ones; `p_value` and `p_adjusted`, NaN on the diagonal.
        `n_components` of every region; `correlation_time` in seconds; `params`.

    Raises
    ------
    KeyError
        If there are no such components or regions, or frames have no time.
    ValueError
        If components have no regions, time courses are not finite, fewer than two
        regions are left, or there are too few frames.

    See Also
    --------
    nonneg.pl.region_cca : the map
    nonneg.pl.canonical_pair : the two sums of a pair over time
    nonneg.tl.map_distances : maps of several sessions and animals

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> adata = nng.datasets.quilt(12, 400)  # 144 pixels, 400 frames
    >>> adata.var["time"] = np.arange(400) / 10
    >>> adata.uns["truth"]["region"] = np.array(["VISp", "VISp", "MOs", "RSP"])
    >>> nng.tl.region_cca(adata, key="truth", n_shifts=100)
    >>> adata.uns["truth_region_cca"]["r"].shape
    (3, 3)
    """
    check_one_of(correction, ("max", "fdr"), "correction")
    n_folds = check_n_folds(n_folds)
    n_random = check_positive_int(n_shifts, "n_shifts") if n_shifts else 0
    seed = as_seed(rng)
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    traces = read_traces(target, key)
    chosen, columns, codes = _take(
        read_regions(traces, key, regions, at_least=2), n_components
    )
    step = read_frame_step(target)
    x = traces.signals[:, columns]
    x = x - x.mean(axis=0)
    n = len(x)
    groups = Groups.of(codes, len(chosen))
    tau = correlation_time(x)
    smallest = smallest_shift(min_shift, step=step, tau=tau, n_frames=n)
    block = n // n_folds
    if block <= tau or n - block - 2 * tau <= 2 * int(np.bincount(codes).max()):
        msg = (
            f"{n} frames are too few for n_folds={n_folds} and an autocorrelation time "
            f"of {tau} frames."
        )
        raise ValueError(msg)
    null = np.empty((0, len(chosen), len(chosen)))
    with computing():
        covariance = x.T @ x / n
        w, ranks = whitening(covariance, groups)
        r = top_correlations(w.T @ covariance @ w, groups)
        held_out = held_out_correlations(x, groups, n_folds=n_folds, gap=tau)
        if n_random:
            shifts = draw_shifts(
                n, -(-n_random // 2), smallest, np.random.default_rng(seed)
            )
            if 2 * shifts.size < n_random:
                warn(
                    f"{n} frames allow for {2 * shifts.size} circular shifts, fewer than "
                    f"n_shifts={n_random}."
                )
            q = (x @ w / np.sqrt(n)).astype(np.float32)
            null = np.concatenate(list(shifted_correlations(q, shifts, groups)))
    flat = ranks == 0
    r[flat] = r[:, flat] = null[:, flat] = null[:, :, flat] = np.nan
    p_value, p_adjusted = _p_values(r, null, correction)
    entry = {
        "params": {
            "key": key,
            "n_components": n_components,
            "n_shifts": len(null),
            "min_shift": smallest * step,
            "correction": correction,
            "n_folds": n_folds,
            "n_frames": n,
            "seed": seed,
        },
        "regions": np.array(chosen, object),
        "n_components": np.bincount(codes),
        "correlation_time": tau * step,
        "r": r,
        "r_held_out": held_out,
        "null_mean": null.mean(axis=0) if n_random else np.full_like(r, np.nan),
        "null_q95": (
            np.quantile(null, 0.95, axis=0) if n_random else np.full_like(r, np.nan)
        ),
        "p_value": p_value,
        "p_adjusted": p_adjusted,
    }
    write_values(target, {("uns", trace_key(key, "region_cca")): entry})
    return target if copy else None


def _take(
    regions: Regions, n_components: int | None
) -> tuple[list[str], NDArray[np.intp], NDArray[np.intp]]:
    """Regions that have enough components, and these."""
    members = {name: regions.columns(i) for i, name in enumerate(regions.names)}
    if n_components is not None:
        n = check_positive_int(n_components, "n_components")
        few = [name for name, columns in members.items() if columns.size < n]
        members = {k: v[:n] for k, v in members.items() if k not in few}
        if len(members) < 2:
            msg = (
                f"Only {list(members)} have n_components={n} components or more; there "
                "must be two regions."
            )
            raise ValueError(msg)
        if few:
            warn(
                f"{counted(len(few), 'region', 'has')} fewer than {n} components, left out: "
                f"{few[:5]}{' …' if len(few) > 5 else ''}."
            )
    sizes = [columns.size for columns in members.values()]
    return (
        list(members),
        np.concatenate(list(members.values())),
        np.repeat(np.arange(len(sizes)), sizes),
    )


def _p_values(
    r: NDArray[np.float64], null: NDArray[np.float64], correction: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of every pair, and corrected for all of them."""
    p, corrected = np.full_like(r, np.nan), np.full_like(r, np.nan)
    pairs = np.triu_indices(len(r), 1)
    if not len(null):
        return p, corrected
    observed, random = r[pairs], null[:, *pairs]
    p[pairs] = (1 + (random >= observed).sum(axis=0)) / (1 + len(null))
    p[pairs] = np.where(np.isfinite(observed), p[pairs], np.nan)
    if correction == "fdr":
        corrected[pairs] = adjusted(p[pairs])
    else:
        # All pairs have the same shifts.
        corrected[pairs] = max_adjusted(observed, random)
    for matrix in (p, corrected):
        matrix.T[pairs] = matrix[pairs]
    return p, corrected
