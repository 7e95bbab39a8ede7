"""From the arrays found in an AnnData to operators."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import jax
import numpy as np
import pandas as pd
import scipy.sparse as sp
from fast_array_utils import types as fau

from .._core.settings import settings
from .._core.warnings import warn
from .blocks import BlockOperator
from .cluster import active_client
from .csr import CSROperator
from .dask import LazyOperator
from .dense import DenseOperator
from .device import on_accelerator, selected_devices
from .dlpack import from_cupy, is_cupy
from .place import device_operator
from .stored import StoredRows, name_of, read_dense_rows, read_pointers
from .validate import canonical_csr, reading

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .protocol import MatrixOperator


# Bytes of a row block as it is worked on; two more may be on their way.
_BLOCK_BYTES = 8 * 2**20

# The same for lazy data, as if they were dense: how sparse they are is not known.
_LAZY_BYTES = 16 * 2**20

# The smallest piece that is read at random.
_PIECE_BYTES = 2**17


def as_operator(
    x: Any,
    *,
    where: str,
    columns: NDArray[np.bool_ | np.intp] | None = None,
    chunk_size: int | None = None,
    on_cluster: bool = True,
) -> MatrixOperator:
    """Operator of any matrix an AnnData can hold.

    Parameters
    ----------
    x
        NumPy, JAX, or scipy.sparse matrix, data frame, dask array, or a backed
        (HDF5 or Zarr) matrix, which is streamed.
    where
        What to call it in messages.
    columns
        Variables to use: a mask, or their positions.
    chunk_size
        Rows per block where the data are streamed.
    on_cluster
        Leave products of a dask array to a cluster, if there is one, instead of
        streaming it.
    """
    if isinstance(x, pd.DataFrame):
        x = x.to_numpy()
    if is_cupy(x):
        x = from_cupy(x, where)
    is_stored = isinstance(x, fau.CSDataset | fau.H5Dataset | fau.ZarrArray)
    if is_stored:
        where = name_of(x, where)
    with reading(where):
        shape, dtype = getattr(x, "shape", ()), getattr(x, "dtype", None)
    if len(shape) != 2:
        msg = f"{where} must be a matrix, but is {_describe(x)}."
        raise TypeError(msg)
    check_numeric(dtype, where)
    if is_stored:
        return _block_operator(x, where, columns, chunk_size)
    lazy = isinstance(x, fau.DaskArray)
    if chunk_size is not None:
        hint = "has chunks of its own: rechunk it" if lazy else "is in memory"
        msg = (
            f"chunk_size={chunk_size} only applies to backed data, but {where} is "
            f"{_describe(x)}, which {hint}. Leave it out."
        )
        raise ValueError(msg)
    if lazy:
        return _lazy_operator(x, where, columns, on_cluster=on_cluster)
    return local_operator(
        x,
        where=where,
        columns=columns,
        dtype=_dtype(x),
        n_threads=settings.n_threads,
        on_device=on_accelerator(),
    )


def local_operator(
    x: Any,
    *,
    where: str,
    columns: NDArray[np.bool_ | np.intp] | None,
    dtype: np.dtype[Any],
    n_threads: int,
    on_device: bool,
) -> MatrixOperator:
    """Operator of a matrix in memory, on the host or the devices of the settings."""
    if sp.issparse(x):
        csr = canonical_csr(x, dtype, where, columns)
        if on_device:
            return device_operator(csr, is_sparse=True)
        return CSROperator(csr, n_threads=n_threads)
    if columns is not None:
        x = x[:, columns]
    if isinstance(x, jax.Array) and len(selected_devices()) == 1:
        # Moved only where the settings name another device.
        target = None if settings.device is None else selected_devices()[0]
        return DenseOperator(jax.device_put(x, target).astype(dtype))
    x = np.asarray(x, dtype)
    return device_operator(x, is_sparse=False) if on_device else DenseOperator(x)


def _block_operator(
    x: Any,
    where: str,
    columns: NDArray[np.bool_ | np.intp] | None,
    chunk_size: int | None,
) -> BlockOperator:
    n_obs, n_vars = x.shape
    dtype = _dtype(x)
    row_bytes = n_vars * dtype.itemsize
    open_rows: Callable[[], Callable[[list[slice]], Any]] = partial(
        read_dense_rows, x, where
    )
    stored = x
    if isinstance(x, fau.CSDataset):
        if x.format != "csr":
            msg = (
                f"{where} is stored as CSC, which cannot be read by rows. Read it into "
                "memory with `adata.to_memory()`, or store it as CSR."
            )
            raise ValueError(msg)
        indptr = read_pointers(x, where)
        # A value and its column.
        row_bytes = (dtype.itemsize + 4) * int(indptr[-1]) // n_obs + 1
        open_rows = partial(StoredRows, x, indptr, dtype, where)
        stored = cast("Any", x).group["data"]
    if chunk_size is None:
        chunk_size = max(_BLOCK_BYTES // row_bytes, 256)
    # Blocks of equal size: they compile once.
    n_blocks = -(-n_obs // chunk_size)
    size = -(-n_obs // n_blocks)
    # A stored chunk is read as a whole; so are small pieces, in about the same time.
    chunk_bytes = int(np.prod(stored.chunks or 0)) * stored.dtype.itemsize
    piece = max(_PIECE_BYTES, chunk_bytes) // row_bytes + 1
    if stored is x and stored.chunks:
        piece = -(-piece // stored.chunks[0]) * stored.chunks[0]
    to_operator = partial(
        local_operator,
        where=where,
        columns=columns,
        dtype=dtype,
        n_threads=settings.n_threads,
        on_device=on_accelerator(),
    )
    return BlockOperator(
        open_rows,
        to_operator,
        np.minimum(np.arange(n_blocks + 1) * size, n_obs),
        _n_columns(n_vars, columns),
        dtype,
        np.minimum(np.arange(-(-n_obs // piece) + 1) * piece, n_obs),
        row_bytes,
    )


def _lazy_operator(
    x: Any, where: str, columns: NDArray[np.bool_ | np.intp] | None, *, on_cluster: bool
) -> LazyOperator | BlockOperator:
    if np.isnan(x.shape[0]):
        x = x.compute_chunk_sizes()
    x = x.rechunk({1: -1})
    n_vars = _n_columns(x.shape[1], columns)
    dtype = _dtype(x)
    bounds = np.concatenate([[0], np.cumsum(x.chunks[0])])
    if on_cluster and active_client() is not None:
        if on_accelerator():
            warn(
                f"{where} is on a dask cluster: its products run on the CPUs of the "
                "workers, not on the device. Pass data in memory or backed data to "
                "use it."
            )
        # The workers are the parallelism: one thread for each product.
        to_operator = partial(
            local_operator,
            where=where,
            columns=columns,
            dtype=dtype,
            n_threads=1,
            on_device=False,
        )
        blocks = x.to_delayed()[:, 0].tolist()
        return LazyOperator(blocks, bounds, n_vars, dtype, to_operator)
    to_operator = partial(
        local_operator,
        where=where,
        columns=columns,
        dtype=dtype,
        n_threads=settings.n_threads,
        on_device=on_accelerator(),
    )
    # Whole chunks, several at a time where they are small: a part of a chunk
    # costs as much to read as the chunk.
    limit = _LAZY_BYTES // (x.shape[1] * dtype.itemsize)
    last = np.searchsorted(bounds, bounds + max(limit, 1), side="right") - 1
    starts = [0]
    while starts[-1] < bounds.size - 1:
        starts.append(max(int(last[starts[-1]]), starts[-1] + 1))
    # In the reading thread, unless the user chose otherwise: more threads are slower
    # and leave their heaps behind.
    scheduler = sys.modules["dask"].config.get("scheduler", None) or "synchronous"

    def read(pieces: list[slice]) -> Any:
        parts = [x[rows] for rows in pieces or [slice(0, 0)]]
        joined = (
            parts[0]
            if len(parts) == 1
            else sys.modules["dask.array"].concatenate(parts)
        )
        with reading(where):
            return joined.compute(scheduler=scheduler)

    return BlockOperator(
        lambda: read, to_operator, bounds[starts], n_vars, dtype, pieces=bounds
    )


def _n_columns(n_vars: int, columns: NDArray[np.bool_ | np.intp] | None) -> int:
    return n_vars if columns is None else np.arange(n_vars)[columns].size


def _dtype(x: Any) -> np.dtype[Any]:
    exact = jax.config.jax_enable_x64 and x.dtype == np.float64
    return np.dtype(np.float64 if exact else np.float32)


def check_numeric(dtype: Any, where: str) -> None:
    """Raise on texts, objects and whatever else cannot be computed with."""
    if getattr(dtype, "kind", None) not in {"b", "i", "u", "f"}:
        msg = f"{where} must hold numbers, but its dtype is {dtype}."
        raise TypeError(msg)


def _describe(x: Any) -> str:
    return f"a {type(x).__module__.partition('.')[0]} {type(x).__name__}"
