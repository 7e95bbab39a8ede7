"""Spatial importance of genes and observations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from .._adata.checks import check_key
from .._adata.tables import read_table
from .._adata.views import read_factors
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_at_least, check_one_of
from ._panels import new_figure

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from spatialdata import SpatialData

_N_BINS = 25
# Height of the marks, in that of the axes: above the bars.
_MARK = 1.04


@checked
@shared_docs
def spatial_importance(
    adata: AnnData | SpatialData,
    key: str = "nsfh",
    *,
    of: Literal["var", "obs"] = "var",
    n_labels: int = 3,
    ax: Axes | None = None,
    table_key: str | None = None,
) -> Axes:
    """Show how much of genes, or of observations, is spatial.

    A histogram of the scores of :func:`nonneg.tl.nsfh`. The genes with the lowest and the highest
    are named above it, and marked where they lie. A line has the same scores with
    permuted places: what they would be if fields were not smooth. A bimodal histogram
    indicates two groups of genes. Scores are parts of expected counts and no test: a
    flat gene has that of the factors which carry it, and a gene whose pattern found no room
    among the fields has a low one, of which the fit warns. Take those of genes that vary in space
    by :func:`squidpy.gr.spatial_autocorr`.

    Parameters
    ----------
    %(key)s
    of
        `"var"`: genes; `"obs"`: observations.
    n_labels
        Number of genes to name at either end.
    ax
        Axes to draw on.
    %(table_key)s

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        If there is no factorization under the key, or it has no such scores.
    ValueError
        If `of` is neither, or `n_labels` is negative.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.ggblocks(12, 60, n_nonspatial=3)
    >>> nng.tl.nsfh(adata, 7, n_spatial=4)
    >>> nng.pl.spatial_importance(adata).get_ylabel()
    'genes'
    """
    adata = read_table(adata, table_key)
    check_one_of(of, ("var", "obs"), "of")
    check_at_least(n_labels, 0, "n_labels")
    read_factors(adata, key)
    name = f"{key}_spatial_importance"
    check_key(adata, of, name, hint="Only `nonneg.tl.nsfh` gives these scores.")
    scores = getattr(adata, of)[name].dropna().sort_values()
    if ax is None:
        _, ax = new_figure(figsize=(3.4, 2.4 + 0.14 * n_labels), layout="constrained")
    bins = np.linspace(0, 1, _N_BINS + 1)
    ax.hist(scores, bins=bins.tolist(), color="0.7", ec="w", lw=0.4)
    null = getattr(adata, of).get(f"{name}_null")
    # Fits of earlier versions have none.
    if null is not None:
        ax.plot(
            np.repeat(bins, 2)[1:-1],
            np.repeat(np.histogram(null.dropna(), bins)[0], 2),
            color="0.2",
            lw=1,
            ls=":",
            label="places permuted",
        )
        ax.legend(fontsize="x-small", frameon=False)
    ax.set(
        xlim=(0, 1),
        xlabel="spatial importance",
        ylabel="genes" if of == "var" else "observations",
    )
    if of == "var" and n_labels and len(scores):
        n_labels = min(n_labels, len(scores) // 2)
        ends = (
            (scores[:n_labels], "lowest", 0.0, "left", "C0"),
            (scores[::-1][:n_labels], "highest", 1.0, "right", "C1"),
        )
        for some, heading, x, side, color in ends:
            ax.plot(
                some,
                [_MARK] * n_labels,
                "v",
                ms=4,
                color=color,
                mec="none",
                transform=ax.get_xaxis_transform(),
                clip_on=False,
            )
            ax.text(
                x,
                _MARK + 0.05,
                "\n".join([f"{heading}:", *some.index]),
                transform=ax.transAxes,
                ha=side,
                va="bottom",
                fontsize="small",
                color=color,
            )
    ax.tick_params(labelsize="small")
    ax.spines[["top", "right"]].set_visible(False)
    return ax
