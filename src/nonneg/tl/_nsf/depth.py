"""Whether depth, which size factors divide out, is a pattern of the tissue itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..._core.quiet import collected
from ..._core.warnings import warn

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of the variance of log totals. Where patterns carry depth, in simulations and two tumours, .75
# to .97; in the olfactory bulb .38 to .62, with the genes and factors that are taken.
_MUCH = 0.7


def totals_explained(
    totals: NDArray[np.floating[Any]], log_factors: NDArray[np.floating[Any]]
) -> float | None:
    """Share of the variance of log totals that factors explain, adjusted for their number.

    By linear regression on factors and their logarithms: depth may be added to by some
    factors, as where patterns overlap, or common to all of a region. None where there are
    too few observations, or all have the same total.
    """
    seen = totals > 0
    n, k = int(seen.sum()), 2 * log_factors.shape[1]
    y = np.log(totals[seen], dtype=np.float64)
    if n <= k + 1 or not np.ptp(y) > 0:
        return None
    y -= y.mean()
    logs = log_factors[seen].astype(np.float64)
    # Of unit size: factors may have any.
    x = np.hstack([logs, np.exp(logs - logs.max(axis=0))])
    x -= x.mean(axis=0)
    coef, *_ = np.linalg.lstsq(x, y)
    unexplained = np.square(y - x @ coef).sum() / np.square(y).sum()
    return float(1 - unexplained * (n - 1) / (n - k - 1))


def warn_of_depth(explained: float | None, method: str) -> None:
    """One warning, with what to try."""
    if explained is None or explained <= _MUCH:
        return
    # Of several fits, as in a comparison, arguments are given by model.
    before, after = (
        (f"`nonneg.tl.{method}(..., size_factors=", ")`")
        if collected() is None
        else (f"`model_kwargs={{{method!r}: {{'size_factors': ", "}}`")
    )
    warn(
        f"Factors explain {explained:.0%} of the variance of log totals, which "
        "size_factors='total' divides out: depth seems to be a pattern of the tissue, "
        f"as where cells are denser. Try {before}None{after}, which keeps "
        f"it, or {before}'column'{after} with a column of adata.obs where depth is known "
        "otherwise, and compare the maps."
    )
