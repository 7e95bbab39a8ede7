"""How well regions are explained, and by how many components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from .._adata.footprints import read_components
from .._adata.labels import as_text
from .._adata.schema import stored_table
from .._adata.tables import read_table
from .._core.arguments import checked
from .._core.docs import shared_docs
from ._footprints import region_colors
from ._panels import new_panels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from spatialdata import SpatialData

# Height of a region, and width of a panel, in inches.
_ROW, _PANEL = 0.17, 2.0


@checked
@shared_docs
def region_quality(
    adata: AnnData | SpatialData,
    key: str = "locanmf",
    *,
    regions: str | Sequence[str] | None = None,
    table_key: str | None = None,
) -> list[Axes]:
    """Show number of components, variance explained and localisation, by region.

    Lines are the thresholds of the fit. A region below that of :math:`R^2` has as many
    components as it may have: what it lacks is noise, or more than `max_rank` sources.
    Points are single components, bars their mean.

    Parameters
    ----------
    %(key)s
    regions
        Regions to show, in this order. `None`: all.
    %(table_key)s

    Returns
    -------
    Axes of the number of components, of :math:`R^2`, and of localisation.

    Raises
    ------
    KeyError
        If there is no such factorization or region.
    ValueError
        If components have no regions, there is nothing known of these, or none is named.

    See Also
    --------
    nonneg.pl.region_map : any number of regions, on the atlas

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.widefield(
    ...     form="svd", shape=(40, 48), n_regions=2, n_frames=200
    ... )
    >>> nng.tl.locanmf(adata, max_rank=4)
    >>> [ax.get_xlabel() for ax in nng.pl.region_quality(adata)]
    ['components', 'variance explained', 'energy inside']
    """
    adata = read_table(adata, table_key)
    _, entry = read_components(adata, key)
    table: Any = getattr(entry, "regions", None)
    localization: Any = getattr(entry, "localization", None)
    if table is None or localization is None:
        msg = (
            f"adata.uns[{key!r}] says nothing of how well regions are explained. Fit "
            "`nonneg.tl.locanmf` or `nonneg.tl.region_traces`."
        )
        raise ValueError(msg)
    table = stored_table(
        table, f"adata.uns[{key!r}]['regions']", numbers=["rank", "r2"]
    )
    if not len(table):
        msg = f"adata.uns[{key!r}]['regions'] has no rows. Fit again."
        raise ValueError(msg)
    of_components = as_text(entry.region)
    names = [str(name) for name in table.index]
    if regions is not None:
        regions = [regions] if isinstance(regions, str) else list(regions)
        if not regions:
            msg = "regions names none."
            raise ValueError(msg)
        unknown = [name for name in regions if name not in names]
        if unknown:
            msg = f"There are no regions {unknown}; there are {names[:10]} …"
            raise KeyError(msg)
    shown = names if regions is None else regions
    rows = table.set_axis(names).loc[shown]
    place = np.arange(len(shown))
    palette = region_colors(np.array(names))
    colors = [palette[name] for name in shown]
    of_rows = [np.asarray(localization)[of_components == name] for name in shown]
    mean = np.array([x.mean() if x.size else np.nan for x in of_rows])
    longest = 0.075 * max(map(len, shown))
    panels = new_panels(3, 3, (_PANEL + longest / 3, 0.7 + _ROW * len(shown)))
    for ax, values, label, threshold in zip(
        panels,
        (rows["rank"].to_numpy(), rows["r2"].to_numpy(), mean),
        ("components", "variance explained", "energy inside"),
        (None, "r2_threshold", "loc_threshold"),
        strict=True,
    ):
        ax.barh(place, values, color=colors, height=0.75, lw=0)
        ax.set_yticks(place, [])
        ax.set(xlabel=label, ylim=(len(shown) - 0.4, -0.6))
        ax.tick_params(axis="y", length=0)
        ax.tick_params(labelsize="small")
        ax.spines[["top", "right"]].set_visible(False)
        limit = entry.params.get(threshold) if threshold else None
        if threshold:
            # Worse than nothing is possible with other means.
            ax.set_xlim(float(np.nanmin(values, initial=0.0)), 1.02)
        else:
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        if limit:
            ax.axvline(limit, color="0.2", lw=0.8, ls="--")
    panels[0].set_yticks(place, shown, fontsize="small")
    for i, value in enumerate(rows["r2"]):
        if np.isnan(value):
            continue
        # Bars that are all but full differ in their last digits.
        panels[1].annotate(
            f"{value:.3f}", (value, i), (-2, 0), textcoords="offset points",
            ha="right", va="center", color="white", fontsize="xx-small",
        )  # fmt: skip
    for i, each in enumerate(of_rows):
        panels[2].plot(
            each, np.full(each.size, i), "o", color="white", mec="0.2", ms=3, mew=0.6
        )
    return panels
