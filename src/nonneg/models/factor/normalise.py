"""Scale and order of factors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..._core.typing import Floats

if TYPE_CHECKING:
    from ...operators.protocol import Matrix


# Rows at a time where only a copy of a part of W is wanted.
_SLICE = 65_536


def normalise(w: Matrix, h: Matrix) -> tuple[Floats, Floats, Floats, Floats]:
    """Unit-norm loadings, scale in the scores, largest contribution first.

    Also returns the norms taken from the loadings and the contributions: the sum of
    absolute values of each component's part of the product. W is changed in place
    where it can be.
    """
    w = np.asarray(w) if np.asarray(w).flags.writeable else np.array(w)
    h = np.array(h)
    norm = np.linalg.norm(h, axis=1)
    h /= np.where(norm > 0, norm, 1)[:, None]
    # In slices: W may be all that there is memory for.
    slices = [slice(i, i + _SLICE) for i in range(0, w.shape[0], _SLICE)]
    mass = norm * sum(np.abs(w[rows]).sum(0, dtype=np.float64) for rows in slices)
    mass = mass * np.abs(h).sum(1, dtype=np.float64)
    order = np.argsort(-mass, kind="stable")
    for rows in slices:
        w[rows] = (w[rows] * norm)[:, order]
    return w, h[order], norm[order], mass[order]
