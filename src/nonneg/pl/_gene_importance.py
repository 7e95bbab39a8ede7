"""How genes are made of factors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._adata.tables import read_table
from .._adata.views import read_factors, read_side
from .._core.arguments import checked
from .._core.docs import shared_docs
from ._panels import new_panels

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from spatialdata import SpatialData


@checked
@shared_docs
def gene_importance(
    adata: AnnData | SpatialData,
    key: str = "nmf",
    *,
    table_key: str | None = None,
) -> list[Axes]:
    """Show how many factors genes have, and how well they are reconstructed.

    Left, the number of genes by how many factors they have. Middle, the importance of
    genes, from shared equally to belonging to one factor. Right, the correlation of
    genes with their reconstruction, with the mean as a line. See
    :func:`nonneg.tl.gene_importance`.

    Parameters
    ----------
    %(key)s
    %(table_key)s

    Returns
    -------
    The three Axes.

    Raises
    ------
    KeyError
        If there is no factorization under the key, or its genes were not looked at.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.quilt(12, 30)
    >>> nng.tl.nmf(adata, 4)
    >>> nng.tl.gene_importance(adata)
    >>> axes = nng.pl.gene_importance(adata)
    >>> len(axes)
    3
    """
    adata = read_table(adata, table_key)
    factors = read_factors(adata, key)
    columns = {}
    hint = "Call `nonneg.tl.gene_importance` first."
    for kind in ("n_factors", "gene_importance", "reconstruction"):
        columns[kind] = read_side(adata, factors, "var", kind, hint=hint)
    k = len(factors.names)
    panels = new_panels(3, 3, (2.5, 2.2))
    counts, importance, reconstruction = panels
    known = columns["n_factors"] > 0
    number = np.arange(1, k + 1)
    tally = np.bincount(columns["n_factors"][known].astype(int), minlength=k + 1)[1:]
    counts.bar(number, tally, width=0.85, color="C0")
    counts.set(xlabel="factors of a gene", ylabel="genes", xlim=(0.3, k + 0.7))
    counts.locator_params(axis="x", integer=True)
    values = columns["gene_importance"]
    importance.hist(values[np.isfinite(values)], bins=30, range=(0, 1), color="C0")
    importance.axvline(1 / k, color="0.5", lw=1, ls=":")
    # On the side of the line that has room.
    side, offset = ("left", 3) if k > 1 else ("right", -3)
    importance.annotate(
        f"alike in all: 1/{k}",
        (1 / k, 1),
        xycoords=("data", "axes fraction"),
        xytext=(offset, -2),
        textcoords="offset points",
        ha=side,
        va="top",
        fontsize="x-small",
        color="0.4",
    )
    importance.margins(y=0.18)
    importance.set(xlabel="importance (largest share)", ylabel="genes", xlim=(0, 1))
    values = columns["reconstruction"]
    values = values[np.isfinite(values)]
    low = min(float(values.min(initial=0)), 0)
    reconstruction.hist(values, bins=30, range=(low, 1), color="C0")
    mean = float(values.mean()) if values.size else np.nan
    reconstruction.axvline(mean, color="C1", lw=1.2)
    reconstruction.set_title(f"mean {mean:.2f}", fontsize="small", color="C1")
    reconstruction.set(
        xlabel="correlation with reconstruction", ylabel="genes", xlim=(low, 1)
    )
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize="small")
    return panels
