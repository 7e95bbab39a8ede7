"""Matrices as they are given to metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from ..operators.validate import canonical_csr


def read_dense_or_csr(x: Any) -> Any:
    """Read a matrix as a dense array, or as CSR without duplicates."""
    if not sp.issparse(x):
        return np.asarray(x)
    return canonical_csr(x, None, "the matrix")
