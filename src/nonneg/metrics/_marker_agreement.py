"""Agreement of compositions with marker genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp

from .._adata.checks import as_numbers, check_columns
from .._core.arguments import checked
from ._matrix import check_counts, read_dense_or_csr

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike


@checked
def marker_agreement(
    counts: ArrayLike | sp.sparray | sp.spmatrix,
    shares: pd.DataFrame,
    markers: Mapping[str, Sequence[str]],
    *,
    genes: Sequence[str],
) -> pd.Series[float]:
    """Correlation of the share of each type with its markers.

    The markers of a type are added up and divided by the total count of the
    observation. Where there is no truth, this is what can be said without using the
    regions that one hopes to find; it is low for types that are everywhere.

    Parameters
    ----------
    counts
        Counts, observations x genes; dense or sparse.
    shares
        Observations x types, e.g. of :func:`nonneg.get.factor_df`. Rows with NaN are
        left out.
    markers
        Names of the marker genes of types. Types that `shares` lacks, and genes that
        `genes` lacks, are left out.
    genes
        Names of the genes, in the order of the columns of `counts`.

    Returns
    -------
    Pearson correlation of every type that has markers; NaN where either side does not
    vary.

    Raises
    ------
    ValueError
        If shapes do not match, or no type has a marker.

    Examples
    --------
    >>> import nonneg as nng
    >>> import pandas as pd
    >>> shares = pd.DataFrame({"a": [0.2, 0.8, 0.5]})
    >>> counts = [[2, 8], [8, 2], [5, 5]]
    >>> nng.metrics.marker_agreement(
    ...     counts, shares, {"a": ["x"]}, genes=["x", "y"]
    ... ).round(3)
    a    1.0
    dtype: float64
    """
    matrix = read_dense_or_csr(counts)
    names = pd.Index(genes)
    if matrix.shape != (len(shares), len(names)):
        msg = (
            f"counts {matrix.shape} must have a row for each of the {len(shares)} "
            f"observations of shares, and a column for each of the {len(names)} genes."
        )
        raise ValueError(msg)
    is_sparse = sp.issparse(matrix)
    check_counts(matrix.data if is_sparse else matrix, "counts")
    check_columns(shares, "shares")
    table = as_numbers(shares, "shares")
    total = np.asarray(matrix.sum(axis=1), np.float64).ravel()
    kept = np.isfinite(table).all(axis=1) & (total > 0)
    if not kept.any():
        msg = "No observation has counts, and shares that are finite."
        raise ValueError(msg)
    found = {}
    for name, values in zip(shares.columns, table.T, strict=True):
        own = np.flatnonzero(names.isin(list(markers.get(name, ()))))
        if not own.size:
            continue
        level = np.asarray(matrix[:, own].sum(axis=1), np.float64).ravel()[kept]
        level = level / total[kept]
        share = values[kept]
        varies = np.ptp(level) > 0 and np.ptp(share) > 0
        found[name] = float(np.corrcoef(level, share)[0, 1]) if varies else np.nan
    if not found:
        msg = f"No type of {list(shares.columns)} has a marker among the genes."
        raise ValueError(msg)
    return pd.Series(found)
