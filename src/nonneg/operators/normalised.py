"""Log-normalised matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._core.settings import settings
from .csr import CSROperator
from .dense import DenseOperator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .protocol import MatrixOperator


def log_normalised(
    op: MatrixOperator, size: NDArray[np.float64], where: str
) -> MatrixOperator:
    """``log(1 + x / size)`` of a matrix in memory; empty rows stay zero."""
    scale = np.divide(1, size, out=np.zeros_like(size), where=size > 0)[:, None]
    scale = scale.astype(op.dtype)
    if isinstance(op, CSROperator):
        x = op.x.multiply(scale).tocsr()
        np.log1p(x.data, out=x.data)
        return CSROperator(x.astype(op.dtype), n_threads=settings.n_threads)
    if isinstance(op, DenseOperator):
        return DenseOperator(np.log1p(np.asarray(op.x) * scale))
    msg = (
        f"{where} is not in memory, which normalising counts needs here. Read it with "
        "`adata.to_memory()`, or store a log-normalised layer and pass "
        "`log_normalized=True`."
    )
    raise ValueError(msg)
