"""Regions of observations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .._adata.coordinates import read_coordinates
from .._adata.keys import factor_keys
from .._adata.read import resolve_adata
from .._adata.volume import has_volume, read_volume
from .._adata.write import write_values
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_one_of
from ._structures import LEFT, RIGHT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from .._adata.write import Place
    from ._atlas import Atlas

# Parts of a spacing that are rounding.
_ROUNDING = 1e-6


@checked
@shared_docs
def annotate(
    adata: AnnData | SpatialData,
    atlas: Atlas,
    *,
    level: int | None = None,
    regions: Sequence[int | str] | None = None,
    spatial_key: str = "spatial",
    axis_order: Literal["xyz", "zyx"] = "xyz",
    key_added: str | None = None,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    """Look up the region of every observation by its coordinates.

    For voxels, pixels, spots and cells in the space of an atlas. Call it several times,
    with different `level` and `key_added`, to have regions on several scales.

    Parameters
    ----------
    adata
        Annotated data with coordinates in mm, as the spacing of the atlas is.
    atlas
        An atlas of as many axes as there are coordinates: of
        :func:`nonneg.atlas.load`, or :meth:`nonneg.atlas.Atlas.from_arrays`.
    level
        Depth in the ontology: a region is replaced by its ancestor with so many
        ancestors of its own. Branches differ in depth: in Allen's, thalamus is at 4 and
        isocortex at 5. `None`: regions as the atlas labels them.
    regions
        Ids, acronyms or names, such as `["Isocortex", "TH"]`: a region is replaced by its
        nearest ancestor among these, and observations in none of them have no region.
    spatial_key
        Coordinates in `adata.obsm`.
    axis_order
        `"xyz"`: coordinates are x, y and z, the reverse of the axes of the atlas, as
        everywhere in this package. `"zyx"`: in the order of the atlas's axes, such as
        anterior–posterior, dorsal–ventral, medial–lateral of CCF coordinates.
    key_added
        Name of the column instead of `region`; the other names follow.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets the following fields:

    `.obs['region' | key_added]` : categorical
        Acronym, in the order of the ontology; NaN outside.
    `.obs['region_id' | key_added + '_id']` : :class:`pandas.Series` (dtype `int64`)
        Id, 0 outside.
    `.obs['hemisphere']` : categorical
        `left` or `right`, if the atlas knows.
    `.uns['region' | key_added]` : :class:`dict`
        `atlas`, its name; `level`; and `structures`, a data frame of the regions found
        and all their ancestors: `id`, `acronym`, `name`, `parent`, `level`, `color`.
    `.uns['region_colors' | key_added + '_colors']` : :class:`numpy.ndarray`
        The atlas's colours, where it has them, for the plots of scanpy and squidpy.

    Raises
    ------
    KeyError
        If coordinates, a structure or a table do not exist.
    ValueError
        If coordinates and atlas differ in their number of axes or their extent, if no
        observation lies in a region, or if there is no such level.

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> adata = nng.datasets.quilt(12, 30)
    >>> halves = np.repeat([[1], [2]], 6, axis=0) * np.ones((1, 12), int)
    >>> atlas = nng.atlas.Atlas.from_arrays(halves, {1: "upper", 2: "lower"})
    >>> nng.atlas.annotate(adata, atlas)
    >>> adata.obs["region"].value_counts().to_dict()
    {'upper': 72, 'lower': 72}
    """
    check_one_of(axis_order, ("xyz", "zyx"), "axis_order")
    key = factor_keys("region", key_added).uns
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    coords = read_coordinates(target, spatial_key)
    if coords.shape[1] != atlas.labels.ndim:
        msg = (
            f"adata.obsm[{spatial_key!r}] has {coords.shape[1]} columns, but the atlas "
            f"has {atlas.labels.ndim} axes."
        )
        raise ValueError(msg)
    if spatial_key == "spatial" and has_volume(target):
        _check_box(target, atlas)
    position = coords if axis_order == "zyx" else coords[:, ::-1]
    index, inside = _positions(position, atlas)
    rows = np.full(target.n_obs, -1)
    rows[inside] = atlas.rows[tuple(index[inside].T)]
    if (rows < 0).all():
        low, high = position.min(axis=0), position.max(axis=0)
        msg = (
            "No observation lies in a region of the atlas: coordinates reach from "
            f"{low.tolist()} to {high.tolist()} by axis of the atlas, which reaches from "
            f"{list(atlas.origin)} over {_extent(atlas).tolist()}. They must be in mm; see "
            "also axis_order."
        )
        raise ValueError(msg)
    found = np.append(atlas.targets(level, regions), -1)[rows]
    values = _regions(atlas, key, level, found)
    if atlas.hemispheres is not None:
        side = np.zeros(target.n_obs, np.int8)
        side[inside] = atlas.hemispheres[tuple(index[inside].T)]
        side[found < 0] = 0
        codes = np.select([side == LEFT, side == RIGHT], [0, 1], -1)
        values["obs", "hemisphere"] = pd.Categorical.from_codes(
            codes, pd.Index(["left", "right"])
        )
    write_values(target, values)
    return target if copy else None


def _extent(atlas: Atlas) -> NDArray[np.float64]:
    return np.array(atlas.labels.shape) * np.array(atlas.spacing)


def _positions(
    position: NDArray[np.float64], atlas: Atlas
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Where observations are in the array of the atlas, and whether inside."""
    steps = (position - np.array(atlas.origin)) / np.array(atlas.spacing)
    index = np.floor(steps + 0.5 + _ROUNDING).astype(np.intp)
    inside = ((index >= 0) & (index < np.array(atlas.labels.shape))).all(axis=1)
    return index, inside


def _check_box(adata: AnnData, atlas: Atlas) -> None:
    """Raise unless a volume and an atlas cover the same box."""
    box = read_volume(adata).box
    if len(box.shape) != atlas.labels.ndim:
        msg = f"The volume has {len(box.shape)} axes, the atlas {atlas.labels.ndim}."
        raise ValueError(msg)
    spacing = np.array([box.spacing, atlas.spacing])
    if np.allclose(*spacing):
        same = box.shape == atlas.labels.shape
    else:
        # Boxes are whole numbers of voxels.
        gap = np.abs(box.extent - _extent(atlas))
        same = bool((gap <= (1 + _ROUNDING) * spacing.max(axis=0)).all())
    if not same:
        msg = (
            f"The volume has shape {box.shape} with spacing {box.spacing}, the atlas "
            f"{atlas.labels.shape} with {atlas.spacing}: they do not cover the same box. "
            "Both are indexed by z, y, x, and spacings are in mm; transpose or crop the "
            "labels of the atlas. If `nonneg.atlas.align` has brought the image into the "
            "space of the atlas, name its coordinates: spatial_key='spatial_ccf'."
        )
        raise ValueError(msg)


def _regions(
    atlas: Atlas, key: str, level: int | None, found: NDArray[np.intp]
) -> dict[Place, Any]:
    """What is written of rows of the table, -1 where there is none."""
    table = atlas.structures
    used = np.unique(found[found >= 0])
    if not used.size:
        msg = "No observation lies in one of the regions."
        raise ValueError(msg)
    names = table["acronym"].iloc[used]
    codes = np.where(found < 0, -1, np.searchsorted(used, found))
    ids = np.append(table.index.to_numpy(np.int64), 0)
    above = {i for node in table.index[used] for i in atlas.ancestors(int(node))}
    kept = table.index.isin(above | set(table.index[used]))
    columns = ["id", "acronym", "name", "parent", "level", "color"]
    structures = table[kept].reset_index()[columns]
    structures.index = structures.index.astype(str)
    values: dict[Place, Any] = {
        ("obs", key): pd.Categorical.from_codes(codes, pd.Index(names.to_numpy())),
        ("obs", f"{key}_id"): ids[found],
        ("uns", key): {"atlas": atlas.name, "level": level, "structures": structures},
    }
    colors = table["color"].iloc[used].to_numpy(object)
    if (colors != "").all():
        values["uns", f"{key}_colors"] = colors
    return values
