"""Range, norm and sums of a matrix, in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from numpy.typing import NDArray


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


@jax.jit
def dense_stats(x: jax.Array) -> tuple[jax.Array, ...]:
    """Statistics of dense rows."""
    return x.min(), (x * x).sum(1), x.sum(1), x.sum(0), (x == jnp.round(x)).all()


def csr_stats(x: sp.csr_matrix | sp.csr_array) -> MatrixStats:
    """Statistics of a CSR matrix."""
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
