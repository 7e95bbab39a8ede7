"""The first pass over the data: scales, norms, and cells to start from."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..._core.random import stream
from ..._core.typing import Floats
from ...operators.blocks import stack
from ...operators.stats import join_stats
from .problem import Part, ScaledData

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ...operators.protocol import MatrixOperator
    from ...operators.stats import MatrixStats


# Cells on which starting values are iterated.
SAMPLE_SIZE = 4000


class DataSummary(NamedTuple):
    """What the first pass over the data finds."""

    data: ScaledData
    sample: ScaledData
    """Some cells of every data set, in memory."""
    stats: dict[int, MatrixStats]
    """Of every data set that has cells, before scaling; without sums of rows and columns."""
    n_empty: int
    """Number of cells that are all zero."""
    expressed: NDArray[np.bool_]
    """(n_batches, n_vars): genes with non-zero entries."""
    sizes: NDArray[np.float64]
    """(n_batches, n_vars): squared norms, as scaled."""
    carriers: NDArray[np.float64]
    """(n_batches, n_vars): of how many equal values sum and sum of squares would be; at most
    the number of cells with the gene."""


def summarise(
    parts: Sequence[Part],
    names: Sequence[str],
    *,
    scale_cells: bool,
    totals: NDArray[np.float64] | None,
    scale_genes: bool,
    seed: int,
    gene_scale: Floats | None = None,
    measured: NDArray[np.bool_] | None = None,
    n_rows: int | None = None,
    on_device: bool = False,
) -> DataSummary:
    """Read everything once: scales, norms, and cells to start from.

    Cells are divided by ``totals``, or by the sums of their entries if it is ``None``.
    ``gene_scale`` are those that are known, NaN where they are not. ``measured`` are the
    variables of each data set, (n_batches, n_vars); ``None``: all. ``n_rows`` is the
    number of positions that cells have, where some are left out. With ``on_device``,
    all arrays of a fit stay in the memory of a device if the cells can.
    """
    n_batches, n_vars = len(names), parts[0].op.shape[1]
    n_cells = np.zeros(n_batches, np.int64)
    for part in parts:
        if isinstance(part.batch, int):
            n_cells[part.batch] += part.op.shape[0]
        else:
            some = part.batch[part.batch >= 0]
            n_cells += np.bincount(some, minlength=n_batches)
    n_obs = int(n_cells.sum())
    shape = (n_obs if n_rows is None else n_rows, n_vars)
    chosen = [
        _draw(dataset_rng(seed, name), int(n), SAMPLE_SIZE * int(n) // n_obs)
        for name, n in zip(names, n_cells, strict=True)
    ]
    dtype = parts[0].op.dtype
    cell_scale = np.empty(shape[0], dtype) if scale_cells else None
    squares, sums = np.zeros((2, n_batches, n_vars))
    n_seen = np.zeros(n_batches, np.int64)
    stats: list[list[MatrixStats]] = [[] for _ in names]
    n_empty = 0
    taken: list[list[tuple[MatrixOperator, Floats]]] = [[] for _ in names]
    everything = ScaledData(
        parts, names, n_cells, shape, dtype, None, squares, squares[:, 0]
    )
    for d, rows, op, _ in everything.blocks():
        of_block = op.stats()
        # As long as the data are: not to be kept.
        row_sums = of_block.row_sums
        stats[d].append(of_block._replace(row_sums=np.empty(0), col_sums=np.empty(0)))
        n_empty += int((row_sums == 0).sum())
        scale = np.ones(op.shape[0], dtype)
        if cell_scale is not None:
            total = row_sums if totals is None else totals[rows]
            scale = _inverse(total).astype(dtype)
            cell_scale[rows] = scale
        weight = np.square(scale)[:, None]
        squares[d] += np.asarray(op.square_rmatmul(weight), np.float64)[:, 0]
        sums[d] += np.asarray(op.rmatmul(scale[:, None]), np.float64)[:, 0]
        first = n_seen[d]
        n_seen[d] += op.shape[0]
        index = chosen[d][(chosen[d] >= first) & (chosen[d] < n_seen[d])] - first
        if index.size:
            taken[d].append((op.rows(index), scale[index]))
    # Squares that overflow are refused by whoever reads the statistics.
    squares = np.where(np.isfinite(squares), squares, 0)
    scales = np.ones((n_batches, n_vars))
    if scale_genes:
        scales = _inverse(np.sqrt(squares / np.maximum(n_cells - 1, 1)[:, None]))
        scales[squares == 0] = 1
    if gene_scale is not None:
        scales = np.where(np.isnan(gene_scale), scales, gene_scale)
    if measured is not None:
        scales = np.where(measured, scales, 0)
    data = ScaledData(
        parts,
        names,
        n_cells,
        shape,
        dtype,
        cell_scale,
        scales.astype(dtype),
        np.sum(squares * scales**2, axis=1),
        shared=None if measured is None else measured.all(axis=0),
    )
    joined = {d: join_stats(blocks) for d, blocks in enumerate(stats) if blocks}
    sample = _sample(data, taken)
    if on_device and all(part.op.traceable for part in parts):
        data, sample = data.to_device(), sample.to_device()
    return DataSummary(
        data,
        sample,
        joined,
        n_empty,
        squares > 0,
        squares * scales**2,
        np.square(sums) / np.where(squares > 0, squares, np.inf),
    )


def _inverse(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(1, x, out=np.zeros_like(x), where=x > 0)


def dataset_rng(seed: int, name: str, *more: int) -> np.random.Generator:
    """Random numbers of a data set, whatever other data sets there are."""
    return stream(seed, "data set", name, *more)


def _draw(rng: np.random.Generator, n: int, size: int) -> NDArray[np.intp]:
    return np.sort(rng.choice(n, min(max(size, 200), n), replace=False))


def _sample(
    data: ScaledData, taken: list[list[tuple[MatrixOperator, Floats]]]
) -> ScaledData:
    parts: list[Part] = []
    scales: list[Floats] = []
    first = 0
    n_cells = np.zeros_like(data.n_cells)
    for d, pieces in enumerate(taken):
        if not pieces:
            continue
        op = stack([op for op, _ in pieces])
        parts.append(Part(op, slice(first, first + op.shape[0]), d))
        n_cells[d] = op.shape[0]
        first += op.shape[0]
        scales.extend(scale for _, scale in pieces)
    return ScaledData(
        parts,
        data.names,
        n_cells,
        (first, data.shape[1]),
        data.dtype,
        None if data.cell_scale is None else np.concatenate(scales),
        data.gene_scale,
        # Only differences of objectives matter on a sample.
        np.zeros(len(data.names)),
        shared=data.shared,
    )
