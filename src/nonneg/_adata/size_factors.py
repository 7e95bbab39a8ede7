"""What observations are divided by, or their means multiplied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .checks import check_key

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from ..operators.stats import MatrixStats

    type SizeFactors = str | NDArray[np.floating[Any]] | None


def read_totals(
    adata: AnnData, size_factors: SizeFactors
) -> NDArray[np.float64] | None:
    """What cells are divided by; ``None``: nothing, or sums that must be computed."""
    if size_factors is None or (
        isinstance(size_factors, str) and size_factors == "total"
    ):
        return None
    if isinstance(size_factors, str):
        check_key(adata, "obs", size_factors)
        values = adata.obs[size_factors].to_numpy()
        return check_totals(values, adata.n_obs, f"adata.obs[{size_factors!r}]")
    return check_totals(np.asarray(size_factors), adata.n_obs, "size_factors")


def check_totals(values: NDArray[Any], n_obs: int, where: str) -> NDArray[np.float64]:
    if values.shape != (n_obs,) or values.dtype.kind not in "iuf":
        msg = (
            f"{where} must hold {n_obs} numbers, one per cell, but has shape "
            f"{values.shape} and dtype {values.dtype}."
        )
        raise ValueError(msg)
    if not (np.isfinite(values) & (values >= 0)).all():
        msg = f"{where} must be finite and not negative."
        raise ValueError(msg)
    return values.astype(np.float64)


def read_size(
    adata: AnnData,
    size_factors: str | NDArray[Any] | None,
    stats: MatrixStats,
    where: str,
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
        values = np.asarray(adata.obs[size_factors], np.float64)
    else:
        values = np.asarray(size_factors, np.float64)
    if values.shape != (adata.n_obs,) or not (np.isfinite(values) & (values > 0)).all():
        msg = (
            f"size_factors must be {adata.n_obs} positive numbers, one for each "
            f"observation, but have shape {values.shape} and "
            f"{int((~(values > 0)).sum())} that are not positive."
        )
        raise ValueError(msg)
    return values, 1.0
