"""A prediction of a region beside random ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from .._adata.anatomy import TOGETHER, read_region_prediction
from .._adata.tables import read_table
from .._core.arguments import checked
from .._core.docs import shared_docs
from ._colors import NO_DATA

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from spatialdata import SpatialData


@checked
@shared_docs
def region_prediction(
    adata: AnnData | SpatialData,
    key: str = "nmf",
    *,
    ax: Axes | None = None,
    table_key: str | None = None,
) -> Axes:
    """Show how well patterns predict a region, beside random combinations of patterns.

    Grey: histogram of the area under the ROC curve of the random combinations, with
    their median dotted. The line is that of the patterns that were chosen.

    Parameters
    ----------
    %(key)s
    ax
        Axes to draw on.
    %(table_key)s

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        If :func:`nonneg.tl.region_prediction` was not called for the key.

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> adata = nng.datasets.quilt(12, 30)
    >>> x, y = adata.obsm["spatial"].T
    >>> adata.obs["region"] = np.where(x < 6, "west", np.where(y < 6, "north", "south"))
    >>> nng.tl.region_prediction(adata, "west", key="truth", n_factors=2)
    >>> ax = nng.pl.region_prediction(adata, "truth")
    >>> ax.get_xlabel()
    'area under the ROC curve'
    """
    adata = read_table(adata, table_key)
    found = read_region_prediction(adata, key)
    random = found.table("random", numbers=["auc"])["auc"].to_numpy()
    auc = float(found["auc"])
    names = [str(name) for name in np.ravel(found["factors"])]
    if ax is None:
        _, ax = plt.subplots(figsize=(3.4, 2.7), layout="constrained")
    low = min(0.5, auc, *random.tolist())
    bins = np.linspace(low, 1, 26).tolist()
    ax.hist(random, bins=bins, color=NO_DATA, lw=0)
    ax.axvline(auc, color="C3", lw=1.5, label=f"{', '.join(names)}: {auc:.3f}")
    if random.size:
        median = float(np.median(random))
        color = plt.rcParams["text.color"]
        label = f"median of the others: {median:.3f}"
        ax.axvline(median, color=color, lw=1, ls=":", label=label)
    ax.legend(
        fontsize="x-small",
        frameon=False,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0.2,
        handlelength=1.2,
        labelspacing=0.3,
    )
    region = TOGETHER.join(str(name) for name in np.ravel(found["region"]))
    ax.set_title(region, fontsize="medium", pad=30 if random.size else 18)
    ax.set(
        xlabel="area under the ROC curve",
        ylabel=f"combinations of {len(names)}",
        xlim=(low, 1.005),
    )
    ax.tick_params(labelsize="small")
    ax.spines[["top", "right"]].set_visible(False)
    return ax
