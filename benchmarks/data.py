"""Inputs of the benchmarks, simulated on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
import zarr
from anndata.io import sparse_dataset, write_elem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

# Rows that are drawn; longer files repeat them in random order.
_DRAWN = 20_000


def low_rank_dense(
    n_obs: int, n_vars: int, rank: int, *, noise: float = 0.25, seed: int = 0
) -> NDArray[np.float32]:
    """Gamma factors, their product, and Gaussian noise cut off at zero."""
    rng = np.random.default_rng(seed)
    scores = rng.gamma(0.5, size=(n_obs, rank)).astype(np.float32)
    loadings = rng.gamma(0.5, size=(rank, n_vars)).astype(np.float32)
    x = scores @ loadings
    x += noise * x.std() * rng.standard_normal(x.shape, np.float32)
    return np.maximum(x, 0, out=x)


def low_rank_counts(
    n_obs: int, n_vars: int, rank: int, *, density: float = 0.05, seed: int = 1
) -> sp.csr_matrix:
    """Poisson counts around a product of gamma factors, with a share of non-zeros."""
    rng = np.random.default_rng(seed)
    scores = rng.gamma(0.3, size=(n_obs, rank)).astype(np.float32)
    loadings = rng.gamma(0.3, size=(rank, n_vars)).astype(np.float32)
    sample = scores[:1000] @ loadings
    low, high = 1e-6, 1e6
    for _ in range(60):
        depth = np.sqrt(low * high)
        if -np.expm1(-depth * sample).mean() > density:
            high = depth
        else:
            low = depth
    blocks = [
        sp.csr_matrix(
            rng.poisson(depth * (scores[i : i + 2000] @ loadings)).astype(np.float32)
        )
        for i in range(0, n_obs, 2000)
    ]
    return sp.vstack(blocks, format="csr")


def integration_counts(
    sizes: Sequence[int],
    n_vars: int,
    rank: int,
    *,
    density: float = 0.1,
    seed: int = 0,
) -> list[sp.csr_matrix]:
    """Counts of data sets that share metagenes and have parts of their own."""
    rng = np.random.default_rng(seed)
    shared = rng.gamma(0.3, size=(rank, n_vars))
    found = []
    for n in sizes:
        loadings = shared + 0.4 * rng.gamma(0.3, size=(rank, n_vars))
        mean = rng.dirichlet(np.full(rank, 0.15), n) @ loadings
        low, high = 1e-4, 1e4
        for _ in range(40):
            depth = np.sqrt(low * high)
            if -np.expm1(-depth * mean[:500]).mean() > density:
                high = depth
            else:
                low = depth
        mean *= depth * rng.lognormal(0, 0.3, (n, 1))
        blocks = [
            sp.csr_matrix(rng.poisson(mean[i : i + 2000]).astype(np.float32))
            for i in range(0, n, 2000)
        ]
        found.append(sp.vstack(blocks, format="csr"))
    return found


def write_stored(path: Path, n_obs: int, n_vars: int, rank: int) -> None:
    """Write counts as .h5ad or .zarr in pieces, unless the file exists."""
    if path.exists():
        return
    drawn = low_rank_counts(min(n_obs, _DRAWN), n_vars, rank)
    rng = np.random.default_rng(2)
    # A run that is cut off must not leave half a file under the final name.
    partial = path.with_name(f"partial-{path.name}")
    if path.suffix == ".zarr":
        root = zarr.open_group(partial, mode="w")
    else:
        root = h5py.File(partial, "w")
    root.attrs["encoding-type"] = "anndata"
    root.attrs["encoding-version"] = "0.1.0"
    write_elem(root, "X", drawn)
    stored = sparse_dataset(root["X"])
    for start in range(drawn.shape[0], n_obs, drawn.shape[0]):
        rows = rng.permutation(drawn.shape[0])[: n_obs - start]
        stored.append(drawn[rows])
    for name, length in (("obs", n_obs), ("var", n_vars)):
        index = pd.Index([f"{name}_{i}" for i in range(length)])
        write_elem(root, name, pd.DataFrame(index=index))
    if isinstance(root, h5py.File):
        root.close()
    partial.rename(path)


def open_stored(path: Path, how: str) -> ad.AnnData:
    """Open what :func:`write_stored` wrote, without reading the matrix."""
    if how == "lazy":
        return ad.experimental.read_lazy(path)
    if how == "h5ad":
        return ad.read_h5ad(path, backed="r")
    root = zarr.open_group(path, mode="r")
    return ad.AnnData(
        X=sparse_dataset(root["X"]),
        obs=ad.io.read_elem(root["obs"]),
        var=ad.io.read_elem(root["var"]),
    )
