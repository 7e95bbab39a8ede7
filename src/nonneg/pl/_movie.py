"""Movie of the data, of components, and of what they leave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation

from .._adata.footprints import read_components, read_movie, read_parcellation
from .._adata.labels import as_text
from .._adata.schema import from_uns, is_entry
from .._adata.tables import read_table
from .._adata.traces import frame_step, read_time
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_at_least, check_positive_int
from ._film import check_film, write_film
from ._footprints import region_colors
from ._outlines import bare, check_image, draw_outlines, filled, scale_bar

if TYPE_CHECKING:
    from os import PathLike

    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

# Frames that the scale of colours is taken from, and the part of their pixels within it.
_SAMPLED, _WITHIN = 50, 0.995
_NEGATIVE = np.array([0.25, 0.25, 0.25])
# Pixels along a side: fewer show no image, and H.264 takes no more.
_LEAST, _MOST = 64, 16384
_TITLES = ("data", "components", "residual")


@checked
@shared_docs
def movie(
    adata: AnnData | SpatialData,
    key: str = "locanmf",
    path: str | PathLike[str] | None = None,
    *,
    data_key: str | None = None,
    window: tuple[float, float] | None = None,
    step: int = 1,
    speed: float = 1.0,
    limit: float | None = None,
    unit: str | None = None,
    region_key: str = "region",
    hemisphere_key: str | None = "hemisphere",
    dpi: int = 100,
    table_key: str | None = None,
) -> FuncAnimation:
    """Show the data, the components in the colours of their regions, and the residual.

    All three are changes from the mean over time, on one scale. In the middle, positive
    values have the mean colour of the components there, as in
    :func:`nonneg.pl.footprints`, and negative ones are grey. What looks like activity in
    the residual is not explained.

    Frames are made one after the other from the product of which the movie consists, and
    go to the file as they are made: pixels x frames is never there.

    Parameters
    ----------
    %(key)s
    path
        File to write: `.mp4` (extra `widefield`) or `.gif`. `None`: none, for
        `animation.to_jshtml()` in a notebook.
    data_key
        Key of the movie. `None`: the one that components were fitted to.
    window
        First and last time to show, in seconds. `None`: all.
    step
        Show every so many frames. Fewer make smaller files.
    speed
        How many times faster than it was: 2 shows two seconds in one.
    limit
        Value with the full colour. `None`: 99.5 percent of the data are below it.
    unit
        Of the data, for the colour bar. `None`: "ΔF/F" after :func:`nonneg.pp.delta_f`.
    region_key
        Column of `adata.obs` with regions, for the borders.
    hemisphere_key
        Column of `adata.obs` with hemispheres.
    dpi
        Resolution; a panel is 2.6 inches wide.
    %(table_key)s

    Returns
    -------
    The animation, which has been written if there is a path.

    Raises
    ------
    ImportError
        If a library to write this kind of file is missing.
    KeyError
        If there are no such components, movie or regions.
    ValueError
        If no frame is in the window, components have no regions, pixels are of a
        volume, a file of this kind cannot be written, or an argument does not suit.

    See Also
    --------
    nonneg.pl.footprints : all components in one image
    nonneg.pl.region_quality : how much is explained, by region

    Examples
    --------
    >>> import nonneg as nng
    >>> import tempfile
    >>> adata = nng.datasets.widefield(
    ...     form="svd", shape=(40, 48), n_regions=2, n_frames=50
    ... )
    >>> path = f"{tempfile.mkdtemp()}/movie.gif"
    >>> animation = nng.pl.movie(adata, "truth", path, data_key="svd", window=(0, 1))
    >>> [ax.get_title() for ax in animation._fig.axes[:3]]
    ['data', 'components', 'residual']
    """
    adata = read_table(adata, table_key)
    step = check_positive_int(step, "step")
    dpi = check_positive_int(dpi, "dpi")
    for value, name in ((speed, "speed"), (1.0 if limit is None else limit, "limit")):
        check_at_least(value, 0, name)
        if value == 0:
            msg = f"{name}=0 must be positive."
            raise ValueError(msg)
    if path is not None:
        check_film(path)
    frames = _Frames(adata, key, data_key, region_key, hemisphere_key)
    check_image(frames.parcels)
    time = read_time(adata)
    shown = _in_window(time, window)[::step]
    if limit is None:
        limit = frames.typical(shown)
    size = (9.0, 0.9 + 2.6 * frames.height / frames.width)
    _check_pixels(size, dpi)
    figure = plt.figure(figsize=size, dpi=dpi)
    figure.set_layout_engine("constrained")
    axes = figure.subplots(1, 3)
    of_data, of_components, of_residual = frames.images(int(shown[0]), limit)
    scale: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
    pictures = [
        axes[0].imshow(of_data, interpolation="none", **scale),
        axes[1].imshow(of_components, interpolation="none"),
        axes[2].imshow(of_residual, interpolation="none", **scale),
    ]
    for ax, title in zip(axes, _TITLES, strict=True):
        draw_outlines(ax, frames.parcels, "0.55", 0.5)
        bare(ax)
        ax.set_title(title, fontsize="medium")
    scale_bar(axes[0], frames.parcels.volume)
    bar = figure.colorbar(
        pictures[2], ax=list(axes), fraction=0.02, pad=0.01, shrink=0.7, aspect=25
    )
    if unit is None:
        unit = "ΔF/F" if "baseline" in adata.obs else "signal"
    bar.set_label(unit, fontsize="small")
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize="x-small", length=0)
    faster = "" if speed == 1 else f"  ({speed:g} times as fast)"
    digits = int(np.clip(np.ceil(-np.log10(frame_step(time))), 0, 4))
    stamp = axes[1].text(
        0.5, -0.03, "", transform=axes[1].transAxes, ha="center", va="top",
        fontsize="small",
    )  # fmt: skip

    def show(i: int) -> list[Any]:
        frame = int(shown[i])
        for picture, image in zip(pictures, frames.images(frame, limit), strict=True):
            picture.set_data(image)
        stamp.set_text(f"{time[frame]:.{digits}f} s{faster}")
        return [*pictures, stamp]

    show(0)
    # Once: the place of nothing changes.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    fps = speed / (frame_step(time) * step)
    animation = FuncAnimation(
        figure, show, shown.size, interval=1000 / fps, cache_frame_data=False
    )
    if path is not None:
        write_film(path, figure, show, shown.size, fps)
        # It has been rendered: nothing to warn of when it is dropped.
        animation._draw_was_started = True  # type: ignore[attr-defined]
    plt.close(figure)
    return animation


def _check_pixels(size: tuple[float, float], dpi: int) -> None:
    """Refuse frames in which nothing can be seen, or that no codec takes."""
    low, high = _LEAST / min(size), _MOST / max(size)
    if not low <= dpi <= high:
        wide, tall = (round(inches * dpi) for inches in size)
        msg = (
            f"dpi={dpi} makes frames of {wide} x {tall} pixels. Choose dpi from "
            f"{np.ceil(low):.0f} to {np.floor(high):.0f}."
        )
        raise ValueError(msg)


def _in_window(
    time: NDArray[np.float64], window: tuple[float, float] | None
) -> NDArray[np.intp]:
    low, high = window if window is not None else (time[0], time[-1])
    shown = np.flatnonzero((time >= low) & (time <= high))
    if not shown.size:
        msg = f"window={window} has no frame; they reach from {time[0]:g} to {time[-1]:g}."
        raise ValueError(msg)
    return shown


class _Frames:
    """Frames of a low-rank movie and of its components, one at a time."""

    def __init__(
        self,
        adata: AnnData,
        key: str,
        data_key: str | None,
        region_key: str,
        hemisphere_key: str | None,
    ) -> None:
        found, entry = read_components(adata, key)
        if data_key is None:
            data_key = entry.params.get("key")
        if data_key is None:
            msg = (
                f"adata.uns[{key!r}] does not say of which movie it is. Name it as "
                "data_key, such as 'svd'."
            )
            raise KeyError(msg)
        if (
            data_key == key
            or getattr(_entry(adata, data_key), "region", None) is not None
        ):
            msg = (
                f"data_key={data_key!r} holds components of regions, not the movie that "
                "they were fitted to, such as data_key='svd' of `nonneg.pp.svd`."
            )
            raise ValueError(msg)
        data = read_movie(adata, str(data_key))
        self.parcels = read_parcellation(adata, region_key, hemisphere_key)
        self.u = np.asarray(data.u, np.float32)
        self.v = _centred(data.traces)
        self.a = np.asarray(found.scores, np.float32)
        self.c = _centred(found.loadings)
        regions = as_text(entry.region)
        palette = region_colors(regions)
        colors = np.array([palette[name] for name in regions], np.float32)
        # The colours, and that a component is there at all.
        self.colors = np.column_stack([colors.reshape(-1, 3), np.ones(len(colors))])
        place = filled(self.parcels, np.arange(adata.n_obs), -1)
        self.place = place.astype(np.intp)

    @property
    def height(self) -> int:
        return int(self.place.shape[0])

    @property
    def width(self) -> int:
        return int(self.place.shape[1])

    def typical(self, frames: NDArray[np.intp]) -> float:
        """What most values are below, from some of the frames."""
        some = frames[:: max(1, frames.size // _SAMPLED)]
        largest = [
            float(np.quantile(np.abs(self.u @ self.v[frame]), _WITHIN))
            for frame in some
        ]
        return max(largest) or 1.0

    def images(self, frame: int, limit: float) -> list[NDArray[Any]]:
        """Data, coloured components and residual of a frame."""
        data = self.u @ self.v[frame]
        traces = self.c[frame]
        fitted = self.a @ traces
        active = np.maximum(traces, 0)[:, None] * self.colors
        weighted = np.abs(self.a) @ active.astype(np.float32)
        hue = weighted[:, :3] / np.maximum(weighted[:, 3:], 1e-30)
        hue[fitted < 0] = _NEGATIVE
        strength = np.minimum(np.abs(fitted) / limit, 1)[:, None]
        colored = np.hstack([hue.clip(0, 1), strength])
        return [
            self._fill(data, np.nan), self._fill(colored, 0.0),
            self._fill(data - fitted, np.nan),
        ]  # fmt: skip

    def _fill(self, values: NDArray[Any], empty: float) -> NDArray[Any]:
        # The last row is for places without a pixel.
        blank = np.full((1, *values.shape[1:]), empty, values.dtype)
        filled_in: NDArray[Any] = np.concatenate([values, blank])[self.place]
        return filled_in


def _entry(adata: AnnData, key: str) -> Any:
    """What is known of a stored factorization, if there is one."""
    stored = adata.uns.get(key)
    return from_uns(stored, f"adata.uns[{key!r}]") if is_entry(stored) else None


def _centred(traces: NDArray[Any]) -> NDArray[np.float32]:
    """(n_frames, k): without their mean, contiguous by frame."""
    values = np.asarray(traces, np.float32)
    return np.ascontiguousarray(values - values.mean(axis=0, dtype=np.float64)).astype(
        np.float32
    )
