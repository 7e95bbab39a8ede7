"""Size factors of observations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..operators.choose import as_operator
from .checks import as_numbers, check_order, warn_logarithms
from .sources import Source

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from ..operators.protocol import MatrixOperator
    from ..operators.stats import MatrixStats

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
    if not isinstance(size_factors, str) and source.label is not None:
        msg = "size_factors of files must be 'total' or name a column of obs."
        raise ValueError(msg)
    if not is_total(size_factors):
        return _given(source, size_factors)[0]
    x, where = source.matrix(layer)
    warn_logarithms(x, where, "size_factors='total' makes the totals of counts equal")
    if all_read:
        return None
    return total_counts(as_operator(x, where=where, on_cluster=False))


def read_size(
    adata: AnnData,
    size_factors: SizeFactors,
    stats: MatrixStats,
    median: float | None = None,
) -> tuple[NDArray[np.float64], float]:
    """What means are multiplied by, and the median that totals are divided by."""
    if size_factors is None:
        return np.ones(adata.n_obs), 1.0
    if is_total(size_factors):
        totals = stats.row_sums
        if median is None:
            median = float(np.median(totals[totals > 0]))
        return totals / median, median
    values, where = _given(Source(adata), size_factors)
    if not (values > 0).all():
        msg = f"{where} must be positive, but {int((values <= 0).sum())} are not."
        raise ValueError(msg)
    return values, 1.0


def is_total(size_factors: SizeFactors) -> bool:
    """Whether size factors are the totals of the data themselves."""
    return isinstance(size_factors, str) and size_factors == "total"


def _given(source: Source, size_factors: Any) -> tuple[NDArray[np.float64], str]:
    """Values of a column of obs or an array, and what to call them in messages."""
    given, where = size_factors, "size_factors"
    if isinstance(size_factors, str):
        hint = "Size factors of a fit may also be 'total', or None."
        given, where = source.column("obs", size_factors, hint=hint)
    elif isinstance(size_factors, pd.Series):
        names = np.concatenate([*source.obs_names()])
        check_order(given, names, where, "adata.obs_names")
    values = as_numbers(given, where)
    if values.shape != (source.n_obs,) or np.asarray(given).dtype == bool:
        msg = (
            f"{where} must hold {source.n_obs} numbers, one for each observation, but "
            f"has shape {values.shape} and dtype {np.asarray(given).dtype}."
        )
        raise ValueError(msg)
    if not (np.isfinite(values) & (values >= 0)).all():
        msg = f"{where} must be finite and not negative."
        raise ValueError(msg)
    return values, where
