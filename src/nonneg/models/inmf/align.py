"""Alignment of the scores of data sets that were factorized together."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from sklearn.neighbors import NearestNeighbors

from ..._core.random import stream
from ..._core.typing import Floats

if TYPE_CHECKING:
    from numpy.typing import NDArray


type Codes = NDArray[np.intp]

"""Data set, or cluster, of every cell; clusters are -1 where there is none."""


class Aligned(NamedTuple):
    """Scores after quantile alignment."""

    scores: NDArray[np.float64]
    moved: NDArray[np.bool_]
    """Cells that were mapped to the reference."""


def max_factor(scores: Floats, batch: Codes) -> Codes:
    """Leading factor of every cell, -1 where all scores are zero.

    Scores are divided by their root mean square in the data set, so that a factor does
    not lead everywhere because its scores are large.
    """
    n_batches = int(batch.max()) + 1
    rms = np.empty((n_batches, scores.shape[1]))
    for b in range(n_batches):
        squares = np.square(scores[batch == b], dtype=np.float64)
        rms[b] = np.sqrt(squares.mean(axis=0))
    rms[rms == 0] = 1
    return np.where((scores != 0).any(axis=1), (scores / rms[batch]).argmax(axis=1), -1)


def vote(scores: Floats, batch: Codes, clusters: Codes, *, n_neighbors: int) -> Codes:
    """Most frequent cluster among the nearest cells of the same data set.

    All cells vote at once, so that their order does not matter. Of tied clusters the
    cell's own wins, or else the first. Cells without a cluster take no part.
    """
    refined = clusters.copy()
    n_clusters = scores.shape[1]
    for b in np.unique(batch):
        rows = np.flatnonzero((batch == b) & (clusters >= 0))
        k = min(n_neighbors, rows.size - 1)
        if k < 1:
            continue
        finder = NearestNeighbors(n_neighbors=k).fit(scores[rows])
        neighbors = finder.kneighbors(return_distance=False)
        own = clusters[rows]
        cell = np.arange(rows.size)
        ballots = (cell * n_clusters)[:, None] + own[neighbors]
        counts = np.bincount(ballots.ravel(), minlength=rows.size * n_clusters)
        votes = counts.reshape(rows.size, n_clusters)
        kept = votes[cell, own] == votes.max(axis=1)
        refined[rows] = np.where(kept, own, votes.argmax(axis=1))
    return refined


def quantile_align(
    scores: Floats,
    batch: Codes,
    clusters: Codes,
    *,
    reference: int,
    n_quantiles: int,
    min_cells: int,
    max_sample: int,
    seed: int,
) -> Aligned:
    """Give the scores of every cluster the distribution that they have in the reference.

    One monotone map per data set, cluster and factor. Clusters with fewer cells than
    ``min_cells`` in the reference or in the data set stay as they are.
    """
    aligned = np.array(scores, np.float64)
    moved = np.zeros(len(scores), bool)
    levels = np.linspace(0, 1, n_quantiles + 1)
    n_batches, n_clusters = int(batch.max()) + 1, scores.shape[1]
    cells = _members(batch, clusters, n_batches, n_clusters)

    def quantiles(values: Floats, b: int, c: int) -> Floats:
        if len(values) > max_sample:
            rng = stream(seed, b, c)
            values = rng.choice(values, max_sample, replace=False, shuffle=False)
        return np.quantile(values, levels, axis=0)

    for c in range(n_clusters):
        if len(cells[reference][c]) < min_cells:
            continue
        target = quantiles(aligned[cells[reference][c]], reference, c)
        for b in range(n_batches):
            rows = cells[b][c]
            if b == reference or len(rows) < min_cells:
                continue
            values = aligned[rows]
            source = quantiles(values, b, c)
            # A sample misses the ends.
            source[0], source[-1] = values.min(axis=0), values.max(axis=0)
            aligned[rows] = _warp(values, source, target)
            moved[rows] = True
    return Aligned(aligned, moved)


def _members(
    batch: Codes, clusters: Codes, n_batches: int, n_clusters: int
) -> list[list[Codes]]:
    """Cells of every cluster of every data set."""
    # Cells without a cluster come first in each data set, and are dropped.
    group = batch * (n_clusters + 1) + clusters + 1
    order = np.argsort(group, kind="stable")
    ends = np.searchsorted(group[order], np.arange(1, n_batches * (n_clusters + 1)))
    parts = np.split(order, ends)
    return [
        parts[b * (n_clusters + 1) + 1 : (b + 1) * (n_clusters + 1)]
        for b in range(n_batches)
    ]


def _warp(values: Floats, source: Floats, target: Floats) -> Floats:
    """Interpolate from quantiles of the source to those of the target, per column.

    Zero where either does not vary: there is nothing to interpolate between.
    """
    n_levels, k = source.shape
    varies = (source[0] < source[-1]) & (target[0] < target[-1])
    # Where quantiles of the source are tied, mostly at zero, the mean of those of the
    # target: a value has one image.
    steps = np.diff(source, axis=0, prepend=source[:1]) > 0
    tie = np.cumsum(steps, axis=0) + n_levels * np.arange(k)
    sums = np.bincount(tie.ravel(), target.ravel(), minlength=n_levels * k)
    sizes = np.bincount(tie.ravel(), minlength=n_levels * k)
    image = sums[tie] / sizes[tie]
    columns = zip(values.T, source.T, image.T, strict=True)
    return np.column_stack([np.interp(*column) for column in columns]) * varies


def centroid_align(scores: Floats, batch: Codes, *, lam: float) -> Floats:
    """Z-scores without what data sets add to the centroid of each factor's cells.

    Cells belong to factors in proportion to their scores. For every factor, a ridge
    regression with these weights on an intercept, which is not penalised, and the data
    set; its normal equations are diagonal but for the intercept.
    """
    n_batches = int(batch.max()) + 1
    x = np.array(scores, np.float64)
    totals = x.sum(axis=1, keepdims=True)
    weights = np.divide(x, totals, where=totals > 0, out=np.zeros_like(x))
    spread = x.std(axis=0)
    z = (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1)
    cells = [batch == b for b in range(n_batches)]
    sizes = np.stack([weights[rows].sum(axis=0) for rows in cells])[..., None]
    sums = np.stack([weights[rows].T @ z[rows] for rows in cells])
    # A factor that a data set does not have leaves nothing to correct there.
    shrink = np.divide(1, sizes + lam, where=sizes > 0, out=np.zeros_like(sizes))
    total = (shrink * sizes).sum(axis=0)
    intercept = (shrink * sums).sum(axis=0) / np.where(total > 0, total, 1)
    effects = shrink * (sums - sizes * intercept)
    for rows, effect in zip(cells, effects, strict=True):
        z[rows] -= weights[rows] @ effect
    return z
