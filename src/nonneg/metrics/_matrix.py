"""Matrices as they are given to metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from ..operators.validate import canonical_csr

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_dense_or_csr(x: Any) -> Any:
    """Read a matrix as a dense array, or as CSR without duplicates."""
    if not sp.issparse(x):
        matrix = np.asarray(x)
        if matrix.ndim != 2 or matrix.dtype.kind not in "biuf":
            msg = (
                f"Expected a matrix of numbers, not {matrix.ndim} axes of the dtype "
                f"{matrix.dtype}."
            )
            raise ValueError(msg)
        return matrix
    return canonical_csr(x, None, "the matrix")


def check_counts(x: NDArray[Any], name: str) -> None:
    """Raise unless all entries are finite and not negative."""
    if x.size and not 0 <= x.min() <= x.max() < np.inf:
        msg = (
            f"{name} has negative, infinite or NaN entries; counts and means are at "
            "least 0."
        )
        raise ValueError(msg)
