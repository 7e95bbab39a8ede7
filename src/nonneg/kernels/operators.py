"""What the solvers may ask of a data matrix, for each way of holding one.

A solver never sees entries: it asks for products. Matrices that do not fit in
memory come as row blocks, each of which is an operator itself, so that one pass
over the data serves both products of an iteration.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from scipy.special import xlogy

from . import sparse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from jax.typing import ArrayLike
    from numpy.typing import NDArray

type Matrix = jax.Array | NDArray[Any]


class MatrixStats(NamedTuple):
    """One pass over the data: enough to judge and to initialise a fit."""

    minimum: float
    """Smallest entry; NaN if there is one."""
    sq_norm: float
    row_sums: NDArray[np.float64]
    col_sums: NDArray[np.float64]
    integer: bool
    """Whether all entries are whole numbers."""

    @property
    def total(self) -> float:
        """Sum of all entries."""
        return float(self.col_sums.sum())


class Allocation(NamedTuple):
    """Entries shared out among the terms of a product, in proportion to them."""

    rows: NDArray[Any]
    """(n_obs, k): ``W * ((X / (W H)) @ H.T)``."""
    columns: NDArray[Any]
    """(n_vars, k): ``H.T * ((X / (W H)).T @ W)``."""
    log_sum: float
    """``sum(X log(W H))``"""


class MatrixOperator(Protocol):
    """An n_obs x n_vars matrix, seen through its products."""

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def stats(self) -> MatrixStats:
        """Range, norm and sums."""
        ...

    def matmul(self, b: Matrix) -> Matrix:
        """``X @ b``, (n_obs, k)."""
        ...

    def rmatmul(self, w: Matrix) -> Matrix:
        """``X.T @ w``, (n_vars, k)."""
        ...

    def square_rmatmul(self, w: Matrix) -> Matrix:
        """``(X * X).T @ w``, (n_vars, k)."""
        ...

    def ratio_matmul(self, w: Matrix, h: Matrix) -> Matrix:
        """``(X / (W H)) @ H.T``, (n_obs, k)."""
        ...

    def ratio_rmatmul(self, w: Matrix, h: Matrix) -> Matrix:
        """``(X / (W H)).T @ W``, (n_vars, k)."""
        ...

    def log_ratio(self, w: Matrix, h: Matrix) -> float:
        """``sum(X log(X / (W H)))``."""
        ...

    def allocate(self, w: Matrix, h: Matrix) -> Allocation:
        """Share the entries out among the terms of ``W H``."""
        ...

    def entropy(self) -> NDArray[np.float64]:
        """``sum(X log X)`` of every column."""
        ...

    def row_blocks(self) -> Iterator[tuple[slice, MatrixOperator]]:
        """The matrix in order, as one or more operators on its rows."""
        ...

    def rows(self, index: NDArray[np.intp]) -> MatrixOperator:
        """An operator in memory on some rows, in ascending order."""
        ...

    def dense_blocks(self) -> Iterator[tuple[slice, NDArray[Any]]]:
        """The matrix in order, as dense blocks of bounded size."""
        ...


# --- dense ------------------------------------------------------------------


# Rows per step where a dense block-sized intermediate cannot be avoided.
_DENSE_ROWS = 1024


@jax.jit
def _matmul(x: jax.Array, b: jax.Array) -> jax.Array:
    return x @ b


@jax.jit
def _matmul_left(w: jax.Array, x: jax.Array) -> jax.Array:
    return w.T @ x


def _safe_ratio(x: jax.Array, w: jax.Array, h: jax.Array) -> jax.Array:
    return x / (w @ h + jnp.sqrt(jnp.finfo(x.dtype).tiny))


@jax.jit
def _dense_ratio_matmul(x: jax.Array, w: jax.Array, h: jax.Array) -> jax.Array:
    return _safe_ratio(x, w, h) @ h.T


@jax.jit
def _dense_ratio_rmatmul(x: jax.Array, w: jax.Array, h: jax.Array) -> jax.Array:
    return w.T @ _safe_ratio(x, w, h)


@jax.jit
def _dense_log_ratio(x: jax.Array, w: jax.Array, h: jax.Array) -> jax.Array:
    ratio = _safe_ratio(x, w, h)
    return jnp.sum(jax.scipy.special.xlogy(x, jnp.where(x > 0, ratio, 1)))


@jax.jit
def _dense_allocate(
    x: jax.Array, w: jax.Array, h: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    mean = w @ h + jnp.sqrt(jnp.finfo(x.dtype).tiny)
    ratio = x / mean
    log_sum = jax.scipy.special.xlogy(x, mean).sum()
    return w * (ratio @ h.T), h * (w.T @ ratio), log_sum


@jax.jit
def _dense_entropy(x: jax.Array) -> jax.Array:
    return jax.scipy.special.xlogy(x, x).sum(0)


class DenseOperator:
    """A matrix in device memory."""

    def __init__(self, x: ArrayLike) -> None:
        self.x = jnp.asarray(x)

    @property
    def shape(self) -> tuple[int, int]:
        n_obs, n_vars = self.x.shape
        return n_obs, n_vars

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.x.dtype)

    def stats(self) -> MatrixStats:
        steps = [_dense_stats(x) for _, x in self._steps()]
        minimum, squares, rows, columns, whole = (
            [np.asarray(part, np.float64) for part in parts]
            for parts in zip(*steps, strict=True)
        )
        return MatrixStats(
            minimum=float(np.min(minimum)),
            sq_norm=float(sum(part.sum() for part in squares)),
            row_sums=np.concatenate(rows),
            col_sums=np.sum(columns, axis=0),
            integer=bool(np.all(whole)),
        )

    def matmul(self, b: Matrix) -> Matrix:
        return _matmul(self.x, jnp.asarray(b))

    def rmatmul(self, w: Matrix) -> Matrix:
        # Transposed outside the jitted product: inside, XLA's CPU backend takes
        # twice as long.
        return _matmul_left(jnp.asarray(w), self.x).T

    def square_rmatmul(self, w: Matrix) -> Matrix:
        w = jnp.asarray(w)
        parts = (_matmul_left(w[rows], x * x) for rows, x in self._steps())
        return sum(parts, start=jnp.zeros((w.shape[1], self.shape[1]), w.dtype)).T

    def ratio_matmul(self, w: Matrix, h: Matrix) -> Matrix:
        w, h = jnp.asarray(w), jnp.asarray(h)
        parts = [_dense_ratio_matmul(x, w[rows], h) for rows, x in self._steps()]
        return jnp.concatenate(parts)

    def ratio_rmatmul(self, w: Matrix, h: Matrix) -> Matrix:
        w, h = jnp.asarray(w), jnp.asarray(h)
        parts = (_dense_ratio_rmatmul(x, w[rows], h) for rows, x in self._steps())
        return sum(parts, start=jnp.zeros_like(h)).T

    def log_ratio(self, w: Matrix, h: Matrix) -> float:
        w, h = jnp.asarray(w), jnp.asarray(h)
        return sum(float(_dense_log_ratio(x, w[rows], h)) for rows, x in self._steps())

    def allocate(self, w: Matrix, h: Matrix) -> Allocation:
        w, h = jnp.asarray(w), jnp.asarray(h)
        steps = [_dense_allocate(x, w[rows], h) for rows, x in self._steps()]
        rows, columns, log_sums = zip(*steps, strict=True)
        return Allocation(
            np.asarray(jnp.concatenate(rows)),
            np.asarray(sum(columns, start=jnp.zeros_like(h))).T,
            sum(map(float, log_sums)),
        )

    def entropy(self) -> NDArray[np.float64]:
        parts = [np.asarray(_dense_entropy(x), np.float64) for _, x in self._steps()]
        return np.sum(parts, axis=0)

    def row_blocks(self) -> Iterator[tuple[slice, MatrixOperator]]:
        yield slice(0, self.shape[0]), self

    def rows(self, index: NDArray[np.intp]) -> MatrixOperator:
        return DenseOperator(self.x[index])

    def dense_blocks(self) -> Iterator[tuple[slice, NDArray[Any]]]:
        for rows, x in self._steps():
            yield rows, np.asarray(x)

    def _steps(self) -> Iterator[tuple[slice, jax.Array]]:
        for start in range(0, self.shape[0], _DENSE_ROWS):
            rows = slice(start, start + _DENSE_ROWS)
            yield rows, self.x[rows]


# --- sparse -----------------------------------------------------------------


class CSROperator:
    """A CSR matrix in host memory; products run on CPU threads."""

    def __init__(self, x: sp.csr_matrix | sp.csr_array, *, n_threads: int = 0) -> None:
        self.x = x
        self._csr = sparse.CSR(
            x.data,
            x.indices,
            x.indptr,
            sparse.split_rows(x.indptr, n_threads),
            x.shape[1],
        )

    @property
    def shape(self) -> tuple[int, int]:
        n_obs, n_vars = self.x.shape
        return n_obs, n_vars

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.x.dtype)

    def stats(self) -> MatrixStats:
        return _csr_stats(self.x)

    def matmul(self, b: Matrix) -> Matrix:
        return sparse.matmul(self._csr, np.asarray(b))

    def rmatmul(self, w: Matrix) -> Matrix:
        return sparse.rmatmul(self._csr, np.asarray(w))

    def square_rmatmul(self, w: Matrix) -> Matrix:
        squares = self._csr._replace(data=np.square(self._csr.data))
        return sparse.rmatmul(squares, np.asarray(w))

    def ratio_matmul(self, w: Matrix, h: Matrix) -> Matrix:
        return sparse.ratio_matmul(self._csr, np.asarray(w), np.asarray(h).T)

    def ratio_rmatmul(self, w: Matrix, h: Matrix) -> Matrix:
        return sparse.ratio_rmatmul(self._csr, np.asarray(w), np.asarray(h).T)

    def log_ratio(self, w: Matrix, h: Matrix) -> float:
        return sparse.log_ratio(self._csr, np.asarray(w), np.asarray(h).T)

    def allocate(self, w: Matrix, h: Matrix) -> Allocation:
        return Allocation(*sparse.allocate(self._csr, np.asarray(w), np.asarray(h).T))

    def rows(self, index: NDArray[np.intp]) -> MatrixOperator:
        return CSROperator(self.x[index], n_threads=self._csr.bounds.size - 1)

    def dense_blocks(self) -> Iterator[tuple[slice, NDArray[Any]]]:
        for start in range(0, self.shape[0], _DENSE_ROWS):
            rows = slice(start, start + _DENSE_ROWS)
            yield rows, self.x[rows].toarray()

    def entropy(self) -> NDArray[np.float64]:
        entries = self.x.data.astype(np.float64)
        weights = xlogy(entries, entries)
        return np.bincount(self.x.indices, weights, minlength=self.x.shape[1])

    def row_blocks(self) -> Iterator[tuple[slice, MatrixOperator]]:
        yield slice(0, self.shape[0]), self


# --- row blocks -------------------------------------------------------------


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
        self._rows = _slices(bounds)
        self.pieces = _slices(bounds if pieces is None else pieces)
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
        return sum(block.log_ratio(w[rows], h) for rows, block in self.row_blocks())

    def allocate(self, w: Matrix, h: Matrix) -> Allocation:
        out = np.empty((self.shape[0], h.shape[0]), self.dtype)
        columns: Any = 0.0
        log_sum = 0.0
        for rows, block in self.row_blocks():
            part = block.allocate(w[rows], h)
            out[rows] = part.rows
            columns = columns + np.asarray(part.columns, np.float64)
            log_sum += part.log_sum
        return Allocation(out, np.asarray(columns, self.dtype), log_sum)

    def rows(self, index: NDArray[np.intp]) -> MatrixOperator:
        parts = []
        for rows, block in self.row_blocks():
            start, stop = np.searchsorted(index, [rows.start, rows.stop])
            if stop > start:
                parts.append(block.rows(index[start:stop] - rows.start))
        return stack(parts)

    def dense_blocks(self) -> Iterator[tuple[slice, NDArray[Any]]]:
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


class LazyOperator:
    """A dask array: products run wherever dask runs them.

    Parameters
    ----------
    blocks
        One delayed :mod:`numpy` or CSR array per row block.
    bounds
        First row of every block and the number of rows.
    n_vars, dtype
        Of the matrix.
    operator
        Turns an array into its operator, on the worker.
    """

    def __init__(
        self,
        blocks: list[Any],
        bounds: NDArray[np.int64],
        n_vars: int,
        dtype: np.dtype[Any],
        operator: Callable[[Any], MatrixOperator],
    ) -> None:
        import dask

        self._dask = dask
        self._blocks = [dask.delayed(operator, pure=False)(block) for block in blocks]
        self._rows = _slices(bounds)
        self.shape = (int(bounds[-1]), n_vars)
        self.dtype = dtype

    def row_blocks(self) -> Iterator[tuple[slice, MatrixOperator]]:
        yield slice(0, self.shape[0]), self

    def stats(self) -> MatrixStats:
        return join_stats(self._compute([self._call("stats", b) for b in self._blocks]))

    def matmul(self, b: Matrix) -> Matrix:
        shared = self._dask.delayed(np.asarray(b))
        return self._stack([self._call("matmul", x, shared) for x in self._blocks])

    def rmatmul(self, w: Matrix) -> Matrix:
        return self._sum(
            [self._call("rmatmul", x, self._part(w, i)) for i, x in self._numbered()]
        )

    def square_rmatmul(self, w: Matrix) -> Matrix:
        return self._sum(
            [
                self._call("square_rmatmul", x, self._part(w, i))
                for i, x in self._numbered()
            ]
        )

    def ratio_matmul(self, w: Matrix, h: Matrix) -> Matrix:
        shared = self._dask.delayed(np.asarray(h))
        return self._stack(
            [
                self._call("ratio_matmul", x, self._part(w, i), shared)
                for i, x in self._numbered()
            ]
        )

    def ratio_rmatmul(self, w: Matrix, h: Matrix) -> Matrix:
        shared = self._dask.delayed(np.asarray(h))
        return self._sum(
            [
                self._call("ratio_rmatmul", x, self._part(w, i), shared)
                for i, x in self._numbered()
            ]
        )

    def log_ratio(self, w: Matrix, h: Matrix) -> float:
        shared = self._dask.delayed(np.asarray(h))
        return sum(
            self._compute(
                [
                    self._call("log_ratio", x, self._part(w, i), shared)
                    for i, x in self._numbered()
                ]
            )
        )

    def allocate(self, w: Matrix, h: Matrix) -> Allocation:
        shared = self._dask.delayed(np.asarray(h))
        parts = self._compute(
            [
                self._call("allocate", x, self._part(w, i), shared)
                for i, x in self._numbered()
            ]
        )
        rows, columns, log_sums = zip(*parts, strict=True)
        return Allocation(
            np.concatenate(rows), np.asarray(_add(list(columns))), sum(log_sums)
        )

    def rows(self, index: NDArray[np.intp]) -> MatrixOperator:
        tasks = []
        for block, rows in zip(self._blocks, self._rows, strict=True):
            start, stop = np.searchsorted(index, [rows.start, rows.stop])
            if stop > start:
                tasks.append(self._call("rows", block, index[start:stop] - rows.start))
        return stack(self._compute(tasks))

    def dense_blocks(self) -> Iterator[tuple[slice, NDArray[Any]]]:
        for block, rows in zip(self._blocks, self._rows, strict=True):
            (local,) = self._compute(
                [self._call("rows", block, np.arange(rows.stop - rows.start))]
            )
            for part, x in local.dense_blocks():
                stop = min(rows.start + part.stop, rows.stop)
                yield slice(rows.start + part.start, stop), x

    def entropy(self) -> NDArray[np.float64]:
        parts = self._compute([self._call("entropy", x) for x in self._blocks])
        return np.sum(parts, axis=0)

    def _numbered(self) -> Iterator[tuple[int, Any]]:
        return iter(enumerate(self._blocks))

    def _part(self, w: Matrix, i: int) -> Any:
        return np.asarray(w[self._rows[i]])

    def _call(self, name: str, block: Any, *args: Any) -> Any:
        return self._dask.delayed(partial(_apply, name))(block, *args)

    def _compute(self, tasks: list[Any]) -> list[Any]:
        return list(self._dask.compute(*tasks))

    def _stack(self, tasks: list[Any]) -> Matrix:
        return np.concatenate(self._compute(tasks))

    def _sum(self, tasks: list[Any]) -> Matrix:
        # A tree of sums: no worker ever holds more than eight products.
        add = self._dask.delayed(_add)
        while len(tasks) > 1:
            tasks = [add(tasks[i : i + 8]) for i in range(0, len(tasks), 8)]
        return np.asarray(self._compute(tasks)[0], self.dtype)


@cache
def _reader() -> ThreadPoolExecutor:
    """The thread that reads ahead: one for all, because each keeps a heap of its own."""
    return ThreadPoolExecutor(1, thread_name_prefix="nonneg-read")


# A forked child inherits the executor but not its thread.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reader.cache_clear)


def _slices(bounds: NDArray[np.int64]) -> list[slice]:
    return [slice(int(a), int(b)) for a, b in pairwise(bounds)]


def stack(parts: list[Any]) -> MatrixOperator:
    """One operator on the rows of several in memory, all of one kind."""
    matrices = [part.x for part in parts]
    if isinstance(parts[0], CSROperator):
        return CSROperator(sp.vstack(matrices, format="csr"))
    return DenseOperator(jnp.concatenate(matrices))


def _apply(name: str, operator: MatrixOperator, *args: Any) -> Any:
    result = getattr(operator, name)(*args)
    return np.asarray(result) if isinstance(result, jax.Array) else result


def _add(parts: list[Matrix]) -> Matrix:
    return sum((np.asarray(part, np.float64) for part in parts[1:]), start=parts[0])


# --- statistics -------------------------------------------------------------


@jax.jit
def _dense_stats(x: jax.Array) -> tuple[jax.Array, ...]:
    return x.min(), (x * x).sum(1), x.sum(1), x.sum(0), (x == jnp.round(x)).all()


def _csr_stats(x: sp.csr_matrix | sp.csr_array) -> MatrixStats:
    implicit_zeros = x.nnz < np.prod(x.shape)
    return MatrixStats(
        minimum=float(np.min(x.data, initial=0.0 if implicit_zeros else np.inf)),
        sq_norm=float(np.einsum("i,i->", x.data, x.data, dtype=np.float64)),
        row_sums=np.asarray(x.sum(1, dtype=np.float64)).ravel(),
        col_sums=np.asarray(x.sum(0, dtype=np.float64)).ravel(),
        integer=bool((x.data == np.rint(x.data)).all()),
    )


def join_stats(parts: list[MatrixStats]) -> MatrixStats:
    """Statistics of rows that are held in several matrices."""
    return MatrixStats(
        minimum=float(np.min([p.minimum for p in parts])),
        sq_norm=sum(p.sq_norm for p in parts),
        row_sums=np.concatenate([p.row_sums for p in parts]),
        col_sums=np.sum([p.col_sums for p in parts], axis=0),
        integer=all(p.integer for p in parts),
    )
