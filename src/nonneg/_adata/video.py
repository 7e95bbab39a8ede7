"""Observations that are pixels, and variables that are frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from .._core.text import conjugated, counted
from .._core.validators import check_positive_int
from .._core.warnings import warn
from .checks import as_numbers, check_key, check_some
from .read import select_matrix
from .volume import BOX, VOXEL, read_volume

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from .volume import Box, Volume

VIDEO = "video"
"""In uns: rate and channels."""
TIME = "time"
"""In var: time of each frame, in seconds."""


# Bytes of a block in single precision.
_BLOCK = 64e6
# Part of the pixels at full scale from which on a frame counts as saturated, and the
# bits that cameras have.
_SATURATED, _BITS = 0.01, (8, 10, 11, 12, 14, 16)
# Clocks of cameras may differ from the rate that was set by so much.
_RATE = 0.05


def channel_names(channels: str | Sequence[str]) -> list[str]:
    """Names of light sources, which do not repeat."""
    several = [channels] if isinstance(channels, str) else channels
    names = [str(name) for name in several]
    if not names or len(set(names)) < len(names):
        msg = f"channels={names} must be names that do not repeat."
        raise ValueError(msg)
    return names


@dataclass(frozen=True)
class Video:
    """Pixels of an image, in frames."""

    pixels: Volume
    fs: float
    """Frames per second of each channel."""
    channels: list[str]
    """The first one is X, the others are layers."""
    time: NDArray[np.float64]
    """(n_vars,): seconds."""

    def check_rate(self) -> None:
        """Refuse a rate that is not that of the frames, such as of every second one.

        Gaps are passed over, with a warning.
        """
        steps = np.diff(self.time)
        if not steps.size:
            return
        step = float(np.median(steps))
        if not abs(step * self.fs - 1) < _RATE:
            msg = (
                f"Frames are {step:.4g} s apart in adata.var[{TIME!r}], but "
                f"adata.uns[{VIDEO!r}]['fs'] is {self.fs:g} Hz. If some frames were left "
                f"out, set it to {1 / step if step > 0 else np.nan:.4g}."
            )
            raise ValueError(msg)
        n_gaps = int((steps > 1.5 * step).sum())
        if n_gaps:
            warn(
                f"There {conjugated(n_gaps, 'is')} {counted(n_gaps, 'gap')} between frames, "
                "which filters pass over as if "
                "frames were evenly spaced."
            )

    def select(self, channels: str | Sequence[str] | None) -> list[str]:
        """Names of one channel, of several, or of all."""
        if channels is None:
            return self.channels
        return [channels] if isinstance(channels, str) else [str(n) for n in channels]

    def layer(self, channel: str) -> str | None:
        """Where a channel is: a layer, or X."""
        if channel not in self.channels:
            msg = f"There is no channel {channel!r}; there are {self.channels}."
            raise KeyError(msg)
        return None if channel == self.channels[0] else channel


def new_video(
    box: Box,
    voxel: NDArray[np.integer[Any]],
    time: NDArray[np.float64],
    *,
    fs: float,
    channels: Sequence[str],
) -> AnnData:
    """An object of pixels x frames, without data yet."""
    made = AnnData(
        obs=pd.DataFrame({VOXEL: voxel.astype(np.int64)}, index=voxel.astype(str)),
        var=pd.DataFrame({TIME: time}, index=np.arange(time.size).astype(str)),
        uns={
            BOX: box.to_uns(),
            VIDEO: {"fs": float(fs), "channels": np.array(channels, object)},
        },
    )
    made.obsm["spatial"] = box.coordinates(voxel)
    return made


def read_video(adata: AnnData) -> Video:
    """Pixels, frames and channels, checked."""
    hint = (
        "Videos come from `nonneg.io.read_video`, `nonneg.io.from_svd` or "
        "`nonneg.datasets.widefield`."
    )
    check_key(adata, "uns", VIDEO, hint=hint)
    check_key(adata, "var", TIME, hint=hint)
    check_some(adata, "observations", "variables")
    stored = adata.uns[VIDEO]
    fs = stored.get("fs")
    if not isinstance(fs, float | int | np.number) or not 0 < fs < np.inf:
        msg = f"adata.uns[{VIDEO!r}]['fs']={fs!r} must be a positive number, in Hz."
        raise ValueError(msg)
    time = as_numbers(adata.var[TIME], f"adata.var[{TIME!r}]")
    channels = [str(name) for name in np.ravel(stored.get("channels", ()))]
    return Video(read_volume(adata), float(fs), channels, time)


@dataclass
class Blocks:
    """A matrix of pixels x frames, in blocks of frames, checked as it is read."""

    x: Any
    where: str
    size: int
    saturated: NDArray[np.float32]
    """(n_frames,): part of the pixels at the largest value of the frame."""
    top: NDArray[np.float64]
    """(n_frames,): largest values."""

    @property
    def shape(self) -> tuple[int, int]:
        """Pixels and frames."""
        return int(self.x.shape[0]), int(self.x.shape[1])

    @property
    def is_lazy(self) -> bool:
        """Whether it is a dask array."""
        return hasattr(self.x, "compute")

    def parts(self) -> list[slice]:
        """The blocks, in order."""
        n = self.shape[1]
        return [slice(a, min(a + self.size, n)) for a in range(0, n, self.size)]

    def read(self, part: slice) -> NDArray[np.float32]:
        """Some frames (n_pixels, n), a copy."""
        block = self.x[:, part]
        block = np.asarray(block.compute() if self.is_lazy else block)
        if block.dtype.kind in "iu" and block.size:
            self.top[part] = block.max(axis=0)
            self.saturated[part] = (block == block.max(axis=0)).mean(axis=0)
        out = np.array(block, np.float32)
        if not np.isfinite(out.sum(dtype=np.float64)):
            self._refuse(out, part)
        return out

    def __iter__(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        for part in self.parts():
            yield part, self.read(part)

    def _refuse(self, block: NDArray[np.float32], part: slice) -> None:
        bad = ~np.isfinite(block)
        pixels, frames = bad.any(axis=1).sum(), bad.any(axis=0).sum()
        kind = "NaN" if np.isnan(block).any() else "infinite"
        msg = (
            f"{self.where} holds {kind} entries: in {pixels} of {len(block)} pixels and "
            f"{frames} of frames {part.start} to {part.stop - 1}. Leave these pixels out, "
            "`adata[np.isfinite(x).all(axis=1)]`, or these frames, "
            "`adata[:, np.isfinite(x).all(axis=0)]`."
        )
        raise ValueError(msg)

    def warn_saturated(self) -> None:
        """Warn of frames in which the camera was at its limit, after a pass."""
        limit = self.top.max(initial=0)
        full = {2**bits - 1 for bits in _BITS}
        if self.x.dtype.kind in "iu":
            full.add(int(np.iinfo(self.x.dtype).max))
        if limit not in full:
            return
        over = (self.top == limit) & (self.saturated > _SATURATED)
        if over.any():
            warn(
                f"{counted(int(over.sum()), 'frame')} of {self.where} "
                f"{conjugated(int(over.sum()), 'is')} saturated: more than "
                f"{_SATURATED:.0%} of their pixels are at {limit:.0f}, the first in frame "
                f"{over.argmax()}. What they show is cut off."
            )


def frame_blocks(
    adata: AnnData, layer: str | None, chunk_size: int | None = None
) -> Blocks:
    """X or a layer, which must be dense: in memory, or a dask array."""
    x, where = select_matrix(adata, layer=layer)
    if adata.isbacked and layer is None:
        msg = f"{where} is in a file. Read it with `adata.to_memory()` first."
        raise TypeError(msg)
    # Views of arrays are arrays.
    if not (isinstance(x, np.ndarray) or hasattr(x, "dask")):
        msg = f"{where} must be a dense array or a dask array, not {type(x).__name__}."
        raise TypeError(msg)
    if sp.issparse(getattr(x, "_meta", None)):
        msg = (
            f"{where} must be a dense array or a dask array of dense chunks, but its "
            "chunks are sparse. Call `x.map_blocks(lambda chunk: chunk.toarray())`."
        )
        raise TypeError(msg)
    n_pixels, n_frames = x.shape
    if 0 in x.shape:
        msg = f"{where} is empty: {n_pixels} pixels x {n_frames} frames."
        raise ValueError(msg)
    if chunk_size is None:
        # Blocks of the file are read once.
        stored = max(x.chunks[1]) if hasattr(x, "chunks") else 0
        chunk_size = int(stored or max(1, _BLOCK / (4 * n_pixels)))
    size = check_positive_int(chunk_size, "chunk_size")
    return Blocks(x, where, size, np.zeros(n_frames, np.float32), np.zeros(n_frames))


def map_frames(
    blocks: Blocks,
    function: Callable[[NDArray[np.float32], slice], NDArray[np.float32]],
) -> Any:
    """A function of every block: in memory, or again lazily."""
    if not blocks.is_lazy:
        out = np.empty(blocks.shape, np.float32)
        for part, block in blocks:
            out[:, part] = function(block, part)
        return out
    import dask
    import dask.array as da

    def made(block: Any, part: slice) -> NDArray[np.float32]:
        return function(np.array(block, np.float32), part)

    return da.concatenate(
        [
            da.from_delayed(
                dask.delayed(made)(blocks.x[:, part], part),
                (blocks.shape[0], part.stop - part.start),
                np.float32,
            )
            for part in blocks.parts()
        ],
        axis=1,
    )
