"""Instability against the number of components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from .._adata.checks import check_key
from .._adata.schema import StabilityEntry, stored_table
from .._adata.tables import read_table
from .._adata.views import read_factors
from .._core.arguments import checked
from .._core.docs import shared_docs
from ._panels import new_panels

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from spatialdata import SpatialData

_COLUMNS = [
    *("n_components", "instability", "instability_se", "chance"),
    *("is_minimum", "reconstruction"),
]
_PCA = ["pca", "pca_se", "pca_reconstruction"]


@checked
@shared_docs
def stability(
    adata: AnnData | SpatialData,
    key: str = "stability",
    *,
    table_key: str | None = None,
) -> list[Axes]:
    """Show how stable, and how accurate, numbers of components are.

    On the left the instability of patterns, with bands of one standard error, and that
    of principal components of the same samples; dotted, what chance leaves of it. Look for
    a minimum that is clear relative to the bands; the ring marks the selected one, and
    small dots other local minima, which are candidates. On the right the mean
    correlation of variables with their fit, which only rises: a number that is stable and
    far below the rest of the curve leaves much out.

    Parameters
    ----------
    adata
        Annotated data with a scan.
    key
        Key of the scan.
    %(table_key)s

    Returns
    -------
    Axes of the instability and of the reconstruction.

    Raises
    ------
    KeyError
        If there is no scan under the key.

    See Also
    --------
    nonneg.tl.stability : makes the scan

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.ggblocks(12, 60)
    >>> nng.tl.stability(adata, range(3, 6), n_bootstraps=6)
    >>> [ax.get_ylabel() for ax in nng.pl.stability(adata)]
    ['instability', 'reconstruction (correlation)']
    """
    adata = read_table(adata, table_key)
    check_key(adata, "uns", key, hint="Run `nonneg.tl.stability` first.")
    entry = read_factors(adata, key).entry
    if not isinstance(entry, StabilityEntry) or entry.table is None:
        msg = (
            f"adata.uns[{key!r}] was made by {entry.method!r}, which compares no numbers "
            "of components. Run `nonneg.tl.stability` first."
        )
        raise KeyError(msg)
    where, again = f"adata.uns[{key!r}]['table']", "Call `nonneg.tl.stability`"
    table = stored_table(entry.table, where, again, numbers=_COLUMNS)
    if "pca" in table:
        table = stored_table(table, where, again, numbers=_PCA)
    chosen = table[table["n_components"] == entry.best].head(1)
    if entry.best is not None and not len(chosen):
        msg = (
            f"{where} has no row of the selected number, {entry.best!r}. {again} again."
        )
        raise ValueError(msg)
    name = str(entry.params["method"]).upper()
    left, right = new_panels(2, 2, (3.4, 2.6))
    color = _band(left, table, "instability", name)
    if "pca" in table:
        other = _band(left, table, "pca", "PCA")
    minima = table[table["is_minimum"] == 1]
    left.plot(
        minima["n_components"], minima["instability"], "o", ms=3.5, color=color, lw=0
    )
    right.plot(
        table["n_components"], table["reconstruction"], lw=1.4, color=color, label=name
    )
    if "pca" in table:
        right.plot(
            table["n_components"],
            table["pca_reconstruction"],
            lw=1.4,
            color=other,
            label="PCA",
        )
    if entry.best is not None:
        for ax, column in ((left, "instability"), (right, "reconstruction")):
            ax.plot(
                chosen["n_components"],
                chosen[column],
                "o",
                ms=8,
                mfc="none",
                mec=color,
                mew=1.5,
            )
        left.set_title(f"selected: {int(entry.best)}", fontsize="small")
    else:
        left.set_title("none selected: near chance", fontsize="small")
    left.set(xlabel="number of components", ylabel="instability")
    # What chance leaves is often far above: it is no reason to press the curves together.
    top = left.get_ylim()[1]
    by_chance = table["chance"]
    label = "chance"
    if by_chance.min() > top:
        label = f"chance: {by_chance.min():.2f}–{by_chance.max():.2f}"
    left.plot(table["n_components"], by_chance, ":", lw=1, color="0.4", label=label)
    left.set_ylim(0, top)
    right.set(xlabel="number of components", ylabel="reconstruction (correlation)")
    for ax in (left, right):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.tick_params(labelsize="small")
        ax.spines[["top", "right"]].set_visible(False)
    left.legend(fontsize="small", frameon=False)
    return [left, right]


def _band(ax: Axes, table: pd.DataFrame, column: str, label: str) -> Any:
    """A curve with its standard error; returns the colour."""
    x, y = (np.asarray(table[name], float) for name in ("n_components", column))
    error = np.asarray(table[f"{column}_se"], float)
    (line,) = ax.plot(x, y, lw=1.4, label=label)
    ax.fill_between(x, y - error, y + error, color=line.get_color(), alpha=0.2, lw=0)
    return line.get_color()
