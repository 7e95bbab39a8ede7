"""What was taken for hemodynamics, pixel by pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._adata.checks import check_key
from .._adata.tables import of_table
from .._adata.views import read_factors
from ..get import image
from ._panels import figure_of, new_panels

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes


@of_table
def hemodynamic_maps(adata: AnnData, key: str = "hemo") -> list[Axes]:
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
    found = read_factors(adata, key)
    hint = "Call `nonneg.pp.hemodynamic_correction(adata)` first."
    columns = [f"{found.keys.uns}_{kind}" for kind in ("coef", "explained")]
    for column in columns:
        check_key(adata, "obs", column, hint=hint)
    panels = new_panels(2, 2, (2.4, 2.1))
    titles = ("coefficient", "part removed")
    for ax, column, title in zip(panels, columns, titles, strict=True):
        values = np.asarray(adata.obs[column], np.float64)
        picture = image(adata, values)
        # A few pixels at vessels would take up the scale.
        low, high = np.nanpercentile(values, [1, 99])
        limits = (low, high) if title == "coefficient" else (min(low, 0), 1)
        shown = ax.imshow(
            picture,
            cmap="viridis" if title == "coefficient" else "magma",
            vmin=limits[0],
            vmax=max(limits[1], limits[0] + 1e-6),
            interpolation="none",
        )
        ax.set_title(title, fontsize="small")
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
        bar = figure_of(ax).colorbar(shown, ax=ax, shrink=0.7, aspect=14, pad=0.02)
        bar.ax.tick_params(labelsize="x-small", length=0)
        bar.outline.set_visible(False)
    return panels
