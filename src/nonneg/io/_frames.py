"""Frames of recordings, of which any run can be read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..operators.validate import reading

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from ._decoder import Decoder


@dataclass(frozen=True, kw_only=True)
class Frames(ABC):
    """Frames of a file, in the order in which they were taken."""

    where: str
    """What to call it."""
    n_frames: int
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    fs: float | None = None
    """Frames per second, of all channels, if the file says."""
    time: NDArray[np.float64] | None = None
    """(n_frames,): seconds, if the file says."""
    spacing: float | None = None
    """mm per pixel, if the file says."""
    n_channels: int | None = None
    """Number of channels that are in turn, if the file or the axes say."""

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Some frames (n, h, w)."""
        with reading(self.where, f" from frame {start} on"):
            return self._read(start, stop)

    @abstractmethod
    def _read(self, start: int, stop: int) -> NDArray[Any]: ...


@dataclass(frozen=True, kw_only=True)
class ArrayFrames(Frames):
    """An array in memory or in a file, with axes in any order."""

    opened: Callable[[], Any]
    """A context in which the array can be indexed."""
    order: tuple[int, int, int, int]
    """Axis of frames, of rows, of columns, and of channels (or -1)."""

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        t, y, x, c = self.order
        with self.opened() as array:
            n_channels = 1 if c < 0 else array.shape[c]
            index: list[slice] = [slice(None)] * (3 if c < 0 else 4)
            index[t] = slice(start // n_channels, -(-stop // n_channels))
            block = np.asarray(array[tuple(index)])
        axes = (t, y, x) if c < 0 else (t, c, y, x)
        block = block.transpose(axes).reshape(-1, *self.shape)
        first = start % n_channels
        return block[first : first + stop - start]


@dataclass(frozen=True, kw_only=True)
class RawFrames(Frames):
    """Numbers that follow each other in a file."""

    path: Path
    offset: int = 0
    stored: np.dtype[Any]
    """In the byte order of the file."""

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        n = int(np.prod(self.shape))
        block = np.fromfile(
            self.path,
            self.stored,
            count=(stop - start) * n,
            offset=self.offset + start * n * self.stored.itemsize,
        )
        if block.size < (stop - start) * n:
            msg = "the file ends before"
            raise ValueError(msg)
        frames = block.reshape(stop - start, *self.shape)
        return frames.astype(self.dtype, copy=False)


@dataclass(frozen=True, kw_only=True)
class TiffFrames(Frames):
    """Pages of a TIFF file, which are compressed or apart."""

    path: Path

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        import tifffile

        with tifffile.TiffFile(self.path) as tif:
            pages = tif.asarray(key=range(start, stop))
        return np.asarray(pages).reshape(stop - start, *self.shape)


@dataclass(frozen=True, kw_only=True)
class ReorderedFrames(Frames):
    """Frames that are stored in another order than that in which they were taken."""

    stored: Frames
    place: NDArray[np.intp]
    """(n_frames,): where each of them is."""

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        place = self.place[start:stop]
        order = np.argsort(place)
        # Of frames that follow each other, one read.
        runs = np.split(order, np.flatnonzero(np.diff(place[order]) > 1) + 1)
        out = np.empty((stop - start, *self.shape), self.dtype)
        for run in runs:
            first = int(place[run[0]])
            out[run] = self.stored.read(first, first + run.size)
        return out


@dataclass(frozen=True, kw_only=True)
class MovieFrames(Frames):
    """A compressed video, in grey."""

    decoder: Decoder

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        return self.decoder.read(start, stop)
