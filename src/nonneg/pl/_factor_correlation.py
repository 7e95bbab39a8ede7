"""Factors and what they show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from .._adata.labels import read_labels
from .._adata.tables import read_table
from .._adata.views import select_factors
from .._core.arguments import checked
from .._core.docs import shared_docs
from ..get import factor_correlation as get_factor_correlation
from ._matrix import draw_correlations

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from .._adata.views import FactorSelection, Normalize


@checked
@shared_docs
def factor_correlation(
    adata: AnnData | SpatialData,
    other: str,
    *,
    key: str = "nmf",
    factors: FactorSelection | None = None,
    normalize: Normalize | None = None,
    method: Literal["pearson", "spearman"] = "pearson",
    cmap: str | Colormap = "RdBu_r",
    ax: Axes | None = None,
    table_key: str | None = None,
) -> Axes:
    """Show which cell types, regions or other values factors go with.

    Correlations over observations, factors in rows. Labels of a column of `adata.obs` are
    in the order of their categories, such as layers from top to bottom. Other columns are
    in the order of the factors that they go with best, so that a dark diagonal means one
    factor for each. Grey where a column, or a factor, does not vary.

    Parameters
    ----------
    %(correlated)s
    factors
        Factors to show, by name or number; `None`: all.
    %(correlation)s
    cmap
        Colours of correlations from -1 to 1.
    ax
        Axes to draw on.
    %(table_key)s

    Returns
    -------
    The Axes.

    Raises
    ------
    %(correlation_errors)s

    See Also
    --------
    nonneg.get.factor_correlation : the numbers
    nonneg.pl.region_correlation : regions, with sets that belong together

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> adata = nng.datasets.quilt(12, 30)
    >>> x, _ = adata.obsm["spatial"].T
    >>> adata.obs["side"] = np.where(x < 6, "west", "east")
    >>> ax = nng.pl.factor_correlation(adata, "side", key="truth")
    >>> len(ax.get_xticks()), len(ax.get_yticks())
    (2, 4)
    """
    adata = read_table(adata, table_key)
    table = get_factor_correlation(
        adata, other, key=key, normalize=normalize, method=method
    )
    table = table.iloc[select_factors(list(table.index), factors)]
    if other not in adata.obs or (
        list(table.columns) != list(read_labels(adata, other).names)
    ):
        table = table.iloc[:, _beside_factors(table.to_numpy())]
    kind = {"pearson": "correlation", "spearman": "rank correlation"}[method]
    return draw_correlations(
        table.to_numpy(), list(table.index), list(table.columns), kind, cmap=cmap, ax=ax
    )


def _beside_factors(matrix: NDArray[np.float64]) -> NDArray[np.intp]:
    """Columns in the order of the factors that they go with best."""
    known = np.where(np.isfinite(matrix), matrix, -2.0)
    return np.lexsort((-known.max(axis=0), known.argmax(axis=0)))
