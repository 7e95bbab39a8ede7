"""Three factors in one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from matplotlib.patches import Patch

from .._adata.tables import read_table
from .._adata.views import read_factors, select_factors
from .._adata.volume import PLANES, has_volume, read_volume
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_one_of, check_positive_int
from ..get import image
from ._panels import figure_of, new_panels
from ._volume_maps import extent, project, show, slices

if TYPE_CHECKING:
    from typing import Any

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from .._adata.views import FactorSelection

# Red, green and blue that add up to white and can be told apart by most.
_COLORS = np.array([[1.0, 0.2, 0.2], [0.1, 0.75, 0.2], [0.2, 0.35, 1.0]])

# Inches that the longest side of a picture takes.
_SIDE = 2.0


@checked
@shared_docs
def factor_merge(
    adata: AnnData | SpatialData,
    key: str = "nmf",
    *,
    factors: FactorSelection = (0, 1, 2),
    view: Literal["projections", "slices"] = "projections",
    plane: Literal["coronal", "horizontal", "sagittal"] = "coronal",
    n_slices: int = 6,
    spatial_key: str = "spatial",
    table_key: str | None = None,
) -> list[Axes]:
    """Show up to three factors in one picture, as red, green and blue.

    Each factor is scaled to its maximum; where several are strong, their colours add
    up. For volumes in projections or slices as in :func:`nonneg.pl.volume_maps`, for
    images and arrays of spots in one picture.

    Parameters
    ----------
    %(key)s
    factors
        One to three factors, by name or number.
    view
        Of a volume: `"projections"` on three planes, or `"slices"`.
    plane
        Plane of slices.
    n_slices
        Number of slices.
    spatial_key
        Coordinates of an image in `adata.obsm`, on a regular grid.
    %(table_key)s

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        If there is no factorization under the key, or no such factor.
    ValueError
        If more than three factors are given, or observations are on no regular grid.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.quilt(12, 30)
    >>> axes = nng.pl.factor_merge(adata, "truth", factors=[0, 1, 2])
    >>> len(axes)
    1
    """
    adata = read_table(adata, table_key)
    check_one_of(view, ("projections", "slices"), "view")
    check_one_of(plane, tuple(PLANES), "plane")
    n_slices = check_positive_int(n_slices, "n_slices")
    found = read_factors(adata, key)
    chosen = select_factors(found.names, factors)
    if len(chosen) > len(_COLORS):
        msg = f"{len(chosen)} factors cannot be told apart by colour; choose up to 3."
        raise ValueError(msg)
    if not adata.n_obs:
        msg = "There is nothing to show: adata has no observations."
        raise ValueError(msg)
    top = np.nanmax(found.scores, axis=0)
    boxes = [
        image(adata, found.scores[:, k] / max(top[k], 1e-30), spatial_key=spatial_key)
        for k in chosen
    ]
    if boxes[0].ndim == 2:
        panels = new_panels(1, 1, (3.2, 3.2 * boxes[0].shape[0] / boxes[0].shape[1]))
        panels[0].imshow(_merge(boxes), interpolation="none")
        panels[0].axis("off")
    else:
        panels = _volume(adata, boxes, view, plane, n_slices)
    figure_of(panels[0]).legend(
        handles=[
            Patch(color=color, label=found.names[k])
            for color, k in zip(_COLORS, chosen, strict=False)
        ],
        loc="outside lower center",
        ncols=len(chosen),
        frameon=False,
        fontsize="small",
        handlelength=1,
    )
    return panels


def _volume(
    adata: AnnData,
    boxes: list[NDArray[np.floating[Any]]],
    view: str,
    plane: str,
    n_slices: int,
) -> list[Axes]:
    if not has_volume(adata):
        msg = (
            "Coordinates have three axes, but observations are not voxels of a box, see "
            "`nonneg.io.read_allen_grid`."
        )
        raise ValueError(msg)
    box = read_volume(adata).box
    if view == "projections":
        kinds = list(PLANES)
        pictures = [[project(each, kind) for each in boxes] for kind in kinds]
    else:
        parts = zip(*(slices(each, plane, n_slices) for each in boxes), strict=True)
        pictures = [list(part) for part in parts]
        kinds = [plane] * len(pictures)
    sizes = np.array([extent(box, kind) for kind in kinds])
    height, width = sizes.max(0) * _SIDE / sizes.max()
    ncols = 3
    panels = new_panels(len(kinds), ncols, (width + 0.1, height + 0.2))
    for ax, kind, picture in zip(panels, kinds, pictures, strict=True):
        show(ax, _merge(picture), box, kind)
        if view == "projections":
            ax.set_title(kind, fontsize="small")
    return panels


def _merge(pictures: list[NDArray[np.floating[Any]]]) -> NDArray[np.float64]:
    """Colours that add up on black, and nothing outside."""
    stack = np.stack(pictures, axis=-1)
    outside = ~np.isfinite(stack).all(axis=-1)
    strength = np.clip(np.nan_to_num(stack), 0, 1)
    colors = np.clip(strength @ _COLORS[: len(pictures)], 0, 1)
    return np.concatenate([colors, np.where(outside, 0.0, 1.0)[..., None]], axis=-1)
