"""Correlation of single pixels with all others, from a decomposition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def seed_correlations(
    u: NDArray[np.float64],
    v: NDArray[np.float64],
    seeds: Sequence[NDArray[np.intp]],
) -> NDArray[np.float64]:
    """(n_pixels, n_seeds) correlations of U V' with the mean of each seed's pixels.

    With the covariance of the R time courses, a seed costs n_pixels x R. NaN where a
    pixel does not vary.
    """
    centred = v - v.mean(axis=0)
    covariance = centred.T @ centred / len(v)
    variance = np.einsum("nr,nr->n", u @ covariance, u)
    mean = np.stack([u[seed].mean(axis=0) for seed in seeds], axis=1)
    own = np.einsum("rs,rs->s", mean, covariance @ mean)
    # Rounding leaves some variance where there is none.
    floor = 1e-12 * max(float(variance.max(initial=0)), np.finfo(float).tiny)
    size = np.sqrt(np.outer(variance, own))
    valid = (variance[:, None] > floor) & (own > floor)
    out = np.full(size.shape, np.nan)
    np.divide(u @ (covariance @ mean), size, out=out, where=valid)
    return np.clip(out, -1, 1)
