"""Observations that are pixels, and variables that are frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

from .checks import as_numbers, check_key
from .volume import BOX, VOXEL, read_volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .volume import Box, Volume

VIDEO = "video"
"""In uns: rate and channels."""
TIME = "time"
"""In var: time of each frame, in seconds."""


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
    stored = adata.uns[VIDEO]
    fs = stored.get("fs")
    if not isinstance(fs, float | int | np.number) or not 0 < fs < np.inf:
        msg = f"adata.uns[{VIDEO!r}]['fs']={fs!r} must be a positive number, in Hz."
        raise ValueError(msg)
    time = as_numbers(adata.var[TIME], f"adata.var[{TIME!r}]")
    channels = [str(name) for name in np.ravel(stored.get("channels", ()))]
    return Video(read_volume(adata), float(fs), channels, time)
