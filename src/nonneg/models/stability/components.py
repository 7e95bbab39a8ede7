"""Principal components of samples: what patterns are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .replicates import kept_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...operators.protocol import MatrixOperator
    from .draws import Draws
    from .spectra import Spectra


def principal_patterns(
    op: MatrixOperator, draws: Draws, spectra: Spectra, sample: int, rank: int
) -> NDArray[Any]:
    """Leading principal components (rank, size) of a sample, of any sign.

    They are patterns over the same side of the data as those of a factorization: with
    variables resampled, of observations, centred over the variables of the sample.
    """
    v, _ = spectra(sample, rank, centered=True)
    view = draws.view(op, sample)
    if draws.resample == "obs":
        return kept_rows((v / np.where(view.scale > 0, view.scale, 1)[:, None]).T)
    # Centred data times vectors that are orthogonal to the mean.
    return kept_rows(np.asarray(view.matmul(v)).T)
