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
from scipy.ndimage import gaussian_filter1d

import nonneg as nng

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


def mosaic_movie(
    side: int = 200, n_frames: int = 5000, rank: int = 60, *, seed: int = 0
) -> ad.AnnData:
    """Two to four sources in each of twelve regions, with smooth noise, as U and V.

    Sources end at a quarter of their height where their region ends. With the default
    sizes and seed 0, the workload on which the program of LocaNMF was measured.
    """
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[0:side, 0:side] / (side - 1.0)
    mask = ((xx - 0.5) / 0.48) ** 2 + ((yy - 0.5) / 0.48) ** 2 < 1
    centres = np.array(
        [(0.6, 0.15), (0.62, 0.4), (0.72, 0.25), (0.82, 0.45), (0.8, 0.7), (0.68, 0.72)]
    )
    fold = np.where(xx >= 0.5, xx, 1 - xx)
    away = (fold[..., None] - centres[:, 0]) ** 2 + (yy[..., None] - centres[:, 1]) ** 2
    number = np.argmin(away, axis=-1) + 1
    labels = np.where(xx >= 0.5, number, -number) * mask
    footprints, traces = [], []
    for region in np.unique(labels[mask]):
        inside = np.argwhere(labels == region)
        for _ in range(rng.integers(2, 5)):
            row, column = inside[rng.integers(len(inside))] / (side - 1.0)
            width = rng.uniform(0.05, 0.11)
            bump = np.exp(-((yy - row) ** 2 + (xx - column) ** 2) / (2 * width**2))
            bump *= np.where(labels == region, 1.0, 0.25)
            bump[bump < 0.02] = 0
            footprints.append(bump[mask])
            traces.append(
                gaussian_filter1d(rng.standard_normal(n_frames), rng.uniform(2, 12))
            )
    a, c = np.array(footprints).T, np.array(traces)
    c *= 0.01 / c.std(axis=1, keepdims=True)
    adata = _with_waves(a, c, (yy[mask], xx[mask]), mask, rank, rng)
    adata.obs["region"] = pd.Categorical(labels[mask].astype(str))
    return adata


def session_movie(n_regions: int = 33, *, quick: bool = False) -> ad.AnnData:
    """A session of 200,000 pixels in 66 regions, of rank 200, as U and V."""
    shape, n_frames, rank = (
        ((475, 594), 10_000, 200) if not quick else ((95, 119), 500, 60)
    )
    if quick:
        n_regions = 6
    drawn = nng.datasets.widefield(
        form="svd", shape=shape, n_regions=n_regions, n_frames=n_frames, fs=30
    )
    mask = np.zeros(shape, bool)
    mask.flat[drawn.obs["voxel"]] = True
    place = np.nonzero(mask)
    adata = _with_waves(
        drawn.obsm["true_footprints"].astype(np.float64),
        drawn.varm["true_traces"].T.astype(np.float64),
        (place[0] / shape[0], place[1] / shape[1]),
        mask,
        rank,
        np.random.default_rng(0),
    )
    adata.obs["region"] = drawn.obs["region"].to_numpy()
    return adata


def _with_waves(
    a: NDArray[np.float64],
    c: NDArray[np.float64],
    place: tuple[NDArray[np.float64], NDArray[np.float64]],
    mask: NDArray[np.bool_],
    rank: int,
    rng: np.random.Generator,
) -> ad.AnnData:
    """Sources and smooth waves of white noise, as many as the rank has room for."""
    yy, xx = place
    n_waves = max(rank - a.shape[1], 0)
    waves = [
        np.cos(
            2 * np.pi * (rng.uniform(0, 4) * xx + rng.uniform(0, 4) * yy + rng.random())
        )
        for _ in range(n_waves)
    ]
    u = np.column_stack([a, 0.01 * np.array(waves).reshape(n_waves, len(a)).T])
    v = np.vstack([c, 0.01 * rng.standard_normal((n_waves, c.shape[1]))])
    adata = nng.io.from_svd(u, v, fs=30, shape=mask.shape, mask=mask, spacing=0.02)
    adata.varm["true_traces"] = c.T.astype(np.float32)
    return adata


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


def first_rows(path: Path, share: float, target: Path) -> None:
    """Write the first rows of a stored AnnData as .h5ad."""
    stored = ad.read_h5ad(path, backed="r")
    stored[: round(stored.n_obs * share)].to_memory().write_h5ad(target)


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
