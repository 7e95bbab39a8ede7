"""Jensen-Shannon divergence of compositions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import rel_entr

from .._core.arguments import checked
from ._composition import read_compositions

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@checked
def composition_divergence(
    estimate: ArrayLike, truth: ArrayLike
) -> NDArray[np.float64]:
    r"""Jensen-Shannon divergence of the compositions of each observation, in bits.

    .. math:: \tfrac12 \mathrm{KL}(p \| m) + \tfrac12 \mathrm{KL}(q \| m),
        \qquad m = (p + q) / 2

    Its root is what :func:`scipy.spatial.distance.jensenshannon` returns with base 2.

    Parameters
    ----------
    estimate, truth
        Shares, shape `(n_obs, n_types)`, of any sum. Rows with NaN in either are left
        out.

    Returns
    -------
    One number per observation that is left: 0 for equal compositions, 1 for such that
    have no type in common.

    Raises
    ------
    ValueError
        If shapes differ, entries are negative, a row is all zero, or no row is free of
        NaN.

    Examples
    --------
    >>> import nonneg as nng
    >>> nng.metrics.composition_divergence([[1, 0], [0.5, 0.5]], [[0, 1], [0.5, 0.5]])
    array([1., 0.])
    """
    found, true = read_compositions(estimate, truth)
    totals = found.sum(1, keepdims=True), true.sum(1, keepdims=True)
    if not all((total > 0).all() for total in totals):
        msg = "A row without any share has no composition. Leave it out, or set it NaN."
        raise ValueError(msg)
    p, q = found / totals[0], true / totals[1]
    middle = (p + q) / 2
    nats = (rel_entr(p, middle) + rel_entr(q, middle)).sum(1) / 2
    return np.asarray(nats / np.log(2))
