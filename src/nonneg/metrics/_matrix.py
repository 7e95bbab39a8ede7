"""Matrices as they are given to metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from ..operators.validate import canonical_csr


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
