"""Frames of files, by what their names end in."""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import zarr

from .._core.optional import import_optional
from .._core.validators import check_image_shape
from .._core.warnings import warn
from ..operators.validate import reading
from ._decoder import Decoder, run_ffmpeg
from ._frames import (
    ArrayFrames,
    Frames,
    MovieFrames,
    RawFrames,
    ReorderedFrames,
    TiffFrames,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

TIFF = (".tif", ".tiff", ".btf", ".tf8")
NUMPY = (".npy",)
RAW = (".dat", ".bin", ".raw")
HDF5 = (".h5", ".hdf5", ".mat")
NWB = (".nwb",)
ZARR = (".zarr",)
MOVIE = (".avi", ".mp4", ".mov", ".mj2", ".mkv", ".webm")

_MM = {"m": 1e3, "mm": 1.0, "µm": 1e-3, "μm": 1e-3, "um": 1e-3, "nm": 1e-6}


@dataclass(frozen=True)
class Options:
    """What is said about a file."""

    dataset: str | None = None
    axes: str | None = None
    shape: tuple[int, ...] | None = None
    dtype: Any = None


def open_frames(source: Any, options: Options) -> Frames:
    """Frames of a file by what its name ends in, or of an array."""
    if not isinstance(source, str) and not hasattr(source, "__fspath__"):
        return _of_array(source, "The array", options.axes)
    path = Path(source)
    if not path.exists():
        msg = f"There is no file {path}."
        raise FileNotFoundError(msg)
    suffix = path.suffix.lower()
    if suffix not in RAW and options.shape is not None:
        msg = (
            f"shape={options.shape} is for raw files ({', '.join(RAW)}), but {path} "
            "says it."
        )
        raise ValueError(msg)
    for suffixes, opener in _OPENERS.items():
        if suffix in suffixes:
            return opener(path, options)
    known = ", ".join(suffix for suffixes in _OPENERS for suffix in suffixes)
    msg = f"{path} is of an unknown kind; known are {known}."
    raise ValueError(msg)


def _of_array(array: Any, where: str, axes: str | None) -> ArrayFrames:
    shape, dtype = getattr(array, "shape", None), getattr(array, "dtype", None)
    if shape is None or not isinstance(dtype, np.dtype):
        array = np.asarray(array)
        shape, dtype = array.shape, array.dtype

    @contextmanager
    def opened() -> Iterator[Any]:
        yield array

    return _stack(opened, shape, dtype, where, axes)


def _stack(
    opened: Callable[[], AbstractContextManager[Any]],
    shape: Sequence[int],
    dtype: Any,
    where: str,
    axes: str | None,
) -> ArrayFrames:
    """Frames of an array that is opened for every read."""
    _check_dtype(np.dtype(dtype), where)
    t, y, x, c = order = _order(axes, len(shape), where)
    n_channels = None if c < 0 else int(shape[c])
    return ArrayFrames(
        where=where,
        n_frames=int(shape[t]) * (n_channels or 1),
        shape=(int(shape[y]), int(shape[x])),
        dtype=np.dtype(dtype),
        opened=opened,
        order=order,
        n_channels=n_channels,
    )


def _of_numpy(path: Path, options: Options) -> ArrayFrames:
    with reading(f"{path}, as .npy,"):
        array = np.load(path, mmap_mode="r")
    return _of_array(array, str(path), options.axes)


def _order(axes: str | None, n_axes: int, where: str) -> tuple[int, int, int, int]:
    axes = axes or {3: "TYX", 4: "TCYX"}.get(n_axes, "")
    if sorted(axes) not in (sorted("TYX"), sorted("TCYX")) or len(axes) != n_axes:
        msg = (
            f"{where} has {n_axes} axes. It must have three or four, of which `axes` "
            f"gives the order, such as 'TYX', 'YXT' or 'TCYX'; axes={axes!r}."
        )
        raise ValueError(msg)
    t, y, x, c = (axes.find(axis) for axis in "TYXC")
    return t, y, x, c


def _check_dtype(dtype: np.dtype[Any], where: str) -> None:
    if dtype.kind not in "iuf":
        msg = f"{where} must hold numbers, but its dtype is {dtype}."
        raise TypeError(msg)


def _as_dtype(given: Any) -> np.dtype[Any]:
    """A type of numbers by its name."""
    try:
        return np.dtype(given)
    except (TypeError, ValueError) as error:
        msg = f"dtype={given!r} is no type of numbers, such as 'uint16': {error}."
        raise ValueError(msg) from error


def _of_raw(path: Path, options: Options) -> RawFrames:
    shape, dtype = options.shape, options.dtype
    if shape is None or dtype is None or len(shape) != 2:
        msg = (
            f"{path} has no header: give the shape of a frame, as (rows, columns), and "
            f"the dtype, such as 'uint16'. shape={shape}, dtype={dtype!r}."
        )
        raise ValueError(msg)
    kind = _as_dtype(dtype)
    _check_dtype(kind, str(path))
    rows, columns = check_image_shape(shape)
    frame, size = rows * columns * kind.itemsize, path.stat().st_size
    if frame <= 0 or size == 0 or size % frame:
        msg = (
            f"{path} has {size:,} bytes, which are no whole number of frames of "
            f"{rows} x {columns} {kind} ({frame:,} bytes). The shape or the dtype is "
            "another one, there is a header, or the file is truncated."
        )
        raise ValueError(msg)
    return RawFrames(
        where=str(path),
        n_frames=size // frame,
        shape=(rows, columns),
        dtype=kind.newbyteorder("="),
        path=path,
        stored=kind,
    )


class _Complaints(logging.Handler):
    """What a library says about a file while it goes on."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def _of_tiff(path: Path, options: Options) -> Frames:
    tifffile = import_optional("tifffile", "widefield", "TIFF files")
    logger = tifffile.logger()
    complaints = _Complaints()
    logger.addHandler(complaints)
    kept, logger.propagate = logger.propagate, False
    try:
        with reading(str(path)), tifffile.TiffFile(path) as tif:
            pages, series = len(tif.pages), tif.series
            first = tif.pages.first
            stack = series[0]
            page_shape, dtype = first.shape, first.dtype
            n_frames, offset = pages, None
            size = path.stat().st_size
            if len(series) == 1 and stack.shape[-2:] == page_shape:
                told = int(np.prod(stack.shape[:-2], dtype=np.int64))
                n_bytes = told * int(np.prod(page_shape)) * stack.dtype.itemsize
                if stack.dataoffset is not None:
                    # One after the other, though only the first may have a header.
                    n_frames, offset = told, stack.dataoffset
                    if offset + n_bytes > size:
                        complaints.messages.append(f"{told} frames are announced")
                elif told != pages:
                    complaints.messages.append(f"{told} frames are announced")
            byteorder, ome = tif.byteorder, tif.ome_metadata
            axes, lengths = stack.axes[:-2], stack.shape[:-2]
    finally:
        logger.removeHandler(complaints)
        logger.propagate = kept
    if complaints.messages:
        msg = (
            f"{path} is damaged or truncated ({pages} pages could be found): "
            f"{complaints.messages[0]}."
        )
        raise ValueError(msg)
    if len(page_shape) != 2:
        msg = (
            f"{path} has frames of shape {page_shape}: one value per pixel is expected, "
            "not colours."
        )
        raise ValueError(msg)
    _check_dtype(np.dtype(dtype), str(path))
    common: dict[str, Any] = {
        "where": str(path),
        "n_frames": n_frames,
        "shape": (int(page_shape[0]), int(page_shape[1])),
        "dtype": np.dtype(dtype).newbyteorder("="),
        "path": path,
        "spacing": _ome_spacing(ome),
    }
    known = n_frames == np.prod(lengths, dtype=np.int64) and set(axes) == {"T", "C"}
    if known:
        common["n_channels"] = int(lengths[axes.index("C")])
    if offset is None:
        frames: Frames = TiffFrames(**common)
    else:
        stored = np.dtype(dtype).newbyteorder(byteorder)
        frames = RawFrames(**common, offset=offset, stored=stored)
    if not known or axes == "TC":
        return frames
    # All frames of one channel, and then those of the next.
    place = np.arange(n_frames).reshape(lengths).T.ravel()
    del common["path"]
    return ReorderedFrames(**common, stored=frames, place=place)


def _ome_spacing(ome: str | None) -> float | None:
    size = re.search(r'PhysicalSizeX="([\d.eE+-]+)"', ome or "")
    if size is None:
        return None
    unit = re.search(r'PhysicalSizeXUnit="([^"]+)"', ome or "")
    # Micrometres unless it says otherwise.
    factor = _MM.get(unit[1] if unit else "µm")
    return None if factor is None else float(size[1]) * factor


def _of_group(path: Path, options: Options) -> ArrayFrames:
    """A dataset of an HDF5 file or a zarr store."""
    dataset = options.dataset
    if path.suffix.lower() in HDF5:
        _filters()

    @contextmanager
    def opened() -> Iterator[Any]:
        with _root(path) as root:
            yield root if dataset is None and not hasattr(root, "keys") else root[name]

    with reading(str(path)), _root(path) as root:
        found = {"": root} if not hasattr(root, "keys") else _arrays(root)
        known = {key: array.shape for key, array in found.items()}
        name = dataset.strip("/") if dataset is not None else ""
        if dataset is None:
            stacks = [key for key, size in known.items() if len(size) in {3, 4}]
            name = stacks[0] if len(stacks) == 1 else name
        array = found.get(name)
        dtype = None if array is None else array.dtype
    if array is None or dtype is None:
        msg = f"Name the frames of {path} with `dataset`; it holds {known}."
        raise KeyError(msg) if dataset is not None else ValueError(msg)
    where = f"{path}/{name}" if name else str(path)
    return _stack(opened, known[name], dtype, where, options.axes)


@contextmanager
def _root(path: Path) -> Iterator[Any]:
    if path.suffix.lower() not in ZARR:
        with h5py.File(path, "r") as file:
            yield file
    else:
        yield zarr.open(path, mode="r")


def _arrays(root: Any) -> dict[str, Any]:
    """All arrays below a group, by name."""
    if isinstance(root, h5py.Group):
        found: dict[str, Any] = {}

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                found[name] = item

        root.visititems(visit)
        return found
    return {
        name: item
        for name, item in root.members(max_depth=None)
        if isinstance(item, zarr.Array)
    }


def _filters() -> None:
    """Blosc, Zstandard and others; files without need none."""
    try:
        import hdf5plugin  # noqa: F401
    except ImportError:
        return


def _of_nwb(path: Path, options: Options) -> ArrayFrames:
    dataset = options.dataset
    pynwb = import_optional("pynwb", "nwb", "NWB files")
    _filters()
    with reading(str(path)), pynwb.NWBHDF5IO(path, "r") as io:
        file = io.read()
        series = {
            item.name: item
            for item in file.objects.values()
            if isinstance(item, pynwb.TimeSeries)
            and len(getattr(item.data, "shape", ())) in {3, 4}
        }
        one = next(iter(series), None) if len(series) == 1 else None
        name = dataset if dataset is not None else one
        chosen = series.get(name or "")
        if chosen is not None:
            # Where it is in the file: read without pynwb from here on.
            place, shape, dtype = chosen.data.name, chosen.data.shape, chosen.data.dtype
            rate = float(chosen.rate) if chosen.rate else None
            start = float(chosen.starting_time or 0)
            stamps = chosen.timestamps
            time = None if stamps is None else np.asarray(stamps, np.float64)
    if chosen is None:
        msg = (
            f"Name the frames of {path} with `dataset`; it has series of images "
            f"{list(series)}. Images in files of their own are not read."
        )
        raise KeyError(msg) if dataset is not None else ValueError(msg)

    @contextmanager
    def opened() -> Iterator[Any]:
        with h5py.File(path, "r") as h5:
            yield h5[place]

    found = _stack(opened, shape, dtype, f"{path}/{name}", options.axes)
    # Rates and time stamps are of cycles where channels have an axis of their own.
    n_channels = found.n_channels or 1
    n_cycles = found.n_frames // n_channels
    if rate is not None:
        time = start + np.arange(found.n_frames) / (rate * n_channels)
        rate *= n_channels
    elif time is not None and time.size == n_cycles and n_channels > 1:
        step = float(np.median(np.diff(time))) if time.size > 1 else 0.0
        time = (time[:, None] + step * np.arange(n_channels) / n_channels).ravel()
    elif time is not None and time.size != found.n_frames:
        warn(
            f"{found.where} has {time.size} time stamps for {n_cycles} frames. They are "
            "not used: give `time`, or `fs`."
        )
        time = None
    return replace(found, fs=rate, time=time)


def _of_movie(path: Path, options: Options) -> MovieFrames:
    dtype = _as_dtype(np.uint8 if options.dtype is None else options.dtype)
    if dtype not in (np.uint8, np.uint16):
        msg = f"dtype={dtype} of a video must be uint8 or uint16."
        raise ValueError(msg)
    library = import_optional("imageio_ffmpeg", "widefield", "Compressed videos")
    with reading(str(path)):
        n_frames, _ = library.count_frames_and_secs(path)
        # The header of an image says its size.
        image = ["-frames:v", "1", "-f", "image2pipe", "-c:v", "pgm", "-"]
        out, said = run_ffmpeg("-i", path, *image)
        columns, rows = (int(n) for n in out.split(maxsplit=3)[1:3])
        rate = re.search(r"([\d.]+) fps", said)
    return MovieFrames(
        where=str(path),
        n_frames=n_frames,
        shape=(rows, columns),
        dtype=dtype,
        decoder=Decoder(path, (rows, columns), dtype),
        fs=None if rate is None else float(rate[1]),
    )


_OPENERS: dict[tuple[str, ...], Callable[[Path, Options], Frames]] = {
    TIFF: _of_tiff,
    NUMPY: _of_numpy,
    RAW: _of_raw,
    HDF5: _of_group,
    ZARR: _of_group,
    NWB: _of_nwb,
    MOVIE: _of_movie,
}
"""By what the name of a file ends in."""
