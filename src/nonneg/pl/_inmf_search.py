"""Numbers of components and penalties of an integration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .._adata.checks import check_key
from .._adata.schema import Stored
from .._adata.tables import read_table
from .._core.arguments import checked
from .._core.docs import shared_docs
from ._panels import figure_of, new_panels

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from spatialdata import SpatialData

_PANELS = {
    "held_out": "unexplained, held out",
    "concentration": "concentration of scores",
    "alignment": "alignment",
    "specific": "specific share",
}


@checked
@shared_docs
def inmf_search(
    adata: AnnData | SpatialData,
    key: str = "inmf_search",
    *,
    table_key: str | None = None,
) -> list[Axes]:
    """Show how integrations with other numbers of components or penalties compare.

    Along the axis is what more values were tried of; the other is told apart by colour.
    Points are the fits. See :func:`nonneg.tl.inmf_search` for how to read them.

    Parameters
    ----------
    adata
        Annotated data with a search.
    key
        Key of the search in `adata.uns`.
    %(table_key)s

    Returns
    -------
    Axes of what is unexplained of cells that were not fitted, of the concentration of
    scores, the alignment, and the share of the loadings that is specific.

    Raises
    ------
    KeyError
        If there is no search under the key.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.batches()
    >>> nng.tl.inmf_search(adata, (4, 6), batch_key="batch", size_factors="total")
    >>> [ax.get_ylabel() for ax in nng.pl.inmf_search(adata)][2]
    'alignment'
    """
    adata = read_table(adata, table_key)
    check_key(adata, "uns", key, hint="Run `nonneg.tl.inmf_search` first.")
    where, again = f"adata.uns[{key!r}]", "Call `nonneg.tl.inmf_search`"
    if not isinstance(stored := adata.uns[key], Mapping):
        msg = f"{where} is no search. {again} first."
        raise KeyError(msg)
    table = Stored(stored, where, again).table(
        "table", numbers=["n_components", "lam", *_PANELS]
    )
    labels = {"n_components": "number of components", "lam": "penalty λ"}
    along, other = labels
    if table["lam"].nunique() > table["n_components"].nunique():
        along, other = other, along
    axes = new_panels(len(_PANELS), 2, (3.0, 2.3))
    for ax, (column, label) in zip(axes, _PANELS.items(), strict=True):
        for value, rows in table.sort_values(along).groupby(other, sort=True):
            ax.plot(rows[along], rows[column], "o-", ms=4, lw=1.2, label=f"{value:g}")
        if along == "lam" and (table["lam"] > 0).all():
            ax.set_xscale("log")
        ax.set_xticks(sorted(table[along].unique()))
        ax.minorticks_off()
        ax.xaxis.set_major_formatter("{x:g}")
        ax.set(xlabel=labels[along], ylabel=label)
        ax.tick_params(labelsize="small")
        ax.spines[["top", "right"]].set_visible(False)
    if table[other].nunique() > 1:
        # Beside the panels, where no curve is.
        figure_of(axes[0]).legend(
            *axes[0].get_legend_handles_labels(),
            loc="outside right center",
            title=labels[other].replace(" of ", " of\n"),
            fontsize="small",
            title_fontsize="small",
            frameon=False,
        )
    return axes
