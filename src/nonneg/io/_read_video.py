"""Recordings of one or more channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._adata.checks import as_flags, as_numbers
from .._adata.video import channel_names, new_video
from .._adata.volume import Box
from .._core.arguments import checked
from .._core.optional import import_optional
from .._core.text import counted
from .._core.validators import check_positive_int
from .._core.warnings import warn
from ._formats import Options, open_frames

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray

    from ._frames import Frames

    type AnyPath = str | PathLike[str]
    type Source = AnyPath | ArrayLike

# Bytes that a block of frames takes, of all channels.
_BLOCK = 32e6


@checked
def read_video(
    source: Source | Sequence[AnyPath] | Mapping[str, Source],
    *,
    channels: str | Sequence[str] = ("blue",),
    fs: float | None = None,
    time: ArrayLike | None = None,
    dropped: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    binning: int = 1,
    spacing: float | None = None,
    dataset: str | None = None,
    axes: str | None = None,
    shape: tuple[int, int] | None = None,
    dtype: str | np.dtype[Any] | None = None,
    lazy: bool = True,
    chunk_size: int | None = None,
) -> AnnData:
    """Read a recording, as pixels x frames, without loading it.

    Reads TIFF (multi-page, OME, BigTIFF), `.npy`, raw numbers (`.dat`, `.bin`, `.raw`),
    HDF5, zarr, NWB (extra `nwb`) and compressed video, the others with the extra
    `widefield`. Frames are read when they are asked for, in blocks.

    Parameters
    ----------
    source
        A file; several, one after the other; an array of frames; or a mapping from
        channels to these, where every channel has a file of its own.
    channels
        Name of the light source, or names in the order in which they are lit. The first
        one becomes `X`, the others layers.
    fs
        Frames per second of each channel: a camera at 30 Hz with two light sources has
        15. `None`: as the file says, or from `time`.
    time
        Time of every frame that the file holds, in seconds, all channels in turn.
        `None`: as an NWB file says, or from `fs`.
    dropped
        Numbers of frames that the camera lost, counted from 0 among all frames that
        should be there. What is left of their cycle of channels is left out, so that
        channels are not exchanged from there on.
    mask
        Image that is true where pixels are kept, of the size of the frames. `None`: all
        pixels; motion is corrected best with all of them.
    binning
        Average squares of so many pixels along each side. 2 or 4 is common before
        :func:`nonneg.pp.svd`.
    spacing
        mm per pixel of the file. `None`: as OME metadata say, or 1, for coordinates in
        pixels.
    dataset
        Name of the array in an HDF5 file or a zarr store, or of the series in an NWB
        file. `None`: the only one with frames.
    axes
        Order of the axes of an array: `"TYX"`, `"YXT"`, or with channels `"TCYX"`.
        `None`: `"TYX"` or `"TCYX"`.
    shape, dtype
        Rows and columns, and type, of frames in a raw file. A `dtype` of `"uint16"` also
        reads compressed videos of more than 8 bits.
    lazy
        As :mod:`dask` arrays. `False`: in memory. Compressed videos are decoded in order:
        passes over blocks decode every frame once, blocks far back start again.
    chunk_size
        Frames of each channel in a block. `None`: about 32 MB.

    Returns
    -------
    AnnData of pixels x frames, with channels but the first in `.layers`, and:

    `.uns['video']` : :class:`dict`
        `fs`, and `channels`.
    `.var['time']` : :class:`pandas.Series`
        Seconds, of the first channel.
    `.obs['voxel']`, `.uns['volume']`, `.obsm['spatial']`
        Position in the flattened image; `shape`, `spacing` and `origin` of the image;
        and x, y, in mm, or in pixels if their size is not known.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If a library is missing.
    KeyError
        If there is no such dataset.
    TypeError
        If the file does not hold numbers.
    ValueError
        If the file is damaged, if the frames are no whole number of cycles of the
        channels, or if an argument does not suit.

    See Also
    --------
    nonneg.pp.motion_correct : comes next

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> frames = np.random.default_rng(0).poisson(100, (60, 20, 30)).astype(np.uint16)
    >>> adata = nng.io.read_video(
    ...     frames, channels=["blue", "violet"], fs=15, binning=2, lazy=False
    ... )
    >>> adata.shape, "violet" in adata.layers
    ((150, 30), True)
    """
    binning = check_positive_int(binning, "binning")
    options = Options(dataset, axes, shape, dtype)
    if isinstance(source, Mapping):
        if tuple(channels) != ("blue",):
            msg = "Name channels by the mapping or by `channels`, not both."
            raise ValueError(msg)
        channels = list(source)
        apart = [_joined(one, options) for one in source.values()]
    else:
        apart = [_joined(source, options)]
    names = channel_names(channels)
    places, number = _cycles(apart, names, dropped)
    files = apart[0]
    if binning > min(files.shape):
        msg = f"binning={binning} exceeds the frames of {files.shape}."
        raise ValueError(msg)
    image = (files.shape[0] // binning, files.shape[1] // binning)
    pixels = np.flatnonzero(_mask(mask, files.shape, image, binning))
    seconds, fs = _times(
        files, places, number, fs=fs, time=time, n_channels=len(names) // len(apart)
    )
    pitch = files.spacing if spacing is None else spacing
    pitch = 1.0 if pitch is None else float(pitch)
    if not 0 < pitch < np.inf:
        msg = f"spacing={spacing} must be positive and finite, in mm."
        raise ValueError(msg)
    # The first pixel is the mean of some.
    start = pitch * (binning - 1) / 2
    box = Box(image, (pitch * binning,) * 2, (start, start))
    adata = new_video(box, pixels, seconds, fs=fs, channels=names)
    reader = _Reader(apart, places, pixels, binning)
    if chunk_size is None:
        frame = len(names) * int(np.prod(files.shape)) * files.dtype.itemsize
        chunk_size = max(1, int(_BLOCK / frame))
    chunk_size = check_positive_int(chunk_size, "chunk_size")
    values = reader.lazy(chunk_size) if lazy else reader.loaded(chunk_size)
    adata.X = values[0]
    for name, value in zip(names[1:], values[1:], strict=True):
        adata.layers[name] = value
    return adata


@dataclass(frozen=True)
class _Files:
    """Files that follow each other."""

    parts: list[Frames]
    bounds: NDArray[np.int64]

    @property
    def n_frames(self) -> int:
        return int(self.bounds[-1])

    @property
    def shape(self) -> tuple[int, int]:
        return self.parts[0].shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.result_type(*(part.dtype for part in self.parts))

    @property
    def fs(self) -> float | None:
        return self.parts[0].fs

    @property
    def spacing(self) -> float | None:
        return self.parts[0].spacing

    @property
    def time(self) -> NDArray[np.float64] | None:
        """Of one file: several need not go on where the last one ended."""
        return self.parts[0].time if len(self.parts) == 1 else None

    def read(self, start: int, stop: int) -> NDArray[Any]:
        found = [
            part.read(max(start - low, 0), min(stop, high) - low)
            for part, low, high in zip(
                self.parts, self.bounds, self.bounds[1:], strict=False
            )
            if low < stop and start < high
        ]
        return found[0] if len(found) == 1 else np.concatenate(found)


@dataclass(frozen=True)
class _Reader:
    """Makes pixels x frames of the channels."""

    apart: list[_Files]
    places: NDArray[np.int64]
    """(n_channels, n): where the frames of each channel are in their files."""
    pixels: NDArray[np.intp]
    binning: int

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.apart[0].dtype if self.binning == 1 else np.dtype(np.float32)

    def block(self, start: int, stop: int) -> NDArray[Any]:
        """A block (n_channels, n_pixels, n)."""
        places = self.places[:, start:stop]
        if len(self.apart) > 1:
            frames = np.stack(
                [
                    self._frames(files, place)
                    for files, place in zip(self.apart, places, strict=True)
                ]
            )
        else:
            frames = self._frames(self.apart[0], places.ravel()).reshape(
                *places.shape, -1
            )
        return np.ascontiguousarray(frames.swapaxes(1, 2))

    def _frames(self, files: _Files, places: NDArray[np.int64]) -> NDArray[Any]:
        first = int(places.min())
        frames = files.read(first, int(places.max()) + 1)[places - first]
        if self.binning > 1:
            b = self.binning
            h, w = (n // b for n in files.shape)
            # In single precision: sums overflow 16 bits.
            frames = frames[:, : h * b, : w * b].reshape(len(places), h, b, w, b)
            frames = frames.mean(axis=(2, 4), dtype=np.float32)
        return np.asarray(frames.reshape(len(places), -1)[:, self.pixels], self.dtype)

    def _bounds(self, size: int) -> list[tuple[int, int]]:
        n = self.places.shape[1]
        return [(start, min(start + size, n)) for start in range(0, n, size)]

    def loaded(self, size: int) -> list[NDArray[Any]]:
        n_channels, n = self.places.shape
        out = np.empty((n_channels, self.pixels.size, n), self.dtype)
        for start, stop in self._bounds(size):
            out[:, :, start:stop] = self.block(start, stop)
        return list(out)

    def lazy(self, size: int) -> list[Any]:
        dask = import_optional("dask", "widefield", "Lazy recordings")
        da = import_optional("dask.array", "widefield", "Lazy recordings")
        bounds = self._bounds(size)
        blocks = [dask.delayed(self.block, pure=False)(*bound) for bound in bounds]
        return [
            da.concatenate(
                [
                    da.from_delayed(block[i], (self.pixels.size, b - a), self.dtype)
                    for block, (a, b) in zip(blocks, bounds, strict=True)
                ],
                axis=1,
            )
            for i in range(len(self.places))
        ]


def _joined(source: Any, options: Options) -> _Files:
    several = isinstance(source, list | tuple) and all(
        isinstance(one, str) or hasattr(one, "__fspath__") for one in source
    )
    given = source if several else [source]
    if not given:
        msg = "No file is given."
        raise ValueError(msg)
    parts = [open_frames(one, options) for one in given]
    shapes = {part.shape for part in parts}
    if len(shapes) > 1:
        msg = f"The files have frames of different shapes: {sorted(shapes)}."
        raise ValueError(msg)
    numbers = [part.n_frames for part in parts]
    if 0 in numbers or 0 in parts[0].shape:
        msg = f"There are no frames in {given[numbers.index(min(numbers))]}."
        raise ValueError(msg)
    return _Files(parts, np.concatenate([[0], np.cumsum(numbers)]).astype(np.int64))


def _cycles(
    apart: list[_Files], names: list[str], dropped: ArrayLike | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where frames are in their files (n_channels, n), and number of each cycle."""
    if len({(files.shape, files.n_frames) for files in apart}) > 1:
        sizes = {
            name: (files.n_frames, *files.shape)
            for name, files in zip(names, apart, strict=True)
        }
        msg = (
            f"Channels must have the same number and size of frames, but have {sizes}."
        )
        raise ValueError(msg)
    n, n_channels = apart[0].n_frames, len(names) // len(apart)
    for part in (part for files in apart for part in files.parts):
        if part.n_channels not in {None, n_channels}:
            msg = (
                f"{part.where} has {part.n_channels} channels, but {n_channels} "
                f"{'is' if n_channels == 1 else 'are'} named: {names}. Name all of them "
                "with `channels`."
            )
            raise ValueError(msg)
    lost = np.unique(as_numbers([] if dropped is None else dropped, "dropped"))
    # NaN is none of this.
    if not ((lost >= 0) & (lost < 2**53) & (lost == np.rint(lost))).all():
        msg = "dropped must be numbers of frames, counted from 0."
        raise ValueError(msg)
    lost = lost.astype(np.int64)
    whole = np.arange(n + lost.size)
    if lost.size and lost[-1] >= whole.size:
        msg = (
            f"dropped names frame {lost[-1]}, but with {lost.size} lost frames there "
            f"were {whole.size}."
        )
        raise ValueError(msg)
    if not lost.size and n % n_channels:
        msg = (
            f"{n} frames are no whole number of cycles of {n_channels} channels "
            f"({', '.join(names)}). If the camera lost frames, name them with `dropped`, or "
            "channels are exchanged from there on; if the last cycle was cut off, "
            f"dropped=[{n}] says so."
        )
        raise ValueError(msg)
    # Where each of the frames that should be there is, -1: lost.
    place = np.full(-(-whole.size // n_channels) * n_channels, -1)
    place[np.setdiff1d(whole, lost)] = np.arange(n)
    cycles = place.reshape(-1, n_channels).T
    complete = (cycles >= 0).all(axis=0)
    if not complete.any():
        msg = "dropped leaves no complete cycle of the channels."
        raise ValueError(msg)
    if not complete.all():
        warn(f"{(~complete).sum()} cycles of the channels are incomplete and left out.")
    kept = cycles[:, complete].astype(np.int64)
    if len(apart) > 1:
        kept = np.repeat(kept, len(apart), axis=0)
    return kept, np.flatnonzero(complete)


def _mask(
    given: Any, frame: tuple[int, int], image: tuple[int, int], binning: int
) -> NDArray[np.bool_]:
    if given is None:
        return np.ones(image, bool)
    mask = as_flags(given, "mask")
    if mask.shape != frame:
        msg = f"mask has shape {mask.shape}, but frames {frame}."
        raise ValueError(msg)
    h, w = image
    part = mask[: h * binning, : w * binning]
    # Of squares that are in the mask as a whole.
    kept = np.asarray(part.reshape(h, binning, w, binning).all(axis=(1, 3)))
    if not kept.any():
        msg = "mask keeps no pixel."
        raise ValueError(msg)
    return kept


def _times(
    files: _Files,
    places: NDArray[np.int64],
    number: NDArray[np.int64],
    *,
    fs: float | None,
    time: ArrayLike | None,
    n_channels: int,
) -> tuple[NDArray[np.float64], float]:
    """Time of each cycle, and cycles per second."""
    known = files.time if time is None else as_numbers(time, "time")
    if known is not None:
        if known.shape != (files.n_frames,):
            msg = (
                f"time has shape {known.shape}, but there are {files.n_frames} frames."
            )
            raise ValueError(msg)
        steps = np.diff(known)
        if not (np.isfinite(known).all() and (steps > 0).all()):
            msg = "time must rise from frame to frame."
            raise ValueError(msg)
        if steps.size:
            step = float(np.median(steps))
            late = np.flatnonzero(steps > 1.5 * step)
            if late.size:
                warn(
                    f"{counted(late.size, 'frame', 'comes')} more than half a frame late, the first one "
                    f"after frame {late[0]}. If the camera lost frames, name them with "
                    "`dropped`."
                )
            fs = 1 / (step * n_channels) if fs is None else fs
    elif fs is None and files.fs:
        fs = files.fs / n_channels
    if fs is None:
        msg = "The file does not say how fast it was taken: give fs, in Hz, or time."
        raise ValueError(msg)
    if not 0 < fs < np.inf:
        msg = f"fs={fs} must be positive and finite, in Hz."
        raise ValueError(msg)
    if known is not None:
        return known[places[0]], float(fs)
    return number / fs, float(fs)
