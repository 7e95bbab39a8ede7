"""Relative changes of fluorescence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._adata.checks import check_key
from .._adata.read import resolve_adata
from .._adata.video import frame_blocks, map_frames, read_video
from .._adata.write import matrix_place, write_values
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_at_least

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from .._adata.video import Blocks
    from .._adata.write import Place


@checked
@shared_docs
def delta_f(
    adata: AnnData | SpatialData,
    *,
    channels: str | Sequence[str] | None = None,
    baseline_key: str | None = None,
    trial_key: str | None = None,
    dark: float = 0.0,
    chunk_size: int | None = None,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    r"""Turn counts into relative changes, :math:`\Delta F/F = (F - \bar F) / \bar F`.

    Of every pixel, and every channel. Frames are read once, in blocks.

    Parameters
    ----------
    adata
        Annotated pixels x frames, in memory or as dask arrays.
    channels
        Channel or channels to turn. `None`: all.
    baseline_key
        Boolean column of `adata.var`: frames that :math:`\bar F` is the mean of, such as
        those before a stimulus. `None`: all frames.
    trial_key
        Column of `adata.var` that names the trial of each frame, for a baseline of each
        trial. Fluctuations from trial to trial are lost then. `None`: one baseline.
    dark
        Counts of the camera without light, which are subtracted. Where they are left in,
        all changes are too small.
    chunk_size
        Frames in a block. `None`: as the dask array has, or about 64 MB.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets the following fields:

    `.X`, `.layers`
        Relative changes, single precision; lazily where channels are dask arrays.
    `.obs['baseline']`, `.obs['baseline_<channel>']` : :class:`pandas.Series`
        :math:`\bar F` of the first, and of other channels; with trials, its mean.

    Raises
    ------
    KeyError
        If observations are not pixels of a video, or there is no such column.
    TypeError
        If a channel is not dense.
    ValueError
        If entries are NaN or infinite, a pixel has no positive baseline, or an argument
        does not suit.

    See Also
    --------
    nonneg.pp.svd : comes next

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.widefield(shape=(40, 48), n_regions=2, n_frames=100)
    >>> nng.pp.delta_f(adata)
    >>> bool(abs(adata.X.mean()) < 1e-4)
    True
    """
    check_at_least(dark, -np.inf, "dark")
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    video = read_video(target)
    names = video.select(channels)
    used = _baseline_frames(target, baseline_key)
    trial = _trials(target, trial_key)
    if (empty := np.setdiff1d(trial, trial[used])).size:
        msg = f"{empty.size} trials of {trial_key!r} have no frame of {baseline_key!r}."
        raise ValueError(msg)
    values: dict[Place, Any] = {}
    for name in names:
        layer = video.layer(name)
        blocks = frame_blocks(target, layer, chunk_size)
        level = _baseline(blocks, used, trial, dark)
        blocks.warn_saturated()
        values[matrix_place(layer)] = map_frames(blocks, _Relative(level, trial, dark))
        column = "baseline" if layer is None else f"baseline_{name}"
        values["obs", column] = level.mean(axis=1)
    write_values(target, values)
    return target if copy else None


class _Relative:
    """Changes relative to levels (n_pixels, n_trials)."""

    def __init__(
        self, level: NDArray[np.float32], trial: NDArray[np.intp], dark: float
    ) -> None:
        self.level, self.trial, self.dark = level, trial, np.float32(dark)

    def __call__(self, block: NDArray[np.float32], part: slice) -> NDArray[np.float32]:
        level = (
            self.level if self.level.shape[1] == 1 else self.level[:, self.trial[part]]
        )
        block -= self.dark
        block -= level
        block /= level
        return block


def _baseline_frames(adata: AnnData, key: str | None) -> NDArray[np.bool_]:
    if key is None:
        return np.ones(adata.n_vars, bool)
    check_key(adata, "var", key)
    used = adata.var[key].to_numpy()
    if used.dtype != bool or not used.any():
        msg = f"adata.var[{key!r}] must hold booleans, some of them true."
        raise ValueError(msg)
    return used


def _trials(adata: AnnData, key: str | None) -> NDArray[np.intp]:
    if key is None:
        return np.zeros(adata.n_vars, np.intp)
    check_key(adata, "var", key)
    codes, _ = pd.factorize(adata.var[key].to_numpy())
    if (codes < 0).any():
        msg = f"adata.var[{key!r}] has frames without a trial. Leave them out first."
        raise ValueError(msg)
    return codes


def _baseline(
    blocks: Blocks, used: NDArray[np.bool_], trial: NDArray[np.intp], dark: float
) -> NDArray[np.float32]:
    """Mean of the frames used (n_pixels, n_trials)."""
    n_trials = int(trial.max()) + 1
    total = np.zeros((blocks.shape[0], n_trials))
    for part, block in blocks:
        weight = np.zeros((block.shape[1], n_trials))
        weight[np.arange(len(weight)), trial[part]] = used[part]
        if n_trials == 1 and used[part].all():
            total[:, 0] += block.sum(axis=1, dtype=np.float64)
        else:
            total += block @ weight
    level = total / np.bincount(trial[used], minlength=n_trials) - dark
    low = (level <= 0).any(axis=1)
    if low.any():
        hint = (
            " Counts above 32,767 that were read as int16 wrap around: read them as uint16."
            if blocks.x.dtype == np.int16
            else ""
        )
        msg = (
            f"{low.sum()} of {len(low)} pixels of {blocks.where} have a baseline of 0 or "
            f"less, after dark={dark:g}. Leave pixels without light out, or lower dark; "
            f"changes that are relative already are not turned again.{hint}"
        )
        raise ValueError(msg)
    return level.astype(np.float32)
