"""Rows of stored matrices, read block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from .validate import check_lengths, check_pointers, index_dtype, reading

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def name_of(x: Any, where: str) -> str:
    """What to call a stored matrix in messages: with its file."""
    group = getattr(x, "group", x)
    file = getattr(group, "file", None)
    path = getattr(file, "filename", None) or getattr(group, "store_path", None)
    return where if path is None or str(path) in where else f"{where} ({path})"


def read_dense_rows(x: Any, where: str) -> Callable[[list[slice]], Any]:
    """Reader of the rows of a stored dense matrix."""

    def read(pieces: list[slice]) -> Any:
        with reading(where, _span(pieces)):
            parts = [x[rows] for rows in pieces or [slice(0, 0)]]
            return parts[0] if len(parts) == 1 else np.concatenate(parts)

    return read


class StoredRows:
    """Row blocks of a stored CSR matrix, read into two buffers in turn.

    Column indices are as stored: what turns a block into an operator checks them.

    One block is worked on while the next one is read. Fresh arrays of this size for
    every block leave the heap several times larger than what is in use.
    """

    def __init__(
        self, x: Any, indptr: NDArray[np.int64], dtype: np.dtype[Any], where: str
    ) -> None:
        self._n_vars = x.shape[1]
        self._data, self._indices = x.group["data"], x.group["indices"]
        self._indptr = indptr
        self._dtype = dtype
        self._where = where
        index = index_dtype(0, self._n_vars)
        self._buffers: list[tuple[NDArray[Any], NDArray[Any]]] = [
            (np.empty(0, dtype), np.empty(0, index)) for _ in range(2)
        ]

    def __call__(self, pieces: list[slice]) -> sp.csr_matrix:
        bounds = [self._indptr[[rows.start, rows.stop]].tolist() for rows in pieces]
        size = sum(stop - start for start, stop in bounds)
        data, indices = self._buffers.pop(0)
        if data.size < size:
            # Room for others that are a little larger.
            room = size + size // 8
            data, indices = (np.empty(room, old.dtype) for old in (data, indices))
        self._buffers.append((data, indices))
        done = 0
        for start, stop in bounds:
            after = done + stop - start
            with reading(self._where, _span(pieces)):
                _read_into(self._data, start, stop, data[done:after])
                _read_into(self._indices, start, stop, indices[done:after])
            done = after
        n_stored = [
            np.diff(self._indptr[rows.start : rows.stop + 1]) for rows in pieces
        ]
        indptr = np.cumsum(np.concatenate([[0], *n_stored]))
        return sp.csr_matrix(
            (
                data[:size],
                indices[:size],
                indptr.astype(index_dtype(size, self._n_vars)),
            ),
            shape=(indptr.size - 1, self._n_vars),
            copy=False,
        )


def _read_into(stored: Any, start: int, stop: int, buffer: NDArray[Any]) -> None:
    """Read a stored vector, and never narrow an integer into another one."""
    if start == stop:
        return
    narrows = buffer.dtype.kind == "i" and not np.can_cast(stored.dtype, buffer.dtype)
    if hasattr(stored, "read_direct") and not narrows:  # HDF5
        stored.read_direct(buffer, np.s_[start:stop])
        return
    values = np.asarray(stored[start:stop])
    if narrows:
        ends = np.iinfo(buffer.dtype)
        values = np.clip(values, ends.min, ends.max)
    buffer[:] = values


def _span(pieces: list[slice]) -> str:
    return f" (rows {pieces[0].start} to {pieces[-1].stop})" if pieces else ""


def read_pointers(x: Any, where: str) -> NDArray[np.int64]:
    """Row pointers of a stored CSR matrix, checked, as are its other arrays' sizes."""
    with reading(where):
        group = x.group
        shape = tuple(int(n) for n in x.shape)
        data, indices, indptr = (group[name] for name in ("data", "indices", "indptr"))
        n_data, n_indices = int(data.shape[0]), int(indices.shape[0])
        pointers = indptr[:]
    check_lengths(n_data, n_indices, where)
    if indices.dtype.kind not in "iu":
        msg = f"{where} is damaged: its indices have dtype {indices.dtype}."
        raise ValueError(msg)
    return check_pointers(pointers, shape[0], n_data, where)
