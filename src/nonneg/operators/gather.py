"""All of a matrix in host memory, as stored entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import scipy.sparse as sp

if TYPE_CHECKING:
    from .protocol import MatrixOperator


def to_csr(op: MatrixOperator) -> sp.csr_matrix:
    """The matrix as CSR, read block by block where it is streamed."""
    blocks: list[Any] = [block for _, block in op.row_blocks()]
    parts = [sp.csr_matrix(block.to_host()) for block in blocks]
    return parts[0] if len(parts) == 1 else sp.csr_matrix(sp.vstack(parts))
