"""Structure of sparse matrices, checked before compiled code sees it.

Compiled loops, ours and SciPy's, follow row pointers and column indices wherever they
lead. A damaged file must end in a message, not in someone else's memory.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# What SciPy's 32-bit indices can count.
_MAX_INT32 = np.iinfo(np.int32).max


def index_dtype(n_stored: int, n_columns: int) -> type[np.int32 | np.int64]:
    """Smallest type for the pointers and indices of a block."""
    return np.int32 if max(n_stored, n_columns) <= _MAX_INT32 else np.int64


def check_pointers(
    indptr: Any, n_rows: int, n_stored: int, where: str
) -> NDArray[np.int64]:
    """Row pointers as int64, or an error that says what is wrong with them."""
    indptr = np.asarray(indptr)
    if indptr.dtype.kind not in "iu" or indptr.shape != (n_rows + 1,):
        msg = (
            f"{where} is damaged: its indptr must be {n_rows + 1} integers for "
            f"{n_rows} rows, but has shape {indptr.shape} and dtype {indptr.dtype}."
        )
        raise ValueError(msg)
    # Unsigned pointers that do not fit are negative here.
    pointers = indptr.astype(np.int64)
    if (pointers < 0).any():
        msg = (
            f"{where} is damaged: its indptr is negative from row "
            f"{int(np.argmax(pointers < 0))} on. More than 2**31 entries were written "
            "with 32-bit pointers, which wrapped around. Write it again with "
            "`X.indptr.astype(np.int64)`."
        )
        raise ValueError(msg)
    steps = np.diff(pointers)
    if pointers[0] != 0 or (steps < 0).any():
        first = 0 if pointers[0] != 0 else int(np.argmax(steps < 0)) + 1
        msg = (
            f"{where} is damaged: its indptr must start at 0 and never fall, but does "
            f"not at row {first}."
        )
        raise ValueError(msg)
    if pointers[-1] != n_stored:
        msg = (
            f"{where} is damaged: its indptr ends at {pointers[-1]}, but {n_stored} "
            "entries are stored."
        )
        raise ValueError(msg)
    return pointers


def check_indices(indices: NDArray[Any], n_columns: int, where: str) -> None:
    """Raise on column indices that are not columns."""
    if indices.dtype.kind not in "iu":
        msg = f"{where} is damaged: its indices have dtype {indices.dtype}."
        raise ValueError(msg)
    if indices.size == 0:
        return
    # Seen as unsigned, negative ones are large: one pass over sound indices, not two.
    large = n_columns <= np.iinfo(indices.dtype).max
    if large and indices.view(f"u{indices.itemsize}").max() < n_columns:
        return
    low, high = indices.min(), indices.max()
    if low < 0 or high >= n_columns:
        wrong = int(low if low < 0 else high)
        msg = (
            f"{where} is damaged: its indices hold {wrong}, but there are only "
            f"{n_columns} to choose from."
        )
        raise ValueError(msg)


def check_lengths(n_data: int, n_indices: int, where: str) -> None:
    """Raise unless every stored value has an index."""
    if n_data != n_indices:
        msg = f"{where} is damaged: it holds {n_data} values, but {n_indices} indices."
        raise ValueError(msg)


def canonical_csr(
    x: Any,
    dtype: np.dtype[Any] | None,
    where: str,
    columns: NDArray[np.bool_ | np.intp] | None = None,
) -> Any:
    """Some columns of a sparse matrix as CSR of one index type, without duplicates.

    ``dtype`` is that of the values. ``None``: float32 and float64 stay, others become
    float64, because SciPy does not compute with all of them. Arrays are shared with
    ``x`` where they need not change.
    """
    if dtype is None:
        dtype = np.dtype(np.float32 if x.dtype == np.float32 else np.float64)
    if x.format in {"csr", "csc"}:
        x = _compressed(x, dtype, where)
    elif x.format == "coo":
        for name, index, size in zip("ij", (x.row, x.col), x.shape, strict=True):
            check_indices(index, size, f"{where}, along {name},")
        check_lengths(x.data.size, x.row.size, where)
    elif x.format == "bsr":
        with reading(where):
            x.check_format()
    csr = x.tocsr().astype(dtype, copy=False)
    if columns is not None:
        csr = csr[:, columns]
    if not csr.has_canonical_format:
        csr = csr.copy()
        csr.sum_duplicates()
    return csr


def _compressed(x: Any, dtype: np.dtype[Any], where: str) -> Any:
    """CSR or CSC whose arrays are sound, of one index type."""
    n_rows, n_columns = x.shape if x.format == "csr" else x.shape[::-1]
    check_lengths(x.data.size, x.indices.size, where)
    n_stored = int(x.indptr[-1]) if x.indptr.size else 0
    # SciPy allows room behind the last entry.
    if 0 <= n_stored <= x.data.size:
        pointers = check_pointers(x.indptr, n_rows, n_stored, where)
    else:
        pointers = check_pointers(x.indptr, n_rows, x.data.size, where)
    data, indices = x.data[:n_stored], x.indices[:n_stored]
    check_indices(indices, n_columns, where)
    index = index_dtype(n_stored, n_columns)
    same = x.indptr.dtype == index and n_stored == x.data.size
    return type(x)(
        (
            data.astype(dtype, copy=False),
            indices.astype(index, copy=False),
            x.indptr if same else pointers.astype(index),
        ),
        shape=x.shape,
        copy=False,
    )


@contextmanager
def reading(where: str, rows: str = "") -> Iterator[None]:
    """Name what was being read when a file turns out to be damaged."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        msg = f"{where} cannot be read{rows}: {error}"
        raise ValueError(msg) from error


@contextmanager
def refused(what: str, advice: str = "") -> Iterator[None]:
    """Say what a file turns out to be, other than what was expected.

    Damaged files fail in the many ways of what they are read by. Those that may not be
    read, or that memory is too small for, can be sound: nothing is said of them.
    """
    try:
        yield
    except (MemoryError, PermissionError, FileNotFoundError):
        raise
    except Exception as error:
        msg = f"{what}: {error}{advice}"
        raise ValueError(msg) from error
