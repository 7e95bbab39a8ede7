"""The ways in which an AnnData can hold its matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import anndata as ad
import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

type Where = Literal["memory", "stored", "lazy"]

# Three blocks for about a hundred rows, the last one shorter.
_CHUNK_ROWS = 50


@dataclass(frozen=True)
class ArrayType:
    """A way to hold a matrix."""

    name: str
    where: Where
    """In memory, stored in a file and read by rows, or lazy (dask)."""
    hold: Callable[[AnnData, Path], AnnData]
    """The same AnnData with X held in this way; may write into the folder."""

    def __call__(self, adata: AnnData, folder: Path) -> AnnData:
        return self.hold(adata, folder)

    def __str__(self) -> str:
        return self.name


def _in_memory(name: str, convert: Callable[[NDArray[Any]], Any]) -> ArrayType:
    def hold(adata: AnnData, _: Path) -> AnnData:
        result = adata.copy()
        result.X = convert(_dense(adata))
        return result

    return ArrayType(name, "memory", hold)


def _stored(
    name: str,
    convert: Callable[[NDArray[Any]], Any],
    write_and_read: Callable[[AnnData, Path], AnnData],
) -> ArrayType:
    def hold(adata: AnnData, folder: Path) -> AnnData:
        in_memory = adata.copy()
        in_memory.X = convert(_dense(adata))
        return write_and_read(in_memory, folder)

    return ArrayType(name, "stored", hold)


def _lazy(
    name: str,
    convert: Callable[[NDArray[Any]], Any],
    *,
    column_chunks: bool = False,
) -> ArrayType:
    def hold(adata: AnnData, _: Path) -> AnnData:
        import dask.array as da

        x = _dense(adata)
        columns = -(-x.shape[1] // 2) if column_chunks else -1
        lazy = da.from_array(x, chunks=(_CHUNK_ROWS, columns))
        result = adata.copy()
        result.X = lazy.map_blocks(convert)
        return result

    return ArrayType(name, "lazy", hold)


def _dense(adata: AnnData) -> NDArray[Any]:
    x: Any = adata.X
    return np.asarray(x.toarray() if hasattr(x, "toarray") else x)


def _as_jax(x: NDArray[Any]) -> Any:
    import jax.numpy as jnp

    return jnp.asarray(x)


def _unsorted(x: NDArray[Any]) -> sp.csr_matrix:
    """CSR with columns in reverse order and every entry in two halves."""
    csr = sp.csr_matrix(x)
    parts = []
    for i in range(csr.shape[0]):
        row = slice(csr.indptr[i], csr.indptr[i + 1])
        parts.append((csr.data[row][::-1] / 2, csr.indices[row][::-1]))
    data = np.concatenate([part for values, _ in parts for part in (values, values)])
    indices = np.concatenate([part for _, index in parts for part in (index, index)])
    return sp.csr_matrix((data, indices, 2 * csr.indptr), shape=csr.shape)


def _backed_h5ad(adata: AnnData, folder: Path) -> AnnData:
    adata.write_h5ad(folder / "backed.h5ad")
    return ad.read_h5ad(folder / "backed.h5ad", backed="r")


def _sparse_zarr(adata: AnnData, folder: Path) -> AnnData:
    import zarr

    adata.write_zarr(folder / "sparse.zarr")
    group = zarr.open_group(str(folder / "sparse.zarr"), mode="r")
    result = adata.copy()
    result.X = ad.io.sparse_dataset(group["X"])
    return result


def _dense_zarr(adata: AnnData, folder: Path) -> AnnData:
    import zarr

    adata.write_zarr(folder / "dense.zarr")
    group = zarr.open_group(str(folder / "dense.zarr"), mode="r")
    result = adata.copy()
    result.X = group["X"]
    return result


def _read_lazy(adata: AnnData, folder: Path) -> AnnData:
    adata.write_zarr(folder / "lazy.zarr")
    return ad.experimental.read_lazy(folder / "lazy.zarr")


ARRAY_TYPES = [
    _in_memory("numpy-float32", lambda x: x.astype(np.float32)),
    _in_memory("numpy-float64", lambda x: x.astype(np.float64)),
    _in_memory("numpy-float16", lambda x: x.astype(np.float16)),
    _in_memory("numpy-int64", lambda x: x.astype(np.int64)),
    _in_memory("numpy-uint8", lambda x: x.astype(np.uint8)),
    _in_memory("numpy-fortran", lambda x: np.asfortranarray(x, np.float32)),
    _in_memory("csr-matrix", sp.csr_matrix),
    _in_memory("csr-array", sp.csr_array),
    _in_memory("csc-matrix", sp.csc_matrix),
    _in_memory("csc-array", sp.csc_array),
    _in_memory("csr-int32", lambda x: sp.csr_matrix(x.astype(np.int32))),
    _in_memory("csr-float64", lambda x: sp.csr_matrix(x.astype(np.float64))),
    _in_memory("csr-not-canonical", _unsorted),
    _in_memory("jax-float32", lambda x: _as_jax(x.astype(np.float32))),
    _in_memory("jax-int32", lambda x: _as_jax(x.astype(np.int32))),
    _in_memory("jax-float16", lambda x: _as_jax(x.astype(np.float16))),
    _stored("h5ad-csr", sp.csr_matrix, _backed_h5ad),
    _stored("h5ad-csr-int", lambda x: sp.csr_matrix(x.astype(int)), _backed_h5ad),
    _stored("h5ad-dense", lambda x: x.astype(np.float32), _backed_h5ad),
    _stored("zarr-csr", sp.csr_matrix, _sparse_zarr),
    _stored("zarr-dense", lambda x: x.astype(np.float32), _dense_zarr),
    ArrayType("read-lazy-dense", "lazy", _read_lazy),
    ArrayType(
        "read-lazy-csr",
        "lazy",
        lambda adata, folder: _read_lazy(
            _in_memory("", sp.csr_matrix)(adata, folder), folder
        ),
    ),
    _lazy("dask-dense", lambda x: x.astype(np.float32)),
    _lazy("dask-dense-columns", lambda x: x.astype(np.float32), column_chunks=True),
    _lazy("dask-csr-matrix", sp.csr_matrix),
    _lazy("dask-csr-array", sp.csr_array),
]
"""Every way in which an AnnData can hold a matrix that the package takes."""

_ONE_EACH = {
    *("numpy-int64", "numpy-fortran", "csr-array", "csc-matrix", "jax-float32"),
    *("h5ad-csr-int", "h5ad-dense", "zarr-csr", "zarr-dense"),
    *("read-lazy-dense", "read-lazy-csr", "dask-dense-columns", "dask-csr-array"),
}
PLACES = [array_type for array_type in ARRAY_TYPES if array_type.name in _ONE_EACH]
"""One of every place and format: types of values become one before a method sees them."""
