"""From the arrays found in an AnnData to operators.

This is the only module above the wall that touches JAX.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import pandas as pd
import scipy.sparse as sp
from fast_array_utils import types as fau
from threadpoolctl import threadpool_limits

from ._settings import settings
from .kernels.operators import (
    BlockOperator,
    CSROperator,
    DenseOperator,
    LazyOperator,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from .kernels.operators import MatrixOperator

# Bytes of a row block as it is worked on; two more may be on their way.
_BLOCK_BYTES = 16 * 2**20


@contextmanager
def computing() -> Iterator[None]:
    """Run JAX on the device of the settings, and BLAS on one thread.

    OpenBLAS's threads spin for milliseconds after every call and take the cores
    away from the products, which are ours or XLA's.
    """
    device = None
    if settings.device is not None:
        platform, _, index = settings.device.partition(":")
        device = jax.devices(platform)[int(index or 0)]
    with threadpool_limits(1, user_api="blas"), jax.default_device(device):
        yield


def as_operator(
    x: Any,
    *,
    where: str,
    mask: NDArray[np.bool_] | None = None,
    chunk_size: int | None = None,
) -> MatrixOperator:
    """Operator of any matrix an AnnData can hold.

    Parameters
    ----------
    x
        NumPy, JAX, or scipy.sparse matrix, data frame, dask array, or a backed
        (HDF5 or Zarr) matrix, which is streamed.
    where
        What to call it in messages.
    mask
        Variables to use.
    chunk_size
        Rows per block where the data are streamed.
    """
    if isinstance(x, pd.DataFrame):
        x = x.to_numpy()
    if len(getattr(x, "shape", ())) != 2:
        msg = f"{where} must be a matrix, but is {_describe(x)}."
        raise TypeError(msg)
    _check_numeric(x, where)
    if isinstance(x, fau.DaskArray):
        return _lazy_operator(x, mask)
    if isinstance(x, fau.CSDataset | fau.H5Dataset | fau.ZarrArray):
        return _block_operator(x, where, mask, chunk_size)
    if chunk_size is not None:
        msg = (
            f"chunk_size={chunk_size} only applies to backed data, but {where} is "
            f"{_describe(x)} in memory. Leave it out."
        )
        raise ValueError(msg)
    return local_operator(x, mask=mask, dtype=_dtype(x), n_threads=settings.n_threads)


def local_operator(
    x: Any, *, mask: NDArray[np.bool_] | None, dtype: np.dtype[Any], n_threads: int
) -> MatrixOperator:
    """Operator of a matrix in memory."""
    if mask is not None:
        x = x[:, mask]
    if not sp.issparse(x):
        return DenseOperator(np.asarray(x, dtype) if not isinstance(x, jax.Array) else x)
    csr = x.tocsr().astype(dtype, copy=False)
    if not csr.has_canonical_format:
        csr = csr.copy()
        csr.sum_duplicates()
    return CSROperator(csr, n_threads=n_threads)


def is_streamed(x: Any) -> bool:
    """Whether reading a matrix means reading a file or running a graph."""
    return isinstance(x, fau.DaskArray | fau.CSDataset | fau.H5Dataset | fau.ZarrArray)


def _block_operator(
    x: Any, where: str, mask: NDArray[np.bool_] | None, chunk_size: int | None
) -> BlockOperator:
    n_obs, n_vars = x.shape
    stored = n_vars
    if isinstance(x, fau.CSDataset):
        if x.format != "csr":
            msg = (
                f"{where} is stored as CSC, which cannot be read by rows. Read it into "
                "memory with `adata.to_memory()`, or store it as CSR."
            )
            raise ValueError(msg)
        # A stored entry and its index take twice the room of a dense one.
        stored = 2 * _n_stored(x) // max(n_obs, 1) + 1
    dtype = _dtype(x)
    if chunk_size is None:
        chunk_size = max(_BLOCK_BYTES // (stored * dtype.itemsize), 256)
    # Blocks of equal size: they compile once.
    n_blocks = -(-n_obs // chunk_size)
    size = -(-n_obs // n_blocks)
    bounds = np.minimum(np.arange(n_blocks + 1) * size, n_obs)
    to_operator = partial(
        local_operator, mask=mask, dtype=dtype, n_threads=settings.n_threads
    )
    return BlockOperator(
        lambda rows: to_operator(x[rows]),
        bounds,
        n_vars if mask is None else int(mask.sum()),
        dtype,
    )


def _n_stored(x: Any) -> int:
    return int(x.group["indices"].shape[0])


def _lazy_operator(x: Any, mask: NDArray[np.bool_] | None) -> LazyOperator:
    if np.isnan(x.shape[0]):
        x = x.compute_chunk_sizes()
    x = x.rechunk({1: -1})
    # The workers are the parallelism: one thread for each product.
    to_operator = partial(local_operator, mask=mask, dtype=_dtype(x), n_threads=1)
    return LazyOperator(
        x.to_delayed()[:, 0].tolist(),
        np.concatenate([[0], np.cumsum(x.chunks[0])]),
        x.shape[1] if mask is None else int(mask.sum()),
        _dtype(x),
        to_operator,
    )


def _dtype(x: Any) -> np.dtype[Any]:
    exact = jax.config.jax_enable_x64 and x.dtype == np.float64
    return np.dtype(np.float64 if exact else np.float32)


def _check_numeric(x: Any, where: str) -> None:
    if not (
        np.issubdtype(x.dtype, np.integer)
        or np.issubdtype(x.dtype, np.floating)
        or np.issubdtype(x.dtype, np.bool_)
    ):
        msg = f"{where} must hold numbers, but its dtype is {x.dtype}."
        raise TypeError(msg)


def _describe(x: Any) -> str:
    return f"a {type(x).__module__.partition('.')[0]} {type(x).__name__}"
