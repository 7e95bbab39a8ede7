"""Recordings in which the brain moves."""

from __future__ import annotations

from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from scipy.ndimage import distance_transform_edt

from .._adata.files import FolderStore, remove, writing
from .._adata.read import resolve_adata
from .._adata.video import frame_blocks, map_frames, read_video
from .._adata.write import matrix_place, write_values
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.optional import import_optional
from .._core.text import counted
from .._core.validators import check_at_least, check_positive_int
from .._core.warnings import warn
from ..models.video.motion import Target, outside, refine_reference, window_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from os import PathLike

    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from .._adata.video import Blocks, Video
    from .._adata.write import Place


@checked
@shared_docs
def motion_correct(
    adata: AnnData | SpatialData,
    *,
    channels: str | Sequence[str] | None = None,
    n_reference: int = 60,
    max_shift: float = 10.0,
    store: str | PathLike[str] | None = None,
    chunk_size: int | None = None,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    r"""Move every frame onto a reference, by parts of pixels.

    The shift of a frame is where its cross-correlation with a reference is largest, found
    in the frequency domain :cite:p:`GuizarSicairos2008`: first among whole pixels, then by
    Newton's method. Slow changes of brightness in space, such as of blood and activity,
    have no weight. The reference is the mean of frames in the middle of the recording,
    moved onto their own mean. Frames are read once, in blocks.

    It is best done on whole images, before pixels are selected: at the edge of a mask,
    what moves into sight is not known.

    Parameters
    ----------
    adata
        Annotated pixels x frames, in memory or as dask arrays.
    channels
        Channel or channels to correct, each on its own. `None`: all.
    n_reference
        Number of frames of the reference.
    max_shift
        Largest shift, in pixels. A shift of that size is most likely wrong.
    store
        Folder to which corrected channels are written, each as a new zarr array of its
        name. `None`: dask arrays are corrected anew whenever they are read, arrays in
        memory at once.
    chunk_size
        Frames in a block. `None`: as the dask array has, or about 64 MB.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets the following fields:

    `.X`, `.layers`
        Corrected channels, single precision.
    `.varm['shifts']`, `.varm['shifts_<channel>']` : :class:`numpy.ndarray` (shape `(n_vars, 2)`)
        Rows and columns, in pixels, by which frames had moved; the second name for all
        channels but the first.
    `.var['motion_correlation']` : :class:`pandas.Series`
        Correlation of each frame of the first channel with the reference, sharp
        structures only. Frames far below the others are out of focus, or did not fit.
    `.var['saturated']` : :class:`pandas.Series`
        Part of the pixels of the first channel at the frame's largest value, if its
        values are whole numbers.
    `.obs['motion_reference']` : :class:`pandas.Series`
        The reference of the first channel.
    `.obs['motion_outside']` : :class:`pandas.Series`
        Part of the frames in which the pixel was outside the image, so that its value
        is made up.
    `.uns['motion']` : :class:`dict`
        `params`.

    Raises
    ------
    KeyError
        If observations are not pixels of a video, or there is no such channel.
    TypeError
        If a channel is not dense.
    ValueError
        If entries are NaN or infinite, `store` holds a channel already, or an argument
        does not suit.
    OSError
        If `store` cannot be written. What was written of it is removed.
    ImportError
        If `store` is given and the extra `widefield` is missing.

    See Also
    --------
    nonneg.pl.motion : shows shifts and correlations

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.widefield(
    ...     shape=(40, 48), n_regions=2, n_frames=100, mask=False
    ... )
    >>> nng.pp.motion_correct(adata)
    >>> error = adata.varm["shifts"] - adata.varm["true_shifts"]
    >>> bool((error - error.mean(axis=0)).std() < 0.1)
    True
    """
    n_reference = check_positive_int(n_reference, "n_reference")
    check_at_least(max_shift, 1, "max_shift")
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    video = read_video(target)
    if len(video.pixels.box.shape) != 2:
        msg = f"Frames must be images, but have axes {video.pixels.box.shape}."
        raise ValueError(msg)
    names = video.select(channels)
    if not names:
        msg = f"No channel is selected; there are {video.channels}."
        raise ValueError(msg)
    raster = _Raster(video)
    max_shift = min(max_shift, min(raster.shape) / 2 - 1)
    values: dict[Place, Any] = {}
    paths = _new_paths(store, names)
    with _kept_if_whole(paths):
        for name in names:
            layer = video.layer(name)
            blocks = frame_blocks(target, layer, chunk_size)
            found = _correct(blocks, raster, n_reference, max_shift, paths.get(name))
            values[matrix_place(layer)] = found["x"]
            values["varm", "shifts" if layer is None else f"shifts_{name}"] = found[
                "shifts"
            ]
            if layer is None or len(names) == 1:
                values["var", "motion_correlation"] = found["correlation"]
                values["var", "saturated"] = blocks.saturated
                values["obs", "motion_reference"] = raster.pixels(found["reference"])
                values["obs", "motion_outside"] = raster.pixels(
                    outside(raster.shape, found["shifts"])
                )
        values["uns", "motion"] = {
            "params": {
                "channels": np.array(names, object),
                "n_reference": n_reference,
                "max_shift": float(max_shift),
                "version": version("nonneg"),
            }
        }
        write_values(target, values)
    return target if copy else None


def _new_paths(
    store: str | PathLike[str] | None, names: Sequence[str]
) -> dict[str, Path]:
    """Where channels are written: never over what the data may still be read from."""
    paths = {} if store is None else {name: Path(store) / name for name in names}
    for name, path in paths.items():
        if path.exists():
            msg = (
                f"store={str(store)!r} holds {name!r} already, which the recording may be "
                "read from. Name another folder, or remove it."
            )
            raise ValueError(msg)
    return paths


@contextmanager
def _kept_if_whole(paths: Mapping[str, Path]) -> Iterator[None]:
    """Remove channels, and the folders made for them, if not all were written."""
    folders = {folder for path in paths.values() for folder in path.parents}
    made = [*paths.values(), *(folder for folder in folders if not folder.exists())]
    try:
        yield
    except BaseException:
        for path in made:
            remove(path)
        raise


class _Raster:
    """Between pixels and whole images, which the nearest pixels fill."""

    def __init__(self, video: Video) -> None:
        box, self.voxel = video.pixels.box, video.pixels.voxel
        self.shape = (box.shape[0], box.shape[1])
        known = np.zeros(box.shape, bool)
        known.ravel()[self.voxel] = True
        row = np.zeros(known.size, np.intp)
        row[self.voxel] = np.arange(self.voxel.size)
        nearest = distance_transform_edt(
            ~known, return_distances=False, return_indices=True
        )
        flat = np.ravel_multi_index(tuple(nearest), self.shape)
        self.row = row[flat.ravel()]
        self.window = window_of(known)

    def images(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Frames (n, h, w) of pixels x frames."""
        return np.ascontiguousarray(block[self.row].T).reshape(-1, *self.shape)

    def pixels(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values of an image (h, w), or of frames (n, h, w) as pixels x frames."""
        flat = image.reshape(*image.shape[:-2], -1)
        return np.ascontiguousarray(flat[..., self.voxel].T)


def _correct(
    blocks: Blocks,
    raster: _Raster,
    n_reference: int,
    max_shift: float,
    path: Path | None,
) -> dict[str, Any]:
    n_frames = blocks.shape[1]
    first = max(0, (n_frames - n_reference) // 2)
    middle = blocks.read(slice(first, min(first + n_reference, n_frames)))
    reference = refine_reference(raster.images(middle), raster.window, max_shift)
    goal = Target.of(reference, raster.window, max_shift)
    shifts, correlation = np.empty((n_frames, 2)), np.empty(n_frames)

    def moved(block: NDArray[np.float32], part: slice) -> NDArray[np.float32]:
        return raster.pixels(goal.move(raster.images(block), -shifts[part]))

    def found(block: NDArray[np.float32], part: slice) -> NDArray[np.float32]:
        images = raster.images(block)
        shifts[part], correlation[part] = goal.shifts(images)
        return raster.pixels(goal.move(images, -shifts[part]))

    if path is not None:
        da = import_optional("dask.array", "widefield", "Stored recordings")
        where = f"{path}, of corrected frames,"
        safe = "What was written of it is removed, and adata is as it was."
        with writing(where, safe):
            array = zarr.create_array(
                FolderStore(path),
                shape=blocks.shape,
                chunks=(blocks.shape[0], min(blocks.size, n_frames)),
                dtype=np.float32,
            )
        for part, block in blocks:
            corrected = found(block, part)
            with writing(where, safe):
                array[:, part] = corrected
        stored = zarr.open_array(path, mode="r")
        x = da.from_array(stored, chunks=stored.chunks)
    elif blocks.is_lazy:
        for part, block in blocks:
            shifts[part], correlation[part] = goal.shifts(raster.images(block))
        x = map_frames(blocks, moved)
    else:
        x = map_frames(blocks, found)
    blocks.warn_saturated()
    far = (np.abs(shifts) >= max_shift).any(axis=1)
    if far.any():
        warn(
            f"{counted(int(far.sum()), 'frame')} of {blocks.where} would be moved by max_shift="
            f"{max_shift:g} pixels or more, the first of them frame {far.argmax()}, but no "
            "further than that: such shifts are most likely wrong. See "
            "`adata.var['motion_correlation']`."
        )
    return {
        "x": x,
        "shifts": shifts.astype(np.float32),
        "correlation": correlation,
        "reference": reference,
    }
