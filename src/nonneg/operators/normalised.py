"""Log-normalised matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .blocks import BlockOperator
from .dask import LazyOperator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .protocol import MatrixOperator


def log_normalised(op: Any, size: NDArray[np.float64], where: str) -> MatrixOperator:
    """``log(1 + x / size)`` of a matrix in memory; empty rows stay zero."""
    scale = np.divide(1, size, out=np.zeros_like(size), where=size > 0)[:, None]
    scale = scale.astype(op.dtype)
    if not isinstance(op, BlockOperator | LazyOperator):
        return op.log1p(scale)
    msg = (
        f"{where} is not in memory, which normalising counts needs here. Read it with "
        "`adata.to_memory()`, or store a log-normalised layer and pass "
        "`log_normalized=True`."
    )
    raise ValueError(msg)
