"""Which cell types go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from .._adata.compositions import read_compositions, select_types
from .._adata.tables import read_table
from .._core.arguments import checked
from .._core.docs import shared_docs
from ._matrix import draw_correlations

if TYPE_CHECKING:
    from typing import Any

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from .._adata.compositions import Share, TypeSelection


@checked
@shared_docs
def type_correlation(
    adata: AnnData | SpatialData,
    key: str = "deconv",
    *,
    share: Share = "cells",
    cell_types: TypeSelection | None = None,
    cluster: bool = True,
    cmap: str | Colormap = "RdBu_r",
    ax: Axes | None = None,
    table_key: str | None = None,
) -> Axes:
    """Show which cell types are found in the same locations.

    Pearson correlations of shares over locations; types with similar rows are next to
    each other. Shares of a location add up to one, so that unrelated types have
    correlations somewhat below zero. Types that are nowhere, or everywhere the same,
    are grey.

    Parameters
    ----------
    %(key)s
    share
        Of `"cells"` or of `"rna"`.
    cell_types
        Types to show, by name or number; `None`: all.
    cluster
        Order types by hierarchical clustering (average linkage); otherwise as given.
    cmap
        Colour map, from -1 to 1.
    ax
        Axes to draw on.
    %(table_key)s

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        If there is no deconvolution under the key, or no such type.
    ValueError
        If the key is that of another method, or fewer than two locations have shares.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata, _ = nng.datasets.spots(10, 60)
    >>> ax = nng.pl.type_correlation(adata, "truth", cluster=False)
    >>> [label.get_text() for label in ax.get_yticklabels()][:2]
    ['type_0', 'type_1']
    """
    adata = read_table(adata, table_key)
    found = read_compositions(adata, key, share)
    chosen = select_types(found.names, cell_types)
    shares = np.asarray(found.shares[found.known][:, chosen], np.float64)
    if len(shares) < 2:
        msg = (
            f"Correlations need two locations with shares, but there are {len(shares)}."
        )
        raise ValueError(msg)
    matrix = _correlate(shares)
    if cluster:
        order = _cluster(matrix)
        matrix, chosen = matrix[np.ix_(order, order)], [chosen[i] for i in order]
    names = [found.names[k] for k in chosen]
    label = f"correlation of\nshares of {found.unit(share)}"
    return draw_correlations(matrix, names, names, label, cmap=cmap, ax=ax)


def _correlate(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson's, NaN for types that do not vary."""
    centred = shares - shares.mean(axis=0)
    norm = np.sqrt((centred**2).sum(axis=0))
    norm = np.where(norm > 1e-9 * np.sqrt(len(shares)), norm, np.nan)
    scaled = centred / norm
    return np.asarray(np.clip(scaled.T @ scaled, -1, 1))


def _cluster(matrix: NDArray[np.float64]) -> list[int]:
    """Similar rows together; those without a number last."""
    kept = np.flatnonzero(np.isfinite(np.diag(matrix)))
    rest = np.setdiff1d(np.arange(len(matrix)), kept).tolist()
    if len(kept) < 3:
        return [*kept.tolist(), *rest]
    distance: NDArray[Any] = 1 - matrix[np.ix_(kept, kept)]
    np.fill_diagonal(distance, 0)
    tree = linkage(
        squareform((distance + distance.T) / 2), "average", optimal_ordering=True
    )
    return [*kept[leaves_list(tree)].tolist(), *rest]
