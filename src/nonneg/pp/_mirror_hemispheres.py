"""One hemisphere from the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from .._adata.read import resolve_adata
from .._adata.volume import read_incomplete, read_volume
from .._adata.write import matrix_place, write_values
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_one_of

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from .._adata.volume import Volume


@checked
@shared_docs
def mirror_hemispheres(
    adata: AnnData | SpatialData,
    *,
    layer: str | None = None,
    method: Literal["mean", "fill"] = "mean",
    midline: float | None = None,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    """Average the hemispheres of a brain, or fill gaps of one from the other.

    Each voxel is paired with its mirror image across the plane x = `midline`. Voxels
    whose image is not in `adata` stay as they are.

    Parameters
    ----------
    adata
        Annotated voxels of a volume: dense and in memory, NaN where entries are missing.
    layer
        Layer to change instead of `adata.X`.
    method
        `"mean"`: both voxels of a pair become the mean of those that have a value, which
        halves the noise and makes the volume symmetric. `"fill"`: only missing entries
        are filled, from the other side.
    midline
        x of the midline, in mm. `None`: halfway between the outermost voxels, which needs
        both hemispheres.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets `.X` or `.layers[layer]`.

    Raises
    ------
    KeyError
        If a layer or a table does not exist, or observations are not voxels of a volume.
    TypeError
        If the matrix is not a dense array in memory.
    ValueError
        If the midline is not between two voxels or on one, or if fewer than half of the
        voxels have a mirror image.

    See Also
    --------
    nonneg.pp.impute_knn : fills what is missing on both sides

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.atlas_expression((12, 10, 8), 20, 3)
    >>> nng.pp.mirror_hemispheres(adata)
    >>> image = nng.get.image(adata, "gene_0")
    >>> bool((image == image[..., ::-1])[image > 0].all())
    True
    """
    check_one_of(method, ("mean", "fill"), "method")
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    volume = read_volume(target)
    x, _ = read_incomplete(target, layer)
    partner = _partners(volume, midline)
    paired = np.flatnonzero(partner >= 0)
    other = x[partner[paired]]
    own = x[paired]
    changed = x.copy()
    if method == "mean":
        both = (own + other) / 2
        own = np.where(np.isnan(both), own, both)
    changed[paired] = np.where(np.isnan(own), other, own)
    write_values(target, {matrix_place(layer): changed})
    return target if copy else None


def _partners(volume: Volume, midline: float | None) -> NDArray[np.intp]:
    """Row of the mirror image of every voxel, -1: none."""
    box, index = volume.box, volume.index
    x = index[:, -1]
    if midline is None:
        twice = int(x.min() + x.max())
    else:
        exact = 2 * (midline - box.origin[-1]) / box.spacing[-1]
        if not 0 <= exact <= 2 * (box.shape[-1] - 1):
            last = box.origin[-1] + (box.shape[-1] - 1) * box.spacing[-1]
            msg = (
                f"midline={midline} must be in the volume, from {box.origin[-1]:g} to "
                f"{last:g} mm."
            )
            raise ValueError(msg)
        twice = round(exact)
        if abs(exact - twice) > 1e-3:
            msg = (
                f"midline={midline} must be on a voxel or halfway between two; the "
                f"nearest is {box.origin[-1] + twice * box.spacing[-1] / 2:g}."
            )
            raise ValueError(msg)
    across = twice - x
    inside = (across >= 0) & (across < box.shape[-1])
    index[:, -1] = np.where(inside, across, 0)
    row = np.full(int(np.prod(box.shape)), -1)
    row[volume.voxel] = np.arange(volume.voxel.size)
    partner = row[np.ravel_multi_index(tuple(index.T), box.shape)]
    partner[~inside] = -1
    n_paired = int((partner >= 0).sum())
    if 2 * n_paired < partner.size:
        msg = (
            f"Only {n_paired} of {partner.size} voxels have a mirror image across "
            f"x = {box.origin[-1] + twice * box.spacing[-1] / 2:g} mm. Give the midline, "
            "or keep voxels of both hemispheres."
        )
        raise ValueError(msg)
    return partner
