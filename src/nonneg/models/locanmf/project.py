"""Time courses on fixed footprints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from ...kernels.nnls import nnls
from .passes import Sums
from .temporal import solve_free

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .problem import Floats


def project_traces(
    a: NDArray[np.float32],
    data: Floats,
    basis: NDArray[np.float64],
    *,
    nonnegative: bool,
) -> NDArray[np.float64]:
    """(K, n_frames): least squares as in the fit, or non-negative least squares."""
    exact = a.astype(np.float64)
    square, product = exact.T @ exact, exact.T @ data
    if not nonnegative:
        nothing = np.zeros(a.shape[1])
        return solve_free(Sums(nothing, nothing, square, product)).basis @ basis
    target = (product @ basis).T
    # Single precision is that of the movie; its scale is not that of squares.
    scale = max(float(np.abs(target).max()), 1e-30)
    solution = nnls(
        jnp.asarray(target / scale, jnp.float32), jnp.asarray(square, jnp.float32)
    )
    return scale * np.asarray(solution, np.float64).T
