"""How well types that are present are told from those that are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sklearn.metrics import average_precision_score

from .._core.arguments import checked
from ._composition import read_compositions

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@checked
def presence_aupr(estimate: ArrayLike, truth: ArrayLike) -> float:
    """Area under the curve of precision against recall, of types being present.

    Parameters
    ----------
    estimate
        Shares, or any numbers that are higher where a type is more surely present,
        shape `(n_obs, n_types)`.
    truth
        True shares: a type is present where its share is positive. Rows with NaN in
        either are left out.

    Returns
    -------
    1 where all that are present have higher numbers than all that are not; the part of
    entries that are present, on average, for random numbers.

    Raises
    ------
    ValueError
        If shapes differ, entries are negative, no type is present, or no row is free of
        NaN.

    Examples
    --------
    >>> import nonneg as nng
    >>> nng.metrics.presence_aupr([[0.9, 0.1], [0.3, 0.7]], [[1, 0], [0.2, 0.8]])
    1.0
    """
    found, true = read_compositions(estimate, truth)
    present = (true > 0).ravel()
    if not present.any():
        msg = "No type is present in truth."
        raise ValueError(msg)
    return float(average_precision_score(present, found.ravel()))
