"""What a solver may ask of a matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import numpy as np

from .stats import MatrixStats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


type Matrix = jax.Array | NDArray[Any]


class Allocation(NamedTuple):
    """Entries shared out among the terms of a product, in proportion to them."""

    rows: Matrix
    """(n_obs, k): ``W * ((X / (W H)) @ H.T)``."""
    columns: Matrix
    """(n_vars, k): ``H.T * ((X / (W H)).T @ W)``."""
    log_sum: float | jax.Array
    """``sum(X log(W H))``"""


class MatrixOperator(Protocol):
    """An n_obs x n_vars matrix, seen through its products.

    Operators that hold their matrix in device memory are traceable: registered pytrees
    whose products (``matmul`` to ``allocate``) return device arrays and can be called
    inside ``jit``, ``vmap`` and ``grad``. Products of host operators are NumPy arrays
    and floats. ``stats`` and ``entropy`` are asked for once per fit and give NumPy
    arrays everywhere.
    """

    @property
    def traceable(self) -> bool: ...
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

    def log_ratio(self, w: Matrix, h: Matrix) -> float | jax.Array:
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

    def dense_blocks(self) -> Iterator[tuple[slice, Matrix]]:
        """The matrix in order, as dense blocks of bounded size, where it is held."""
        ...
