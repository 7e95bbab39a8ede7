"""Principal components of samples: what patterns are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .replicates import kept_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..._core.typing import Floats
    from ...operators.protocol import MatrixOperator
    from .draws import Draws


def principal_patterns(
    op: MatrixOperator, draws: Draws, sample: int, vectors: Floats
) -> NDArray[Any]:
    """Principal components (k, size) of a sample, of any sign.

    From right singular vectors (n_vars, k) of the centred sample. They are patterns over
    the same side of the data as those of a factorization: with variables resampled, of
    observations, centred over the variables of the sample.
    """
    view = draws.view(op, sample)
    if draws.resample == "obs":
        scale = np.where(view.scale > 0, view.scale, 1)
        return kept_rows((vectors / scale[:, None]).T)
    # Centred data times vectors that are orthogonal to the mean.
    return kept_rows(np.asarray(view.matmul(vectors)).T)
