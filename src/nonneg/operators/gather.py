"""All of a matrix in host memory, as stored entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import scipy.sparse as sp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .protocol import MatrixOperator


def to_csr(op: MatrixOperator) -> sp.csr_matrix:
    """The matrix as CSR, read block by block where it is streamed."""
    blocks: Iterator[tuple[slice, Any]] = op.row_blocks()
    # Where there are many, what was read is overwritten by the next but one.
    parts = [
        sp.csr_matrix(block.to_host(), copy=rows.stop - rows.start < op.shape[0])
        for rows, block in blocks
    ]
    return parts[0] if len(parts) == 1 else sp.csr_matrix(sp.vstack(parts))
