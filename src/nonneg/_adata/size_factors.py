"""Size factors of observations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..operators.choose import as_operator
from .checks import check_key

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from ..operators.protocol import MatrixOperator
    from ..operators.stats import MatrixStats
    from .sources import Source

    type SizeFactors = str | NDArray[np.floating[Any]] | None


def total_counts(op: MatrixOperator) -> NDArray[np.float64]:
    """Sum of all entries of each cell."""
    return op.stats().row_sums


def cell_totals(
    source: Source, size_factors: SizeFactors, *, layer: str | None, all_read: bool
) -> NDArray[np.float64] | None:
    """What the counts of each cell are divided by, of an AnnData or a file.

    ``None`` if there is nothing to read: no size factors, or totals of data of which
    all genes are read in any case.
    """
    if size_factors is None:
        return None
    if not isinstance(size_factors, str):
        if source.label is not None:
            msg = "size_factors of files must be 'total' or name a column of obs."
            raise ValueError(msg)
        return _check_numbers(np.asarray(size_factors), source.n_obs, "size_factors")
    if size_factors != "total":
        column, where = source.column("obs", size_factors)
        return _check_numbers(column.to_numpy(), source.n_obs, where)
    if all_read:
        return None
    x, where = source.matrix(layer)
    return total_counts(as_operator(x, where=where, spread=False))


def _check_numbers(values: NDArray[Any], n_obs: int, where: str) -> NDArray[np.float64]:
    if values.shape != (n_obs,) or values.dtype.kind not in "iuf":
        msg = (
            f"{where} must hold {n_obs} numbers, one for each observation, but has shape "
            f"{values.shape} and dtype {values.dtype}."
        )
        raise ValueError(msg)
    if not (np.isfinite(values) & (values >= 0)).all():
        msg = f"{where} must be finite and not negative."
        raise ValueError(msg)
    return values.astype(np.float64)


def read_size(
    adata: AnnData,
    size_factors: SizeFactors,
    stats: MatrixStats,
    median: float | None = None,
) -> tuple[NDArray[np.float64], float]:
    """Size factors of observations, and the median that totals are divided by."""
    if size_factors is None:
        return np.ones(adata.n_obs), 1.0
    if isinstance(size_factors, str) and size_factors == "total":
        totals = stats.row_sums
        if median is None:
            median = float(np.median(totals[totals > 0]))
        return totals / median, median
    if isinstance(size_factors, str):
        check_key(adata, "obs", size_factors, hint="Or use 'total', or an array.")
        given, where = (
            np.asarray(adata.obs[size_factors]),
            f"adata.obs[{size_factors!r}]",
        )
    else:
        given, where = size_factors, "size_factors"
    values = _check_numbers(np.asarray(given), adata.n_obs, where)
    if not (values > 0).all():
        msg = f"{where} must be positive, but {int((values <= 0).sum())} are not."
        raise ValueError(msg)
    return values, 1.0
