"""Patterns of several methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._adata.checks import check_key
from .._adata.schema import stored_table
from .._adata.tables import read_table
from .._core.arguments import checked
from .._core.docs import shared_docs
from ._colors import NO_DATA
from ._panels import new_figure

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from spatialdata import SpatialData

_COLUMNS = {
    "morans_i": "Moran's I\nof values",
    "morans_i_leading": "Moran's I\nof where it leads",
    "region_score": "correlation with\nbest regions",
}


@checked
@shared_docs
def compare_patterns(
    adata: AnnData | SpatialData,
    *,
    table_key: str | None = None,
) -> list[Axes]:
    """Show coherence of patterns and their fit to regions, method by method.

    A dot is a pattern, a line the median of a method.

    Parameters
    ----------
    adata
        Annotated data after :func:`nonneg.tl.compare_patterns`.
    %(table_key)s

    Returns
    -------
    One Axes per measure.

    Raises
    ------
    KeyError
        If :func:`nonneg.tl.compare_patterns` was not called.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.quilt(12, 30)
    >>> nng.tl.compare_patterns(adata, key="truth", baselines=["pca"], region_key=None)
    >>> axes = nng.pl.compare_patterns(adata)
    >>> len(axes)
    2
    """
    adata = read_table(adata, table_key)
    hint = "Call `nonneg.tl.compare_patterns(adata)` first."
    check_key(adata, "uns", "pattern_comparison", hint=hint)
    where = "adata.uns['pattern_comparison']"
    again = "Call `nonneg.tl.compare_patterns`"
    table = stored_table(adata.uns["pattern_comparison"], where, again, text=["method"])
    # Fits to regions where there were some.
    shown = [name for name in _COLUMNS if name in table or name != "region_score"]
    table = stored_table(table, where, again, numbers=shown)
    methods = list(dict.fromkeys(table["method"]))
    width = 0.6 + 0.42 * len(methods)
    _, axes = new_figure(
        1,
        len(shown),
        figsize=(width * len(shown) + 0.3, 2.5),
        layout="constrained",
        squeeze=False,
    )
    for ax, name in zip(axes[0], shown, strict=True):
        for x, method in enumerate(methods):
            values = table.loc[table["method"] == method, name].dropna().to_numpy()
            # Spread, so that equal ones are seen: in a fixed order.
            shift = 0.3 * (((np.arange(values.size) * 0.618) % 1) - 0.5)
            ax.scatter(x + shift, values, s=12, color=f"C{x % 10}", alpha=0.8, lw=0)
            if values.size:
                ax.hlines(np.median(values), x - 0.3, x + 0.3, color=f"C{x % 10}", lw=2)
        ax.axhline(0, color=NO_DATA, lw=0.6, zorder=0)
        ax.set_xticks(np.arange(len(methods)), methods, rotation=45, ha="right")
        ax.set_title(_COLUMNS[name], fontsize="small")
        ax.set(xlim=(-0.6, len(methods) - 0.4), ylim=(min(ax.get_ylim()[0], 0), 1.02))
        ax.tick_params(labelsize="small")
        ax.tick_params(axis="x", length=0)
        ax.spines[["top", "right"]].set_visible(False)
    return list(axes[0])
