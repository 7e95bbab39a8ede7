"""Matrices as they are given to metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp


def read_dense_or_csr(x: Any) -> Any:
    """Read a matrix as a dense array, or as CSR without duplicates."""
    is_sparse = sp.issparse(x)
    if not is_sparse:
        return np.asarray(x)
    csr = x.tocsr()
    if csr.has_canonical_format:
        return csr
    csr = csr.copy()
    csr.sum_duplicates()
    return csr
