"""A CSR matrix in host memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import scipy.sparse as sp
from scipy.special import xlogy

from . import _numba as sparse
from .dense import DENSE_ROWS
from .protocol import Allocation, Matrix, MatrixOperator
from .stats import MatrixStats, csr_stats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


class CSROperator:
    """A CSR matrix in host memory; products run on CPU threads."""

    traceable = False

    def __init__(self, x: sp.csr_matrix | sp.csr_array, *, n_threads: int = 0) -> None:
        self.x = x
        # As it was asked for: joined or picked rows may be worth more threads, or fewer.
        self.n_threads = n_threads
        self._csr = sparse.CSR(
            x.data,
            x.indices,
            x.indptr,
            sparse.split_rows(x.indptr, n_threads),
            x.shape[1],
        )
        self._last: tuple[Matrix, NDArray[Any]] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        n_obs, n_vars = self.x.shape
        return n_obs, n_vars

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.x.dtype)

    def stats(self) -> MatrixStats:
        return csr_stats(self.x)

    def matmul(self, b: Matrix) -> Matrix:
        return sparse.matmul(self._csr, np.asarray(b))

    def rmatmul(self, w: Matrix) -> Matrix:
        return sparse.rmatmul(self._csr, np.asarray(w))

    def square_rmatmul(self, w: Matrix) -> Matrix:
        # Squares that overflow are found by the statistics.
        with np.errstate(over="ignore"):
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

    def allocate_rows(self, w: Matrix, h: Matrix) -> tuple[NDArray[Any], float]:
        """``rows`` and ``log_sum`` of :meth:`allocate`, for one H and many W."""
        if self._last is None or self._last[0] is not h or not isinstance(h, jax.Array):
            self._last = h, sparse.padded_factor(np.asarray(h), self.dtype)
        return sparse.allocate_rows(self._csr, np.asarray(w), self._last[1])

    def log1p(self, scale: NDArray[Any]) -> CSROperator:
        x = self.x.multiply(scale).tocsr()
        np.log1p(x.data, out=x.data)
        return CSROperator(x.astype(self.dtype), n_threads=self.n_threads)

    def to_host(self) -> sp.csr_matrix | sp.csr_array:
        return self.x

    def rows(self, index: NDArray[np.intp]) -> MatrixOperator:
        return CSROperator(self.x[index], n_threads=self.n_threads)

    def dense_blocks(self) -> Iterator[tuple[slice, NDArray[Any]]]:
        for start in range(0, self.shape[0], DENSE_ROWS):
            rows = slice(start, start + DENSE_ROWS)
            yield rows, self.x[rows].toarray()

    def entropy(self) -> NDArray[np.float64]:
        entries = self.x.data.astype(np.float64)
        weights = xlogy(entries, entries)
        return np.bincount(self.x.indices, weights, minlength=self.x.shape[1])

    def row_blocks(self) -> Iterator[tuple[slice, MatrixOperator]]:
        yield slice(0, self.shape[0]), self
