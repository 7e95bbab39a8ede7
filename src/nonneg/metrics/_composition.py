"""Compositions as they are given to metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._adata.checks import as_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_compositions(
    estimate: Any, truth: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two matrices of one shape, without the rows that have NaN in either."""
    found, true = (
        as_numbers(x, name) for x, name in ((estimate, "estimate"), (truth, "truth"))
    )
    if found.ndim != 2 or found.shape != true.shape:
        msg = (
            f"estimate {found.shape} and truth {true.shape} must be matrices of one "
            "shape, observations x types."
        )
        raise ValueError(msg)
    kept = ~(np.isnan(found).any(1) | np.isnan(true).any(1))
    if not kept.any():
        msg = "No row is free of NaN in both matrices."
        raise ValueError(msg)
    both = np.stack([found[kept], true[kept]])
    if (both < 0).any() or np.isinf(both).any():
        msg = "estimate and truth are shares, which are finite and not negative."
        raise ValueError(msg)
    return found[kept], true[kept]
