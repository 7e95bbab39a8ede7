"""Relative error of compositions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._core.arguments import checked
from ._composition import read_compositions

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@checked
def composition_error(estimate: ArrayLike, truth: ArrayLike) -> float:
    r"""Norm of the error over the norm of the truth.

    .. math:: \lVert \hat V - V \rVert_F / \lVert V \rVert_F

    Parameters
    ----------
    estimate, truth
        Shares, shape `(n_obs, n_types)`. Rows with NaN in either are left out.

    Returns
    -------
    0 where both agree.

    Raises
    ------
    ValueError
        If shapes differ, entries are negative, the truth is all zero, or no row is free
        of NaN.

    Examples
    --------
    >>> import nonneg as nng
    >>> nng.metrics.composition_error([[0.4, 0.6]], [[1.0, 0.0]])
    0.848528137423857
    """
    found, true = read_compositions(estimate, truth)
    size = np.linalg.norm(true)
    if size == 0:
        msg = "truth is all zero: errors cannot be relative to it."
        raise ValueError(msg)
    return float(np.linalg.norm(found - true) / size)
