"""A dense matrix in device memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from .._core.precision import partial_sums
from .protocol import Allocation, Matrix, MatrixOperator
from .stats import MatrixStats, dense_stats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


# Rows per step where a dense block-sized intermediate cannot be avoided.
DENSE_ROWS = 1024

# Steps at most: each is compiled where the operator is traced.
_MAX_STEPS = 64


@jax.jit
def _matmul(x: jax.Array, b: jax.Array) -> jax.Array:
    return x @ b


@jax.jit
def _matmul_left(w: jax.Array, x: jax.Array) -> jax.Array:
    return w.T @ x


def _operand(x: Matrix) -> jax.Array:
    """A copy of what the caller may write to while the product is computed."""
    return x if isinstance(x, jax.Array) else jnp.asarray(x)


@jax.jit
def _transposed(x: jax.Array) -> jax.Array:
    return x.T


def row_steps(n_obs: int) -> Iterator[slice]:
    """Rows that are worked on at once."""
    size = max(DENSE_ROWS, -(-n_obs // _MAX_STEPS))
    for start in range(0, n_obs, size):
        yield slice(start, min(start + size, n_obs))


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
    return partial_sums(jax.scipy.special.xlogy(x, jnp.where(x > 0, ratio, 1)))


@jax.jit
def _dense_allocate(
    x: jax.Array, w: jax.Array, h: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    mean = w @ h + jnp.sqrt(jnp.finfo(x.dtype).tiny)
    ratio = x / mean
    # A bound is a small difference of large sums: in double precision where there is.
    log_sum = jax.scipy.special.xlogy(x, mean).sum(dtype=float)
    return w * (ratio @ h.T), h * (w.T @ ratio), log_sum


@jax.jit
def _dense_entropy(x: jax.Array) -> jax.Array:
    return jax.scipy.special.xlogy(x, x).sum(0)


@partial(jax.tree_util.register_dataclass, data_fields=["x"], meta_fields=[])
@dataclass(frozen=True)
class DenseOperator:
    """A matrix in device memory."""

    x: Any
    traceable = True

    def __post_init__(self) -> None:
        # Trees of other things than arrays pass through here when JAX rebuilds them.
        if isinstance(self.x, np.ndarray | list):
            object.__setattr__(self, "x", jnp.asarray(self.x))

    @property
    def shape(self) -> tuple[int, int]:
        n_obs, n_vars = self.x.shape
        return n_obs, n_vars

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.x.dtype)

    def stats(self) -> MatrixStats:
        steps = [dense_stats(x) for _, x in self._steps()]
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
        return _matmul(self.x, _operand(b))

    def rmatmul(self, w: Matrix) -> Matrix:
        # Transposed outside the jitted product: inside, XLA's CPU backend takes
        # twice as long.
        return _transposed(_matmul_left(_operand(w), self.x))

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

    def log_ratio(self, w: Matrix, h: Matrix) -> float | jax.Array:
        w, h = jnp.asarray(w), jnp.asarray(h)
        parts = [_dense_log_ratio(x, w[rows], h) for rows, x in self._steps()]
        sums = jnp.concatenate(parts)
        if isinstance(sums, jax.core.Tracer):
            return sums.sum()
        # Parts of both signs, which nearly cancel.
        return float(np.asarray(sums, np.float64).sum())

    def allocate(self, w: Matrix, h: Matrix) -> Allocation:
        w, h = jnp.asarray(w), jnp.asarray(h)
        steps = [_dense_allocate(x, w[rows], h) for rows, x in self._steps()]
        rows, columns, log_sums = zip(*steps, strict=True)
        return Allocation(
            jnp.concatenate(rows),
            sum(columns, start=jnp.zeros_like(h)).T,
            jnp.stack(log_sums).sum(),
        )

    def log1p(self, scale: NDArray[Any]) -> DenseOperator:
        return DenseOperator(jnp.log1p(self.x * jnp.asarray(scale, self.x.dtype)))

    def head(self, n_rows: int) -> DenseOperator:
        """The first rows."""
        return DenseOperator(self.x[:n_rows])

    def to_host(self) -> NDArray[Any]:
        return np.asarray(self.x)

    def entropy(self) -> NDArray[np.float64]:
        parts = [np.asarray(_dense_entropy(x), np.float64) for _, x in self._steps()]
        return np.sum(parts, axis=0)

    def row_blocks(self) -> Iterator[tuple[slice, MatrixOperator]]:
        yield slice(0, self.shape[0]), self

    def rows(self, index: NDArray[np.intp]) -> MatrixOperator:
        return DenseOperator(self.x[index])

    def dense_blocks(self) -> Iterator[tuple[slice, jax.Array]]:
        yield from self._steps()

    def _steps(self) -> Iterator[tuple[slice, jax.Array]]:
        for rows in row_steps(self.shape[0]):
            yield rows, self.x[rows]
