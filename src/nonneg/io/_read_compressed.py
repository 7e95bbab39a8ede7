"""Folders of compressed recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._adata.checks import as_numbers
from .._adata.video import channel_names
from .._core.arguments import checked
from .._core.validators import check_positive_int
from ..operators.validate import reading
from ._from_svd import add_product, from_svd

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from anndata import AnnData
    from numpy.typing import NDArray


@checked
def read_wfield(
    path: str | PathLike[str],
    *,
    fs: float,
    channels: Sequence[str] = ("blue", "violet"),
    corrected: bool = True,
    spacing: float | None = None,
) -> AnnData:
    """Read a folder of wfield: `U.npy`, `SVTcorr.npy` or `SVT.npy`, landmarks.

    Parameters
    ----------
    path
        Folder with the files.
    fs
        Frames per second of each channel.
    channels
        Names of the channels, which `SVT.npy` holds in turn. The first one is stored
        under `svd`, the others under `svd_violet` and so on.
    corrected
        Take `SVTcorr.npy`, corrected for hemodynamics, where it exists.
    spacing
        mm per pixel. `None`: as the landmarks say, or 1.

    Returns
    -------
    AnnData of pixels x frames, as :func:`nonneg.io.from_svd` makes it, and:

    `.uns['landmarks']` : :class:`dict`
        Where there is a file of landmarks: `atlas`, `image` and `match`, data frames of
        the landmarks with `name`, `x` and `y`, in mm from bregma, and in pixels, as
        placed by default and as matched by hand; `transform` (3 x 3), from the image to
        the atlas; `bregma`, in pixels.

    Raises
    ------
    FileNotFoundError
        If there is no U or SVT.
    ValueError
        If a file is damaged, or shapes do not fit.

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> rng = np.random.default_rng(0)
    >>> np.save(folder / "U.npy", rng.normal(size=(20, 30, 5)))
    >>> np.save(folder / "SVT.npy", rng.normal(size=(5, 100)))
    >>> adata = nng.io.read_wfield(folder, fs=15)
    >>> adata.shape, sorted(adata.varm)
    ((600, 50), ['svd', 'svd_violet'])
    """
    folder = Path(path)
    names = channel_names(channels)
    u = _load(folder, "U.npy")
    average = _load(folder, "frames_average.npy", optional=True)
    if corrected and (folder / "SVTcorr.npy").exists():
        parts = [_load(folder, "SVTcorr.npy")]
    else:
        svt = _load(folder, "SVT.npy")
        if svt.shape[-1] % len(names):
            msg = (
                f"{folder / 'SVT.npy'} has {svt.shape[-1]} frames, which are no whole "
                f"number of cycles of channels={names}."
            )
            raise ValueError(msg)
        parts = [svt[..., i :: len(names)] for i in range(len(names))]
    shape, mean = None, None
    if average is not None and average.ndim >= 2:
        shape = (int(average.shape[-2]), int(average.shape[-1]))
        mean = average.reshape(-1, *shape)[0]
    landmarks = _landmarks(folder)
    if spacing is None and landmarks is not None and "resolution" in landmarks:
        spacing = float(landmarks["resolution"])
    adata = from_svd(
        u,
        parts[0],
        fs=fs,
        shape=shape if u.ndim == 2 else None,
        # U is of ΔF/F: the mean is 0 there.
        spacing=spacing,
        channel=names[0],
    )
    if mean is not None:
        adata.obs["mean_frame"] = mean.ravel()[adata.obs["voxel"]]
    for name, part in zip(names[1:], parts[1:], strict=False):
        if not np.isfinite(part).all():
            msg = f"{folder / 'SVT.npy'} holds values that are infinite or NaN."
            raise ValueError(msg)
        rows = u.reshape(-1, u.shape[-1])[adata.obs["voxel"]]
        add_product(
            adata, rows, part.T, key=f"svd_{name}", mean=np.zeros(1, np.float32)
        )
    adata.uns["video"]["channels"] = np.array(names[: len(parts)], object)
    if landmarks is not None:
        adata.uns["landmarks"] = landmarks
    return adata


@checked
def read_cortexlab(
    path: str | PathLike[str],
    n_components: int | None = None,
    *,
    fs: float | None = None,
    corrected: bool = True,
    channel: str = "blue",
    spacing: float | None = None,
) -> AnnData:
    """Read a folder of cortex-lab: `svdSpatialComponents.npy` and what belongs to it.

    Of the spatial components, which are stored one after the other, only those asked for
    are read.

    Parameters
    ----------
    path
        Folder with the files, or with folders `blue`, `violet` and `corr` of them.
    n_components
        Number of components to read. `None`: all. 200 to 500 is common.
    fs
        Frames per second. `None`: from the time stamps.
    corrected
        Take `corr/svdTemporalComponents_corr.npy`, corrected for hemodynamics, where it
        exists.
    channel
        Folder of the channel.
    spacing
        mm per pixel. `None`: 1, for coordinates in pixels.

    Returns
    -------
    AnnData of pixels x frames, as :func:`nonneg.io.from_svd` makes it, with the mean
    image as the mean of pixels.

    Raises
    ------
    FileNotFoundError
        If there are no components.
    ValueError
        If a file is damaged, or shapes do not fit.

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> rng = np.random.default_rng(0)
    >>> U = np.asfortranarray(rng.normal(size=(20, 30, 50)))
    >>> np.save(folder / "svdSpatialComponents.npy", U)
    >>> np.save(folder / "svdTemporalComponents.npy", rng.normal(size=(100, 50)))
    >>> adata = nng.io.read_cortexlab(folder, 10, fs=35)
    >>> adata.obsm["X_svd"].shape
    (600, 10)
    """
    folder = Path(path)
    own = folder / channel if (folder / channel).is_dir() else folder
    u = read_prefix(_existing(own, "svdSpatialComponents.npy"), n_components)
    spot, name = own, "svdTemporalComponents"
    if corrected:
        for place in (folder / "corr", folder):
            if (place / f"{name}_corr.npy").exists():
                spot, name = place, f"{name}_corr"
                break
    with reading(str(spot / f"{name}.npy")):
        stored = np.load(_existing(spot, f"{name}.npy"), mmap_mode="r")
        v = np.array(stored[:, : u.shape[-1]])
    time = _load(spot, f"{name}.timestamps.npy", optional=True)
    if time is not None:
        time = np.ravel(time)
    if fs is None:
        if time is None or time.size < 2:
            msg = f"{spot} has no time stamps: give fs, in Hz."
            raise ValueError(msg)
        fs = float(1 / np.median(np.diff(time)))
    mean = _load(own, "meanImage.npy", optional=True)
    return from_svd(
        u,
        v.T,
        fs=fs,
        shape=None if mean is None or u.ndim == 3 else mean.shape,
        mean=mean,
        time=time,
        spacing=spacing,
        channel=channel,
    )


def read_prefix(path: Path, n: int | None) -> NDArray[Any]:
    """The first entries along the last axis of a `.npy` file.

    If it is stored by columns, nothing else is read.
    """
    with reading(str(path)):
        stored = np.load(path, mmap_mode="r")
    shape = stored.shape
    if len(shape) not in {2, 3}:
        msg = (
            f"{path} must hold components along the last of 2 or 3 axes, but its shape is "
            f"{shape}."
        )
        raise ValueError(msg)
    n = shape[-1] if n is None else check_positive_int(n, "n_components")
    if n > shape[-1]:
        msg = f"n_components={n}, but {path} has {shape[-1]}."
        raise ValueError(msg)
    with reading(str(path)):
        if not stored.flags.f_contiguous:
            return np.array(stored[..., :n])
        count = int(np.prod(shape[:-1])) * n
        values = np.fromfile(path, stored.dtype, count=count, offset=stored.offset)
        return values.reshape((*shape[:-1], n), order="F")


def _existing(folder: Path, name: str) -> Path:
    if not (folder / name).exists():
        found = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
        msg = f"There is no {name} in {folder}, which holds {found[:20]}."
        raise FileNotFoundError(msg)
    return folder / name


def _load(folder: Path, name: str, *, optional: bool = False) -> Any:
    if optional and not (folder / name).exists():
        return None
    path = _existing(folder, name)
    with reading(str(path)):
        values = np.load(path)
    return values if values.dtype.kind in "biuf" else as_numbers(values, str(path))


def _landmarks(folder: Path) -> dict[str, Any] | None:
    """Landmarks of a folder, the form in which they are stored."""
    files = sorted(folder.glob("*landmarks*.json"))
    if not files:
        return None
    with reading(str(files[0])):
        stored = json.loads(files[0].read_text(encoding="utf-8"))
        found: dict[str, Any] = {}
        kinds = {
            "atlas": "landmarks",
            "image": "landmarks_im",
            "match": "landmarks_match",
        }
        for kind, name in kinds.items():
            if name in stored:
                frame = pd.DataFrame(stored[name])[["name", "x", "y"]]
                frame.index = frame.index.astype(str)
                found[kind] = frame
        if stored.get("transform") is not None:
            found["transform"] = np.array(stored["transform"], np.float64)
        if "bregma_offset" in stored:
            found["bregma"] = np.array(stored["bregma_offset"], np.float64)
        if "resolution" in stored:
            found["resolution"] = float(stored["resolution"])
    return found
