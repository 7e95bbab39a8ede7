"""Matrices moved to the devices of the settings."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from .dense import DENSE_ROWS, DenseOperator
from .device import data_budget, selected_devices
from .sharded import replicated, shard_dense, shard_sparse
from .sparse import SparseOperator

if TYPE_CHECKING:
    import scipy.sparse as sp

    from .protocol import MatrixOperator


def device_operator(x: Any, *, is_sparse: bool) -> MatrixOperator:
    """Operator of a matrix on the host: NumPy, or canonical CSR.

    Sparse data are held as dense rows where these fit, because devices multiply them
    faster than they gather.
    """
    devices = selected_devices()
    check_float64(x.dtype, devices[0])
    if not is_sparse:
        x = np.asarray(x)
        return (
            DenseOperator(jnp.asarray(x))
            if len(devices) == 1
            else shard_dense(x, devices)
        )
    n_bytes = int(np.prod(x.shape, dtype=np.int64)) * x.dtype.itemsize
    fits = n_bytes <= len(devices) * min(map(data_budget, devices))
    if len(devices) > 1:
        return shard_dense(x.toarray(), devices) if fits else shard_sparse(x, devices)
    return DenseOperator(_densify(x)) if fits else SparseOperator.from_csr(x)


def _densify(x: sp.csr_matrix | sp.csr_array) -> jax.Array:
    """Dense on the device, without being dense on the host."""
    dense = jnp.zeros(x.shape, x.dtype)
    for start in range(0, x.shape[0], DENSE_ROWS):
        rows = x[start : start + DENSE_ROWS].toarray()
        dense = _set_rows(dense, rows, start)
    return dense


@partial(jax.jit, donate_argnums=0)
def _set_rows(dense: jax.Array, rows: jax.Array, start: int) -> jax.Array:
    return jax.lax.dynamic_update_slice(dense, rows, (start, 0))


def to_devices(x: Any) -> jax.Array:
    """A copy on each device of the settings."""
    devices = selected_devices()
    if len(devices) == 1:
        return jnp.asarray(x)
    return jax.device_put(x, replicated(devices))


def check_float64(dtype: np.dtype[Any], device: jax.Device) -> None:
    """Refuse double precision where there is none."""
    if dtype == np.float64 and device.platform == "tpu":
        msg = (
            "A TPU has no float64, which Gaussian processes and jax_enable_x64 need. "
            'Compute on the host with `nonneg.settings.device = "cpu"`.'
        )
        raise ValueError(msg)
