"""CuPy arrays, as rapids-singlecell leaves them in an AnnData."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from .device import on_accelerator


def is_cupy(x: Any) -> bool:
    """Whether an array is CuPy's, dense or sparse, without importing it."""
    return type(x).__module__.partition(".")[0] in {"cupy", "cupyx"}


def from_cupy(x: Any, where: str) -> Any:
    """A CuPy array as a JAX array of the same memory; sparse ones through the host.

    Sparse structure is checked and sorted on the host, like all that is sparse.
    """
    if not on_accelerator():
        msg = (
            f"{where} is a {type(x).__module__.partition('.')[0]} {type(x).__name__}, "
            "but JAX computes on the CPU here. Install JAX for your GPU, "
            "https://docs.jax.dev/en/latest/installation.html, or bring the data to "
            "the host: `rsc.get.anndata_to_CPU(adata)`, or `adata.X = adata.X.get()`."
        )
        raise TypeError(msg)
    if hasattr(x, "indptr"):
        parts = _host(x.data), _host(x.indices), _host(x.indptr)
        kind = sp.csc_matrix if x.format == "csc" else sp.csr_matrix
        return kind(parts, shape=x.shape)
    return jnp.from_dlpack(x)


def _host(x: Any) -> np.ndarray[Any, Any]:
    return np.asarray(jax.device_get(jnp.from_dlpack(x)))
