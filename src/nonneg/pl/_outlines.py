"""Images of pixels with the borders of regions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from .._adata.footprints import Parcellation
    from .._adata.volume import Volume

# Empty pixels around the image.
_MARGIN = 1


def filled(parcels: Parcellation, values: NDArray[Any], empty: float) -> NDArray[Any]:
    """Values of pixels in the smallest image that holds all of them."""
    index = parcels.volume.index
    low = index.min(axis=0) - _MARGIN
    shape = index.max(axis=0) - low + 1 + _MARGIN
    image = np.full((*shape, *values.shape[1:]), empty, np.float64)
    image[tuple((index - low).T)] = values
    return image


def check_image(parcels: Parcellation) -> None:
    """Raise for volumes."""
    n_axes = len(parcels.volume.box.shape)
    if n_axes != 2:
        msg = (
            f"Pixels have {n_axes} axes; this shows images. For volumes see "
            "`nonneg.pl.volume_maps`."
        )
        raise ValueError(msg)


def draw_outlines(ax: Axes, parcels: Parcellation, color: Any, width: float) -> None:
    """Lines between pixels of different regions."""
    labels = filled(parcels, parcels.codes.astype(float), -1)
    across = labels[:, 1:] != labels[:, :-1]
    along = labels[1:] != labels[:-1]
    rows, columns = np.nonzero(across)
    lines = [
        [(c + 0.5, r - 0.5), (c + 0.5, r + 0.5)]
        for r, c in zip(rows, columns, strict=True)
    ]
    rows, columns = np.nonzero(along)
    lines += [
        [(c - 0.5, r + 0.5), (c + 0.5, r + 0.5)]
        for r, c in zip(rows, columns, strict=True)
    ]
    from matplotlib.collections import LineCollection

    ax.add_collection(
        LineCollection(lines, colors=[color], linewidths=width, capstyle="round")
    )


def bare(ax: Axes) -> None:
    """An image without ticks or a frame."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)


def scale_bar(ax: Axes, volume: Volume) -> None:
    """A line of a round length below the image."""
    spacing = volume.box.spacing[-1]
    # Pixels whose size is not known are 1 apart.
    unit = "pixels" if spacing == 1 else "mm"
    width = np.ptp(volume.index[:, -1]) + 1
    # 1, 2 or 5 times a power of ten, a fifth of the image at most.
    most = width * spacing / 5
    power = 10.0 ** np.floor(np.log10(most))
    length = max(step for step in (1, 2, 5) if step * power <= most) * power
    bottom = ax.get_ylim()[0]
    ax.plot(
        [_MARGIN, _MARGIN + length / spacing],
        [bottom, bottom],
        color="0.4",
        lw=1.5,
        solid_capstyle="butt",
        clip_on=False,
    )
    ax.annotate(
        f"{length:g} {unit}",
        (_MARGIN + length / spacing / 2, bottom),
        xytext=(0, -2),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize="x-small",
        annotation_clip=False,
    )
