"""Factors and what they show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from .._adata.tables import of_table
from .._adata.views import select_factors
from .._core.arguments import checked
from ..get import factor_correlation as get_factor_correlation
from ._matrix import draw_correlations

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

    from .._adata.views import FactorSelection, Normalize


@of_table
@checked
def factor_correlation(
    adata: AnnData,
    other: str,
    *,
    key: str = "nmf",
    factors: FactorSelection | None = None,
    normalize: Normalize | None = None,
    method: Literal["pearson", "spearman"] = "pearson",
    cmap: str | Colormap = "RdBu_r",
    ax: Axes | None = None,
) -> Axes:
    """Show which cell types, regions or other values factors go with.

    Correlations over observations, factors in rows. Columns are in the order of the
    factors that they go with best, so that a dark diagonal means one factor for each.
    Grey where a column, or a factor, does not vary.

    Parameters
    ----------
    adata
        Annotated data with a factorization.
    other
        Cell types, regions, or other values: see :func:`nonneg.get.factor_correlation`.
    key
        Key of the factorization.
    factors
        Factors to show, by name or number; `None`: all.
    normalize
        Of the scores, as in :func:`nonneg.get.factors`.
    method
        `"pearson"`, or `"spearman"`, of ranks.
    cmap
        Colours of correlations from -1 to 1.
    ax
        Axes to draw on.

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        If there is no factorization under the key, no such factor, or nothing that is
        called `other`.
    ValueError
        If fewer than three observations have all values, or an argument is not valid.

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
    table = get_factor_correlation(
        adata, other, key=key, normalize=normalize, method=method
    )
    names = [str(name) for name in table.index]
    matrix = table.to_numpy(np.float64)[select_factors(names, factors)]
    names = [names[k] for k in select_factors(names, factors)]
    known = np.where(np.isfinite(matrix), matrix, -2.0)
    order = np.lexsort((-known.max(axis=0), known.argmax(axis=0)))
    columns = [str(table.columns[i]) for i in order]
    kind = {"pearson": "correlation", "spearman": "rank correlation"}[method]
    return draw_correlations(matrix[:, order], names, columns, kind, cmap=cmap, ax=ax)
