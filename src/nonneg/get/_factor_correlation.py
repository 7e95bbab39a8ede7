"""Factors against what is known of the observations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from .._adata.checks import as_numbers
from .._adata.regions import Patterns, read_patterns
from .._adata.schema import is_entry
from .._adata.tables import read_table
from .._adata.views import normalised_scores, read_factors
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_one_of

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from .._adata.views import Normalize


@checked
@shared_docs
def factor_correlation(
    adata: AnnData | SpatialData,
    other: str,
    *,
    key: str = "nmf",
    normalize: Normalize | None = None,
    method: Literal["pearson", "spearman"] = "pearson",
    table_key: str | None = None,
) -> pd.DataFrame:
    """Correlate factors with cell types, regions, or other values of the observations.

    What a factor shows: the cell types of :func:`nonneg.tl.deconvolve`
    (`other="deconv"`), regions or clusters in a column of `adata.obs`, scores of gene
    sets, another factorization. Smooth maps correlate by chance; for regions,
    :func:`nonneg.tl.region_correlation` tests against random maps of the same
    smoothness, and finds sets of regions.

    Parameters
    ----------
    %(correlated)s
    %(correlation)s
    %(table_key)s

    Returns
    -------
    Data frame, factors x columns of the other: labels in the order of their categories.
    NaN where one of the two does not vary. Observations in which anything is missing are
    left out.

    Raises
    ------
    %(correlation_errors)s

    See Also
    --------
    nonneg.pl.factor_correlation : the same as a picture
    nonneg.tl.region_correlation : regions and sets of them, with a test

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> adata = nng.datasets.quilt(12, 30)
    >>> x, _ = adata.obsm["spatial"].T
    >>> adata.obs["side"] = np.where(x < 6, "west", "east")
    >>> table = nng.get.factor_correlation(adata, "side", key="truth")
    >>> table.shape
    (4, 2)
    """
    adata = read_table(adata, table_key)
    check_one_of(method, ("pearson", "spearman"), "method")
    stored = read_factors(adata, key)
    scores = normalised_scores(stored, normalize).astype(np.float64)
    others = _read(adata, other)
    known = np.isfinite(scores).all(axis=1) & np.isfinite(others.maps).all(axis=1)
    if known.sum() < 3:
        msg = (
            f"Correlations need three observations with factors and {other!r}, but "
            f"{int(known.sum())} have both."
        )
        raise ValueError(msg)
    left, right = scores[known], others.maps[known]
    if method == "spearman":
        left, right = (rankdata(x, axis=0) for x in (left, right))
    return pd.DataFrame(
        np.clip(_standardised(left).T @ _standardised(right), -1, 1),
        index=pd.Index(stored.names, name="factor"),
        columns=pd.Index(others.names, name=other),
    )


def _read(adata: AnnData, other: str) -> Patterns:
    """Patterns, or a column of numbers."""
    if is_entry(adata.uns.get(other)) or other in adata.obsm:
        return read_patterns(adata, other)
    if other not in adata.obs:
        msg = (
            f"other={other!r} is neither a factorization, nor in adata.obsm, which holds "
            f"{list(adata.obsm)}, nor in adata.obs, which holds {list(adata.obs)}."
        )
        raise KeyError(msg)
    column = adata.obs[other]
    is_number = pd.api.types.is_numeric_dtype(column)
    if is_number and not pd.api.types.is_bool_dtype(column):
        numbers = as_numbers(column, f"adata.obs[{other!r}]")
        return Patterns(numbers[:, None], [other])
    return read_patterns(adata, other)


def _standardised(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns of mean 0 and norm 1; NaN where nothing varies."""
    centred = x - x.mean(axis=0)
    norm = np.sqrt(np.square(centred).sum(axis=0))
    size = np.sqrt(np.square(x).sum(axis=0))
    return np.asarray(centred / np.where(norm > 1e-9 * size, norm, np.nan))
