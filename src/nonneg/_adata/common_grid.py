"""Pixels of two sessions that are the same place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .coordinates import point_spacing, read_coordinates
from .volume import has_volume, read_volume

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    type Cells = tuple[NDArray[np.intp], NDArray[np.intp], int]
    """Cell of every pixel of one session and of another, -1 for none; number of cells."""


def common_cells(adata: AnnData, other: AnnData, spatial_key: str) -> Cells:
    """Cells of a grid that both sessions have pixels in.

    Where both are of one box, its voxels; otherwise squares (cubes) of the coarser
    spacing, which hold several pixels of the finer session.
    """
    if has_volume(adata) and has_volume(other):
        one, two = read_volume(adata), read_volume(other)
        if one.box == two.box:
            return _shared(one.voxel[:, None], two.voxel[:, None])
    xy = [read_coordinates(each, spatial_key) for each in (adata, other)]
    if xy[0].shape[1] != xy[1].shape[1]:
        msg = (
            f"adata.obsm[{spatial_key!r}] has {xy[0].shape[1]} axes in one session and "
            f"{xy[1].shape[1]} in the other."
        )
        raise ValueError(msg)
    spacing = [point_spacing(some) for some in xy]
    step, coarse = max(spacing), xy[int(np.argmax(spacing))]
    corner = coarse.min(axis=0) - step / 2
    # Half a thousandth: centres on an edge of a cell fall to one side.
    place = [np.floor((some - corner) / step + 5e-4).astype(np.intp) for some in xy]
    return _shared(*place)


def cell_means(
    x: NDArray[Any], cell: NDArray[np.intp], n_cells: int
) -> NDArray[np.float64]:
    """(n_cells, K) means over the pixels of each cell."""
    inside = cell >= 0
    total = np.zeros((n_cells, x.shape[1]))
    np.add.at(total, cell[inside], x[inside])
    return total / np.bincount(cell[inside], minlength=n_cells)[:, None]


def _shared(a: NDArray[np.intp], b: NDArray[np.intp]) -> Cells:
    _, code = np.unique(np.concatenate([a, b]), axis=0, return_inverse=True)
    code = code.ravel()
    left, right = code[: len(a)], code[len(a) :]
    common = np.intersect1d(left, right)
    position = np.full(code.max(initial=0) + 1, -1, np.intp)
    position[common] = np.arange(common.size)
    return position[left], position[right], common.size
