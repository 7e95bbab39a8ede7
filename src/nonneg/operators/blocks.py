"""Matrices that are read block by block."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from .csr import CSROperator
from .dense import DenseOperator
from .memory import give_back
from .protocol import Allocation, Matrix, MatrixOperator
from .sparse import SparseOperator
from .stats import MatrixStats, join_stats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray


class BlockOperator:
    """A matrix that is read block by block, the next one while one is worked on.

    Parameters
    ----------
    open_rows
        Begins a pass over the data: returns what reads the rows in some slices, one
        after another. Called once per pass, because reading may go through buffers:
        what was read is overwritten when the next but one is.
    operator
        Turns what was read into its operator.
    bounds
        First row of every block and the number of rows.
    n_vars, dtype
        Of the matrix.
    pieces
        First rows of the smallest pieces that it pays to read at random, and the
        number of rows. `None`: the blocks.
    row_bytes
        What a row takes in memory, on average. `None`: as a dense row.
    """

    traceable = False

    def __init__(
        self,
        open_rows: Callable[[], Callable[[list[slice]], Any]],
        operator: Callable[[Any], MatrixOperator],
        bounds: NDArray[np.int64],
        n_vars: int,
        dtype: np.dtype[Any],
        pieces: NDArray[np.int64] | None = None,
        row_bytes: int | None = None,
    ) -> None:
        self._open_rows = open_rows
        self._operator = operator
        self._rows = slices(bounds)
        self.pieces = slices(bounds if pieces is None else pieces)
        self.row_bytes = n_vars * dtype.itemsize if row_bytes is None else row_bytes
        self.shape = (int(bounds[-1]), n_vars)
        self.dtype = dtype

    def row_blocks(self) -> Iterator[tuple[slice, MatrixOperator]]:
        blocks = self.windows([rows] for rows in self._rows)
        yield from zip(self._rows, blocks, strict=True)

    def windows(self, plan: Iterable[list[slice]]) -> Iterator[MatrixOperator]:
        """Some pieces at a time, the next ones read while these are worked on."""
        read, reader = self._open_rows(), _reader()
        plan = iter(plan)
        ahead = [reader.submit(read, pieces) for pieces in islice(plan, 1)]
        while ahead:
            block = ahead.pop().result()
            ahead = [reader.submit(read, pieces) for pieces in islice(plan, 1)]
            give_back()
            yield self._operator(block)

    def stats(self) -> MatrixStats:
        return join_stats([block.stats() for _, block in self.row_blocks()])

    def matmul(self, b: Matrix) -> Matrix:
        out = np.empty((self.shape[0], b.shape[1]), self.dtype)
        for rows, block in self.row_blocks():
            out[rows] = block.matmul(b)
        return out

    def rmatmul(self, w: Matrix) -> Matrix:
        return self._sum(lambda rows, block: block.rmatmul(w[rows]))

    def square_rmatmul(self, w: Matrix) -> Matrix:
        return self._sum(lambda rows, block: block.square_rmatmul(w[rows]))

    def ratio_matmul(self, w: Matrix, h: Matrix) -> Matrix:
        out = np.empty((self.shape[0], h.shape[0]), self.dtype)
        for rows, block in self.row_blocks():
            out[rows] = block.ratio_matmul(w[rows], h)
        return out

    def ratio_rmatmul(self, w: Matrix, h: Matrix) -> Matrix:
        return self._sum(lambda rows, block: block.ratio_rmatmul(w[rows], h))

    def log_ratio(self, w: Matrix, h: Matrix) -> float:
        return sum(
            float(block.log_ratio(w[rows], h)) for rows, block in self.row_blocks()
        )

    def allocate(self, w: Matrix, h: Matrix) -> Allocation:
        out = np.empty((self.shape[0], h.shape[0]), self.dtype)
        columns: Any = 0.0
        log_sum = 0.0
        for rows, block in self.row_blocks():
            part = block.allocate(w[rows], h)
            out[rows] = part.rows
            columns = columns + np.asarray(part.columns, np.float64)
            log_sum += float(part.log_sum)
        return Allocation(out, np.asarray(columns, self.dtype), log_sum)

    def rows(self, index: NDArray[np.intp]) -> MatrixOperator:
        picked = pick(index, self.row_blocks(), self.shape[0])
        return stack([block.rows(positions) for block, positions in picked])

    def dense_blocks(self) -> Iterator[tuple[slice, Matrix]]:
        for rows, block in self.row_blocks():
            for part, x in block.dense_blocks():
                stop = min(rows.start + part.stop, rows.stop)
                yield slice(rows.start + part.start, stop), x

    def entropy(self) -> NDArray[np.float64]:
        return np.sum([block.entropy() for _, block in self.row_blocks()], axis=0)

    def _sum(self, product: Callable[[slice, MatrixOperator], Matrix]) -> Matrix:
        # Sums over many blocks keep float64 so that they do not lose digits.
        total: Any = 0.0
        for rows, block in self.row_blocks():
            total = total + np.asarray(product(rows, block), np.float64)
        return np.asarray(total, self.dtype)


@cache
def _reader() -> ThreadPoolExecutor:
    """The thread that reads ahead: one for all, because each keeps a heap of its own."""
    return ThreadPoolExecutor(1, thread_name_prefix="nonneg-read")


# A forked child inherits the executor but not its thread.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reader.cache_clear)


def slices(bounds: NDArray[np.int64]) -> list[slice]:
    """Row slices between bounds."""
    return [slice(int(a), int(b)) for a, b in pairwise(bounds)]


def pick[Block](
    index: NDArray[np.intp], blocks: Iterable[tuple[slice, Block]], n_obs: int
) -> Iterator[tuple[Block, NDArray[np.intp]]]:
    """Blocks that hold some of the rows, and the positions of these rows in them."""
    index = np.asarray(index)
    if (np.diff(index) < 0).any():
        msg = "Rows of a matrix in blocks must be asked for in ascending order."
        raise ValueError(msg)
    if index.size and not (index[0] >= 0 and index[-1] < n_obs):
        msg = (
            f"There are {n_obs} rows, but rows {index[0]} to {index[-1]} are asked for."
        )
        raise IndexError(msg)
    for rows, block in blocks:
        start, stop = np.searchsorted(index, [rows.start, rows.stop])
        if stop > start:
            yield block, index[start:stop] - rows.start


def stack(parts: list[Any]) -> MatrixOperator:
    """One operator on the rows of several in memory."""
    if all(isinstance(part, DenseOperator) for part in parts):
        return DenseOperator(jnp.concatenate([part.x for part in parts]))
    on_host = isinstance(parts[0], CSROperator)
    matrices = [part.to_host() for part in parts]
    if not any(map(sp.issparse, matrices)):
        return DenseOperator(np.concatenate(matrices))
    joined = sp.vstack([sp.csr_matrix(x) for x in matrices], format="csr")
    if on_host:
        return CSROperator(joined, n_threads=parts[0].n_threads)
    return SparseOperator.from_csr(joined)
