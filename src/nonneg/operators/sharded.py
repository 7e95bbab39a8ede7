"""A matrix whose rows are shared out among several devices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from .blocks import pick
from .dense import DenseOperator
from .protocol import Allocation, Matrix, MatrixOperator
from .sparse import SparseOperator, chunking, host_entries
from .stats import MatrixStats, join_stats

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


_ROWS, _SUM = P("rows"), P()

# How the results of products are held: rows where the data are, sums everywhere.
_RESULTS: dict[str, Any] = {
    "matmul": _ROWS,
    "rmatmul": _SUM,
    "square_rmatmul": _SUM,
    "ratio_matmul": _ROWS,
    "ratio_rmatmul": _SUM,
    "log_ratio": _SUM,
    "allocate": Allocation(*cast("Any", (_ROWS, _SUM, _SUM))),
    "log1p": _ROWS,
}


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["local"],
    meta_fields=["shape", "mesh"],
)
@dataclass(frozen=True)
class ShardedOperator:
    """Equal numbers of rows on each device; each product ends in one sum over devices.

    ``local`` is an operator on the rows of one device, its arrays stacked along a first
    axis that the devices share. Rows of zeros fill the last ones; results are without
    them.
    """

    local: Any
    shape: tuple[int, int]
    mesh: Mesh
    traceable = True

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.local.dtype)

    def stats(self) -> MatrixStats:
        return join_stats([part.stats() for _, part in self._parts()])

    def entropy(self) -> NDArray[np.float64]:
        return np.sum([part.entropy() for _, part in self._parts()], axis=0)

    def matmul(self, b: Matrix) -> jax.Array:
        return _product(self, "matmul", (), (b,))

    def rmatmul(self, w: Matrix) -> jax.Array:
        return _product(self, "rmatmul", (w,), ())

    def square_rmatmul(self, w: Matrix) -> jax.Array:
        return _product(self, "square_rmatmul", (w,), ())

    def ratio_matmul(self, w: Matrix, h: Matrix) -> jax.Array:
        return _product(self, "ratio_matmul", (w,), (h,))

    def ratio_rmatmul(self, w: Matrix, h: Matrix) -> jax.Array:
        return _product(self, "ratio_rmatmul", (w,), (h,))

    def log_ratio(self, w: Matrix, h: Matrix) -> jax.Array:
        return _product(self, "log_ratio", (w,), (h,))

    def allocate(self, w: Matrix, h: Matrix) -> Allocation:
        return _product(self, "allocate", (w,), (h,))

    def log1p(self, scale: NDArray[Any]) -> ShardedOperator:
        local = _product(self, "log1p", (scale,), (), cut=False)
        return ShardedOperator(local, self.shape, self.mesh)

    def row_blocks(self) -> Iterator[tuple[slice, MatrixOperator]]:
        yield slice(0, self.shape[0]), self

    def rows(self, index: NDArray[np.intp]) -> MatrixOperator:
        picked = [
            part.to_host()[positions]
            for part, positions in pick(index, self._parts(), self.shape[0])
        ]
        devices = self.mesh.devices.ravel().tolist()
        if isinstance(self.local, SparseOperator):
            return shard_sparse(sp.vstack(picked, format="csr"), devices)
        return shard_dense(np.concatenate(picked), devices)

    def dense_blocks(self) -> Iterator[tuple[slice, jax.Array]]:
        for i, rows in enumerate(self._rows()):
            part = jax.tree.map(lambda x, i=i: x[i], self.local)
            for inner, x in part.head(rows.stop - rows.start).dense_blocks():
                first = rows.start + inner.start
                yield slice(first, first + len(x)), x

    def to_host(self) -> Any:
        parts = [part.to_host() for _, part in self._parts()]
        if isinstance(self.local, SparseOperator):
            return sp.vstack(parts, format="csr")
        return np.concatenate(parts)

    def _parts(self) -> Iterator[tuple[slice, Any]]:
        """The rows of each device, without those that fill."""
        for i, rows in enumerate(self._rows()):
            part = jax.tree.map(partial(_shard, i), self.local)
            yield rows, part.head(rows.stop - rows.start)

    def _rows(self) -> Iterator[slice]:
        """Those of each device that has some."""
        n_rows = _rows_per_device(self.shape[0], self.mesh.size)
        for start in range(0, self.shape[0], n_rows):
            yield slice(start, min(start + n_rows, self.shape[0]))


def _shard(i: int, x: jax.Array) -> jax.Array:
    (found,) = (s.data for s in x.addressable_shards if s.index[0].start in {i, None})
    return found[0]


@partial(jax.jit, static_argnames=("name", "cut"))
def _product(
    op: ShardedOperator,
    name: str,
    by_row: tuple[Any, ...],
    shared: tuple[Any, ...],
    *,
    cut: bool = True,
) -> Any:
    results = _RESULTS[name]
    n_obs, n_devices = op.shape[0], op.mesh.size
    n_missing = _rows_per_device(n_obs, n_devices) * n_devices - n_obs

    def part(local: Any, by_row: tuple[Any, ...], shared: tuple[Any, ...]) -> Any:
        local = jax.tree.map(lambda x: x[0], local)
        found = getattr(local, name)(*by_row, *shared)
        if not cut:
            return jax.tree.map(lambda x: x[None], found)
        return jax.tree.map(
            lambda spec, x: x if spec == _ROWS else jax.lax.psum(x, "rows"),
            results,
            found,
            is_leaf=lambda x: isinstance(x, P),
        )

    padded = tuple(
        jnp.pad(jnp.asarray(w, op.dtype), ((0, n_missing), (0, 0))) for w in by_row
    )
    found = jax.shard_map(
        part,
        mesh=op.mesh,
        in_specs=(_ROWS, _ROWS, _SUM),
        out_specs=results,
        # Loops over chunks begin with zeros, which are the same on all devices.
        check_vma=False,
    )(op.local, padded, shared)
    if not cut or n_missing == 0:
        return found
    return jax.tree.map(
        lambda spec, x: x[:n_obs] if spec == _ROWS else x,
        results,
        found,
        is_leaf=lambda x: isinstance(x, P),
    )


def _rows_per_device(n_obs: int, n_devices: int) -> int:
    return -(-n_obs // n_devices)


def _place(parts: list[NDArray[Any]], mesh: Mesh, sharding: NamedSharding) -> jax.Array:
    """One array of the parts, each sent to its device only."""
    sent = [
        jax.device_put(part[None], device)
        for part, device in zip(parts, mesh.devices.ravel(), strict=True)
    ]
    shape = (len(parts), *parts[0].shape)
    return jax.make_array_from_single_device_arrays(shape, sharding, sent)


def _mesh(devices: Sequence[jax.Device]) -> tuple[Mesh, NamedSharding]:
    mesh = Mesh(np.array(devices), ("rows",))
    return mesh, NamedSharding(mesh, _ROWS)


def replicated(devices: Sequence[jax.Device]) -> NamedSharding:
    """A copy on each device."""
    return NamedSharding(_mesh(devices)[0], _SUM)


def _split(x: Any, n_devices: int) -> list[Any]:
    n_rows = _rows_per_device(x.shape[0], n_devices)
    return [x[i * n_rows : (i + 1) * n_rows] for i in range(n_devices)]


def shard_dense(x: NDArray[Any], devices: Sequence[jax.Device]) -> ShardedOperator:
    """Share out the rows of a dense matrix."""
    mesh, sharding = _mesh(devices)
    n_rows = _rows_per_device(x.shape[0], len(devices))
    parts = [
        np.pad(part, ((0, n_rows - len(part)), (0, 0)))
        for part in _split(x, len(devices))
    ]
    local = DenseOperator(_place(parts, mesh, sharding))
    return ShardedOperator(local, (x.shape[0], x.shape[1]), mesh)


def shard_sparse(
    x: sp.csr_matrix | sp.csr_array, devices: Sequence[jax.Device]
) -> ShardedOperator:
    """Share out the rows of a sparse matrix."""
    mesh, sharding = _mesh(devices)
    n_rows = _rows_per_device(x.shape[0], len(devices))
    parts = _split(x, len(devices))
    # All devices hold arrays of one size.
    n_chunks, size = chunking(max(part.nnz for part in parts))
    held = [host_entries(_filled(part, n_rows), n_chunks, size) for part in parts]
    local = jax.tree.map(lambda *parts: _place(list(parts), mesh, sharding), *held)
    return ShardedOperator(local, (x.shape[0], x.shape[1]), mesh)


def _filled(x: Any, n_rows: int) -> sp.csr_matrix:
    """A CSR matrix with rows of zeros after its own."""
    indptr = np.pad(x.indptr, (0, n_rows - x.shape[0]), mode="edge")
    return sp.csr_matrix((x.data, x.indices, indptr), shape=(n_rows, x.shape[1]))
