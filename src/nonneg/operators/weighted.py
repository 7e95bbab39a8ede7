"""A matrix whose variables, or observations, count differently."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from .._core.namespace import namespace
from .stats import MatrixStats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from .protocol import Allocation, Matrix, MatrixOperator


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["op", "scale", "row_scale"],
    meta_fields=[],
)
@dataclass(frozen=True)
class WeightedOperator:
    """``diag(row_scale) X diag(scale)``, seen through products with X, which is not copied.

    Least squares with weights ω of the variables, ``Σ ω_j ‖x_j - W h_j‖²``, are those of
    this matrix with ``scale = sqrt(ω)``, and loadings ``h_j sqrt(ω_j)``. Replicates of a
    variable count as one with ω = 1/r each, and multiplicities of a bootstrap sample are
    its weights. Loadings of variables of weight 0 are 0: regress these on the scores
    afterwards. The Kullback-Leibler divergence has no such form: its products are
    refused.
    """

    op: MatrixOperator
    scale: Any
    """(n_vars,)"""
    row_scale: Any = None
    """(n_obs,); None: ones."""

    @property
    def traceable(self) -> bool:
        return self.op.traceable

    @property
    def shape(self) -> tuple[int, int]:
        return self.op.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.op.dtype

    def stats(self) -> MatrixStats:
        stats = self.op.stats()
        scale = np.asarray(self.scale, np.float64)
        rows = np.ones((self.shape[0], 1), self.dtype)
        if self.row_scale is not None:
            rows = np.asarray(self.row_scale, self.dtype)[:, None]
        squares = np.asarray(self.op.square_rmatmul(rows**2), np.float64)[:, 0]
        column = np.asarray(scale[:, None], self.dtype)
        row_sums = np.asarray(self.op.matmul(column), np.float64) * rows
        col_sums = stats.col_sums
        if self.row_scale is not None:
            col_sums = np.asarray(self.op.rmatmul(rows), np.float64)[:, 0]
        return MatrixStats(
            minimum=stats.minimum,
            sq_norm=float(squares @ scale**2),
            row_sums=row_sums[:, 0],
            col_sums=col_sums * scale,
            integer=False,
        )

    def matmul(self, b: Matrix) -> Matrix:
        return self._row_scaled(self.op.matmul(self._scaled(b)))

    def rmatmul(self, w: Matrix) -> Matrix:
        return self._scaled(self.op.rmatmul(self._row_scaled(w)))

    def square_rmatmul(self, w: Matrix) -> Matrix:
        w = self._row_scaled(self._row_scaled(w))
        return self._scaled(self._scaled(self.op.square_rmatmul(w)))

    def ratio_matmul(self, w: Matrix, h: Matrix) -> Matrix:
        raise self._unsupported()

    def ratio_rmatmul(self, w: Matrix, h: Matrix) -> Matrix:
        raise self._unsupported()

    def log_ratio(self, w: Matrix, h: Matrix) -> Any:
        raise self._unsupported()

    def allocate(self, w: Matrix, h: Matrix) -> Allocation:
        raise self._unsupported()

    def entropy(self) -> NDArray[np.float64]:
        raise self._unsupported()

    def row_blocks(self) -> Iterator[tuple[slice, MatrixOperator]]:
        for rows, block in self.op.row_blocks():
            yield rows, WeightedOperator(block, self.scale, self._rows(rows))

    def rows(self, index: NDArray[np.intp]) -> MatrixOperator:
        return WeightedOperator(self.op.rows(index), self.scale, self._rows(index))

    def dense_blocks(self) -> Iterator[tuple[slice, Matrix]]:
        for rows, x in self.op.dense_blocks():
            scaled = x * namespace(x).asarray(self.scale, x.dtype)
            some = self._rows(rows)
            yield rows, scaled if some is None else _by_row(scaled, some)

    def _scaled(self, x: Matrix) -> Matrix:
        return _by_row(x, self.scale)

    def _row_scaled(self, x: Matrix) -> Matrix:
        return x if self.row_scale is None else _by_row(x, self.row_scale)

    def _rows(self, index: Any) -> Any:
        return None if self.row_scale is None else self.row_scale[index]

    def _unsupported(self) -> NotImplementedError:
        msg = (
            "Weights of variables are for least squares: the Kullback-Leibler "
            "divergence of a scaled matrix is another one."
        )
        return NotImplementedError(msg)


def _by_row(x: Matrix, scale: Any) -> Matrix:
    return x * namespace(x).asarray(scale, x.dtype)[:, None]


def weight_variables(op: MatrixOperator, weights: NDArray[Any]) -> WeightedOperator:
    """The matrix whose least squares are those with weights ω >= 0 of the variables."""
    weights = np.asarray(weights, np.float64)
    n_vars = op.shape[1]
    if weights.shape != (n_vars,):
        msg = f"There are {n_vars} variables, but weights have shape {weights.shape}."
        raise ValueError(msg)
    if not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
        msg = "Weights of variables must be finite, not negative, and not all zero."
        raise ValueError(msg)
    return WeightedOperator(op, np.sqrt(weights).astype(op.dtype))
