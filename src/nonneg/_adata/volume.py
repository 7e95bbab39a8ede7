"""Observations that are voxels of a box: where they lie in it, and how it is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from .checks import as_numbers, check_key, check_some
from .read import select_matrix

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

BOX = "volume"
"""In uns: shape, spacing and origin of the box."""
VOXEL = "voxel"
"""In obs: position of each voxel in the flattened box."""

PLANES = {"coronal": 0, "horizontal": 1, "sagittal": 2}
"""Axis along which planes of a kind follow each other."""


@dataclass(frozen=True)
class Box:
    """A regular grid: of arrays indexed by z, y and x."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    """Coordinates of the first voxel's centre."""

    @property
    def extent(self) -> NDArray[np.float64]:
        """Length along every axis."""
        return np.array(self.shape) * np.array(self.spacing)

    def coordinates(self, voxel: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Coordinates x, y, z of some voxels: the reverse of the axes of arrays."""
        index = np.stack(np.unravel_index(voxel, self.shape), axis=1)
        return (np.array(self.origin) + index * np.array(self.spacing))[:, ::-1]

    def to_uns(self) -> dict[str, Any]:
        """As stored."""
        return {
            "shape": np.array(self.shape, np.int64),
            "spacing": np.array(self.spacing, np.float64),
            "origin": np.array(self.origin, np.float64),
        }


@dataclass(frozen=True)
class Volume:
    """Observations in their box."""

    box: Box
    voxel: NDArray[np.intp]
    """(n_obs,): position in the flattened box."""

    @property
    def index(self) -> NDArray[np.intp]:
        """(n_obs, n_axes): position along every axis of the box."""
        return np.stack(np.unravel_index(self.voxel, self.box.shape), axis=1)

    def plane(self, kind: str) -> NDArray[np.intp]:
        """(n_obs,): number of the plane of each voxel."""
        return self.index[:, PLANES[kind]]

    def n_planes(self, kind: str) -> int:
        """Number of planes of the box."""
        return self.box.shape[PLANES[kind]]


def has_volume(adata: AnnData) -> bool:
    """Whether observations are voxels of a box."""
    return BOX in adata.uns and VOXEL in adata.obs


def read_volume(adata: AnnData) -> Volume:
    """Voxels and their box, checked."""
    hint = (
        "Volumes come from `nonneg.io.read_allen_grid`, `nonneg.io.read_agea` or "
        "`nonneg.datasets.atlas_expression`, images from `nonneg.io.read_video`, "
        "`nonneg.io.from_svd` or `nonneg.datasets.widefield`."
    )
    check_key(adata, "uns", BOX, hint=hint)
    check_key(adata, "obs", VOXEL, hint=hint)
    check_some(adata, "observations")
    stored = adata.uns[BOX]
    parts = [np.ravel(stored.get(name, ())) for name in ("shape", "spacing", "origin")]
    n_axes = parts[0].size
    if n_axes not in {2, 3} or any(part.size != n_axes for part in parts):
        msg = (
            f"adata.uns[{BOX!r}] must hold shape, spacing and origin of 2 or 3 axes, "
            f"but holds {dict(stored)}."
        )
        raise ValueError(msg)
    shape = tuple(int(n) for n in parts[0])
    box = Box(shape, *(tuple(float(x) for x in part) for part in parts[1:]))
    voxel = as_numbers(adata.obs[VOXEL], f"adata.obs[{VOXEL!r}]")
    n_voxels = int(np.prod(shape))
    if not (np.isfinite(voxel) & (voxel >= 0) & (voxel < n_voxels)).all():
        msg = (
            f"adata.obs[{VOXEL!r}] must hold positions in a box of {shape}, 0 to "
            f"{n_voxels - 1}."
        )
        raise ValueError(msg)
    position = voxel.astype(np.intp)
    if np.unique(position).size < position.size:
        msg = (
            f"adata.obs[{VOXEL!r}] holds positions more than once, as of objects that "
            "were concatenated. Work on one volume at a time."
        )
        raise ValueError(msg)
    return Volume(box, position)


def read_incomplete(
    adata: AnnData, layer: str | None
) -> tuple[NDArray[np.floating[Any]], str]:
    """A matrix in memory whose missing entries are NaN, and what to call it."""
    x, where = select_matrix(adata, layer=layer)
    if adata.isbacked and layer is None:
        msg = f"{where} is in a file. Read it with `adata.to_memory()` first."
        raise TypeError(msg)
    if sp.issparse(x) or not isinstance(x, np.ndarray):
        msg = (
            f"{where} must be a dense array in memory, in which NaN stands for what is "
            f"missing, but is a {type(x).__name__}. Load lazy data with "
            "`adata.to_memory()`; sparse data have no missing entries."
        )
        raise TypeError(msg)
    if x.dtype.kind != "f":
        x = x.astype(np.float32)
    if np.isinf(x).any():
        msg = f"{where} contains infinite entries. Replace or remove them first."
        raise ValueError(msg)
    return x, where
