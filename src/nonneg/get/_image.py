"""Values of observations on a grid as an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._adata.coordinates import read_coordinates
from .._adata.grid import find_grid
from .._adata.tables import read_table
from .._adata.views import read_factors
from .._adata.volume import has_volume, read_volume
from .._core.arguments import checked
from .._core.docs import shared_docs

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray
    from spatialdata import SpatialData


@checked
@shared_docs
def image(
    adata: AnnData | SpatialData,
    values: str | ArrayLike,
    *,
    spatial_key: str = "spatial",
    shape: tuple[int, ...] | None = None,
    table_key: str | None = None,
) -> NDArray[np.floating[Any]]:
    """Arrange values of observations on a regular grid as an image.

    For pixels, voxels and arrays of spots: filters, transforms and comparisons that
    work on rasters, or `plt.imshow`. Observations may be off their place by up to 0.3
    of the spacing, as the spots of arrays are.

    Parameters
    ----------
    adata
        Annotated data.
    values
        What to show: a column of `adata.obs` (of a categorical one, the codes), a
        factor (`"nmf_0"`: the first under the key `nmf`), a variable (its column of
        `adata.X`), looked up in this order; or an array with one value per
        observation.
    spatial_key
        Coordinates in `adata.obsm`: x, y and possibly z.
    shape
        Shape of the whole image, as rows and columns (planes, rows, columns in 3-D),
        where the coordinates are positions in it, counted from 0. `None`: spacing
        and origin are inferred, and the image is the smallest that holds all
        observations; for voxels of a volume (:func:`nonneg.io.read_allen_grid`), it is
        the whole box.
    %(table_key)s

    Returns
    -------
    Image indexed by y and x (z, y and x in 3-D), NaN where there is no observation.
    Row 0 has the smallest y, so that `plt.imshow` shows y pointing down, as in a
    picture of the tissue.

    Raises
    ------
    KeyError
        If the values or the coordinates do not exist.
    ValueError
        If the observations are not on a grid parallel to the axes, several are on
        one place, or they lie outside `shape`.

    See Also
    --------
    nonneg.pl.factor_maps : maps for any coordinates

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.quilt(12, 30)
    >>> nng.get.image(adata, "truth_0")[:3, :6]
    array([[0., 0., 0., 0., 0., 0.],
           [0., 1., 1., 1., 1., 0.],
           [0., 1., 1., 1., 1., 0.]], dtype=float32)
    """
    adata = read_table(adata, table_key)
    if shape is None and spatial_key == "spatial" and has_volume(adata):
        volume = read_volume(adata)
        pixels = _read_values(adata, values)
        box = np.full(volume.box.shape, np.nan, pixels.dtype)
        box.flat[volume.voxel] = pixels
        return box
    coords = read_coordinates(adata, spatial_key)
    where = f"adata.obsm[{spatial_key!r}]"
    if shape is None:
        grid = find_grid(coords)
        if grid is None:
            msg = (
                f"The coordinates in {where} are not a regular grid parallel to the "
                "axes. Draw them with `nonneg.pl.factor_maps`; or, if the array "
                "positions are known (such as obs['array_col'] and "
                "obs['array_row']), put them into another element of obsm and name "
                "it as `spatial_key`."
            )
            raise ValueError(msg)
        index = grid.position
        extent = index.max(axis=0) + 1
    else:
        index, extent = _read_positions(coords, shape, where)
    flat = np.ravel_multi_index(tuple(index.T[::-1]), tuple(extent[::-1]))
    n_sites = np.unique(flat).size
    if n_sites < flat.size:
        msg = (
            f"The {flat.size} observations in {where} are on only {n_sites} places. "
            "Keep or aggregate one per place first, e.g. with `scanpy.get.aggregate`."
        )
        raise ValueError(msg)
    pixels = _read_values(adata, values)
    raster = np.full(extent[::-1], np.nan, pixels.dtype)
    raster.flat[flat] = pixels
    return raster


def _read_positions(
    coords: NDArray[np.float64], shape: tuple[int, ...], where: str
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Coordinates as positions in an image of known shape."""
    extent = np.array(shape[::-1], np.intp)
    if extent.size != coords.shape[1]:
        msg = f"shape={shape} must have {coords.shape[1]} entries, as {where} has."
        raise ValueError(msg)
    index = np.rint(coords).astype(np.intp)
    if np.max(np.abs(coords - index)) > 1e-3:
        msg = (
            f"With `shape`, {where} must hold whole numbers, the positions in the "
            "image. Leave `shape` out to infer the grid."
        )
        raise ValueError(msg)
    if index.min() < 0 or np.any(index >= extent):
        msg = (
            f"Positions in {where} reach from {index.min(axis=0)[::-1].tolist()} to "
            f"{index.max(axis=0)[::-1].tolist()}, outside an image of shape={shape}."
        )
        raise ValueError(msg)
    return index, extent


def _read_values(adata: AnnData, values: str | ArrayLike) -> NDArray[np.floating[Any]]:
    """One number per observation."""
    if isinstance(values, str):
        column = _look_up(adata, values)
        what = repr(values)
    else:
        column, what = np.asarray(values), "values"
    if column.shape != (adata.n_obs,):
        msg = (
            f"{what} must hold one value for each of the {adata.n_obs} observations, "
            f"but its shape is {column.shape}."
        )
        raise ValueError(msg)
    if not np.issubdtype(column.dtype, np.number) and column.dtype != bool:
        msg = f"{what} must hold numbers, but its dtype is {column.dtype}."
        raise ValueError(msg)
    return column.astype(column.dtype if column.dtype.kind == "f" else np.float64)


def _look_up(adata: AnnData, name: str) -> NDArray[Any]:
    if name in adata.obs:
        column = adata.obs[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            codes = column.cat.codes.to_numpy()
            return np.where(codes < 0, np.nan, codes)
        return column.to_numpy()
    key, _, number = name.rpartition("_")
    if number.isdecimal() and key in adata.uns:
        stored = read_factors(adata, key)
        if name in stored.names:
            return stored.scores[:, stored.names.index(name)]
    if name in adata.var_names:
        from scanpy.get import obs_df

        return np.asarray(obs_df(adata, keys=[name])[name])
    msg = (
        f"{name!r} is neither a column of adata.obs ({list(adata.obs.columns)}), nor a "
        "factor such as 'nmf_0', nor a variable of adata.var_names."
    )
    raise KeyError(msg)
