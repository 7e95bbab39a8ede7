"""A sparse matrix in device memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax.scipy.special import xlogy

from .csr import CSROperator
from .dense import row_steps
from .protocol import Allocation, Matrix, MatrixOperator
from .stats import MatrixStats, csr_stats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray


# Entries that are worked on at once: with 50 columns, what is gathered for them takes
# 50 MB, whatever the size of the matrix.
CHUNK = 2**18


class Entries(NamedTuple):
    """Stored entries in chunks of one size, (n_chunks, size), sorted by an index.

    The last chunk is filled with zeros in the last row or column.
    """

    data: Any
    rows: Any
    columns: Any


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["by_row", "by_column"],
    meta_fields=["shape"],
)
@dataclass(frozen=True)
class SparseOperator:
    """A sparse matrix in device memory, once sorted by rows and once by columns.

    Every sum then runs over neighbours, and chunks of entries bound what is gathered.
    """

    by_row: Entries
    by_column: Entries
    shape: tuple[int, int] = field()
    traceable = True

    @classmethod
    def from_csr(
        cls,
        x: sp.csr_matrix | sp.csr_array,
        *,
        to_device: Callable[..., Any] | None = None,
    ) -> SparseOperator:
        """Copy a canonical CSR matrix to the device."""
        put = jnp.asarray if to_device is None else to_device
        return jax.tree.map(put, host_entries(x, *chunking(x.nnz)))

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.by_row.data.dtype)

    def stats(self) -> MatrixStats:
        return csr_stats(self.to_host())

    def entropy(self) -> NDArray[np.float64]:
        return CSROperator(self.to_host()).entropy()

    def matmul(self, b: Matrix) -> jax.Array:
        return _matmul(self, jnp.asarray(b, self.dtype))

    def rmatmul(self, w: Matrix) -> jax.Array:
        return _rmatmul(self, jnp.asarray(w, self.dtype))

    def square_rmatmul(self, w: Matrix) -> jax.Array:
        return _square_rmatmul(self, jnp.asarray(w, self.dtype))

    def ratio_matmul(self, w: Matrix, h: Matrix) -> jax.Array:
        return _ratio_matmul(self, *self._factors(w, h))

    def ratio_rmatmul(self, w: Matrix, h: Matrix) -> jax.Array:
        return _ratio_rmatmul(self, *self._factors(w, h))

    def log_ratio(self, w: Matrix, h: Matrix) -> jax.Array:
        return _log_ratio(self, *self._factors(w, h))

    def allocate(self, w: Matrix, h: Matrix) -> Allocation:
        return _allocate(self, *self._factors(w, h))

    def log1p(self, scale: NDArray[Any]) -> SparseOperator:
        return _log1p(self, jnp.asarray(scale, self.dtype))

    def head(self, n_rows: int) -> SparseOperator:
        """The first rows; all others hold nothing."""
        return replace(self, shape=(n_rows, self.shape[1]))

    def rows(self, index: NDArray[np.intp]) -> SparseOperator:
        device = self.by_row.data.device
        return SparseOperator.from_csr(
            self.to_host()[index], to_device=lambda x: jax.device_put(x, device)
        )

    def row_blocks(self) -> Iterator[tuple[slice, MatrixOperator]]:
        yield slice(0, self.shape[0]), self

    def dense_blocks(self) -> Iterator[tuple[slice, jax.Array]]:
        size = 0
        for rows in row_steps(self.shape[0]):
            # The first is the largest: all are made by one compiled function.
            size = size or rows.stop
            block = _dense_rows(self, rows.start, size)
            yield rows, block[: rows.stop - rows.start]

    def to_host(self) -> sp.csr_matrix:
        data, rows, columns = (np.asarray(part).ravel() for part in self.by_row)
        stored = data != 0
        triples = (data[stored], (rows[stored], columns[stored]))
        return sp.csr_matrix(triples, shape=self.shape)

    def _factors(self, w: Matrix, h: Matrix) -> tuple[jax.Array, jax.Array]:
        return jnp.asarray(w, self.dtype), jnp.asarray(h, self.dtype).T


def chunking(n_stored: int) -> tuple[int, int]:
    """Number and size of chunks; sizes are powers of two, which seldom recompile."""
    size = min(CHUNK, 1 << max(n_stored - 1, 1).bit_length())
    return max(-(-n_stored // size), 1), size


def host_entries(x: Any, n_chunks: int, size: int) -> SparseOperator:
    """An operator whose arrays are still on the host."""
    coo = x.tocoo()
    row, column = (index.astype(np.int32, copy=False) for index in (coo.row, coo.col))
    order = np.argsort(column, kind="stable")

    def chunks(values: NDArray[Any], fill: float) -> NDArray[Any]:
        missing = n_chunks * size - values.size
        filled = np.pad(values, (0, missing), constant_values=fill)
        return filled.reshape(n_chunks, size)

    def entries(order: Any) -> Entries:
        last_row, last_column = (max(n - 1, 0) for n in x.shape)
        return Entries(
            chunks(coo.data[order], 0),
            chunks(row[order], last_row),
            chunks(column[order], last_column),
        )

    return SparseOperator(entries(slice(None)), entries(order), tuple(x.shape))


def _add_up(
    entries: Entries,
    by: str,
    shape: tuple[int, ...],
    value: Callable[[Entries], jax.Array],
) -> jax.Array:
    """Sum a row of values for every entry over its row or column."""

    # Recomputed where gradients flow: kept, it would be nnz × k.
    @jax.checkpoint
    def add(total: jax.Array, chunk: Entries) -> tuple[jax.Array, None]:
        index = getattr(chunk, by)
        values = value(chunk)
        return total.at[index].add(values, indices_are_sorted=True), None

    start = jnp.zeros(shape, entries.data.dtype)
    return jax.lax.scan(add, start, entries)[0]


def _mean(chunk: Entries, w: jax.Array, ht: jax.Array) -> jax.Array:
    # Keeps x / mean finite where the mean of a positive entry is zero.
    tiny = jnp.sqrt(jnp.finfo(chunk.data.dtype).tiny)
    return (w[chunk.rows] * ht[chunk.columns]).sum(1) + tiny


@jax.jit
def _matmul(op: SparseOperator, b: jax.Array) -> jax.Array:
    shape = op.shape[0], b.shape[1]
    return _add_up(op.by_row, "rows", shape, lambda e: e.data[:, None] * b[e.columns])


@jax.jit
def _rmatmul(op: SparseOperator, w: jax.Array) -> jax.Array:
    shape = op.shape[1], w.shape[1]
    return _add_up(
        op.by_column, "columns", shape, lambda e: e.data[:, None] * w[e.rows]
    )


@jax.jit
def _square_rmatmul(op: SparseOperator, w: jax.Array) -> jax.Array:
    shape = op.shape[1], w.shape[1]
    return _add_up(
        op.by_column,
        "columns",
        shape,
        lambda e: jnp.square(e.data)[:, None] * w[e.rows],
    )


@jax.jit
def _ratio_matmul(op: SparseOperator, w: jax.Array, ht: jax.Array) -> jax.Array:
    return _add_up(
        op.by_row,
        "rows",
        w.shape,
        lambda e: (e.data / _mean(e, w, ht))[:, None] * ht[e.columns],
    )


@jax.jit
def _ratio_rmatmul(op: SparseOperator, w: jax.Array, ht: jax.Array) -> jax.Array:
    return _add_up(
        op.by_column,
        "columns",
        ht.shape,
        lambda e: (e.data / _mean(e, w, ht))[:, None] * w[e.rows],
    )


def _sum_logs(op: SparseOperator, term: Callable[[Entries], jax.Array]) -> jax.Array:
    # In double precision where there is: some are small differences of large sums.
    one = jax.checkpoint(lambda chunk: term(chunk).sum(dtype=float))
    return jax.lax.map(one, op.by_row).sum()


@jax.jit
def _log_ratio(op: SparseOperator, w: jax.Array, ht: jax.Array) -> jax.Array:
    def term(e: Entries) -> jax.Array:
        ratio = e.data / _mean(e, w, ht)
        return xlogy(e.data, jnp.where(e.data > 0, ratio, 1))

    return _sum_logs(op, term)


@jax.jit
def _allocate(op: SparseOperator, w: jax.Array, ht: jax.Array) -> Allocation:
    return Allocation(
        w * _ratio_matmul(op, w, ht),
        ht * _ratio_rmatmul(op, w, ht),
        _sum_logs(op, lambda e: xlogy(e.data, _mean(e, w, ht))),
    )


@partial(jax.jit, static_argnames="size")
def _dense_rows(op: SparseOperator, start: int, size: int) -> jax.Array:
    def add(total: jax.Array, chunk: Entries) -> tuple[jax.Array, None]:
        row = chunk.rows - start
        # Negative positions would count from the end.
        row = jnp.where(row < 0, size, row)
        return total.at[row, chunk.columns].add(chunk.data, mode="drop"), None

    empty = jnp.zeros((size, op.shape[1]), op.dtype)
    return jax.lax.scan(add, empty, op.by_row)[0]


@jax.jit
def _log1p(op: SparseOperator, scale: jax.Array) -> SparseOperator:
    def scaled(e: Entries) -> Entries:
        return e._replace(data=jnp.log1p(e.data * scale[e.rows, 0]))

    return replace(op, by_row=scaled(op.by_row), by_column=scaled(op.by_column))
