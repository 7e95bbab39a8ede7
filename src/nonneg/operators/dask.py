"""A dask array on a cluster."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from .blocks import pick, slices, stack
from .protocol import Allocation, Matrix, MatrixOperator
from .stats import MatrixStats, join_stats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray


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

    traceable = False

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
        self._rows = slices(bounds)
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
        blocks = zip(self._rows, self._blocks, strict=True)
        picked = pick(index, blocks, self.shape[0])
        return stack(self._compute([self._call("rows", *part) for part in picked]))

    def dense_blocks(self) -> Iterator[tuple[slice, Matrix]]:
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


def _apply(name: str, operator: MatrixOperator, *args: Any) -> Any:
    result = getattr(operator, name)(*args)
    return jax.tree.map(
        lambda x: np.asarray(x) if isinstance(x, jax.Array) else x, result
    )


def _add(parts: list[Matrix]) -> Matrix:
    return sum((np.asarray(part, np.float64) for part in parts[1:]), start=parts[0])
