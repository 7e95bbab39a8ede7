"""What was taken for hemodynamics, pixel by pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._adata.checks import as_numbers, check_key
from .._adata.tables import read_table
from .._adata.views import read_factors
from .._adata.volume import has_volume, read_volume
from .._core.arguments import checked
from .._core.docs import shared_docs
from ..get import image
from ._outlines import bare, scale_bar
from ._panels import figure_of, new_panels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray
    from spatialdata import SpatialData


@checked
@shared_docs
def hemodynamic_maps(
    adata: AnnData | SpatialData,
    key: str = "hemo",
    *,
    table_key: str | None = None,
) -> list[Axes]:
    """Show the coefficient of the reference, and how much it removed, as maps.

    Coefficients are smooth over the cortex, of about 1 where both channels are relative
    changes, and differ along vessels. Coefficients near 0, or removed parts near 0 over
    large areas, say that the channels were exchanged or do not see the same.

    Parameters
    ----------
    adata
        Annotated data after :func:`nonneg.pp.hemodynamic_correction`.
    key
        Key of the corrected signal.
    %(table_key)s

    Returns
    -------
    Axes of the two maps.

    Raises
    ------
    KeyError
        If there is no corrected signal under the key.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.widefield(shape=(40, 48), n_regions=2, motion=0)
    >>> nng.pp.delta_f(adata)
    >>> nng.pp.svd(adata, 30)
    >>> nng.pp.svd(adata, 30, layer="violet")
    >>> nng.pp.hemodynamic_correction(adata)
    >>> [ax.get_title() for ax in nng.pl.hemodynamic_maps(adata)]
    ['coefficient', 'part removed']
    """
    adata = read_table(adata, table_key)
    columns = hemodynamic_columns(adata, key)
    panels = new_panels(2, 2, (2.4, 2.1))
    draw_hemodynamic_maps(adata, columns, panels)
    return panels


def hemodynamic_columns(adata: AnnData, key: str) -> list[str]:
    """Columns of obs with coefficients and with parts removed."""
    found = read_factors(adata, key)
    hint = "Call `nonneg.pp.hemodynamic_correction(adata)` first."
    columns = [f"{found.keys.uns}_{kind}" for kind in ("coef", "explained")]
    for column in columns:
        check_key(adata, "obs", column, hint=hint)
    return columns


def draw_hemodynamic_maps(
    adata: AnnData, columns: Sequence[str], panels: Sequence[Axes]
) -> None:
    """Maps of both, on given axes."""
    titles = ("coefficient", "part removed")
    for ax, column, title in zip(panels, columns, titles, strict=True):
        values = as_numbers(adata.obs[column], f"adata.obs[{column!r}]")
        low, high = bulk(values)
        limits = (low, high) if title == "coefficient" else (min(low, 0), 1)
        draw_map(
            ax,
            adata,
            values,
            title,
            cmap="viridis" if title == "coefficient" else "magma",
            limits=limits,
        )


def bulk(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 1st and 99th percentile: a few pixels at vessels would take up the scale."""
    known = values[np.isfinite(values)]
    if not known.size:
        return 0.0, 1.0
    low, high = np.percentile(known, [1, 99])
    return float(low), float(high)


def draw_map(
    ax: Axes,
    adata: AnnData,
    values: NDArray[np.float64],
    title: str,
    *,
    cmap: str,
    limits: tuple[float, float],
) -> None:
    """A number of every pixel as an image, with bars of colour and of length."""
    shown = ax.imshow(
        image(adata, values),
        cmap=cmap,
        vmin=limits[0],
        vmax=max(limits[1], limits[0] + 1e-6),
        interpolation="none",
    )
    ax.set_title(title, fontsize="small")
    bare(ax)
    if has_volume(adata):
        scale_bar(ax, read_volume(adata))
    bar = figure_of(ax).colorbar(shown, ax=ax, shrink=0.7, aspect=14, pad=0.02)
    bar.ax.tick_params(labelsize="x-small", length=0)
    bar.outline.set_visible(False)
