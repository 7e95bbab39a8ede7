"""How well patterns tell a region."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from .._adata.checks import as_flags, as_numbers
from .._core.arguments import checked

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@checked
def region_auc(patterns: ArrayLike, inside: ArrayLike) -> float:
    """Area under the ROC curve of a logistic regression of a region on patterns.

    The regression is scikit-learn's, of patterns scaled to unit standard deviation, and
    is judged on the observations that it was fitted to: with a few patterns and many
    observations there is nothing to overfit.

    Parameters
    ----------
    patterns
        Values, shape `(n_obs, k)`, or `(n_obs,)` for a single pattern.
    inside
        Whether each observation is in the region, shape `(n_obs,)`.

    Returns
    -------
    1 where the patterns tell the region from the rest without an error, .5 where they
    do not tell it at all.

    Raises
    ------
    ValueError
        If lengths differ, values are not finite, or all observations are on one side.

    See Also
    --------
    nonneg.tl.region_prediction : against random patterns, from an AnnData object

    Examples
    --------
    >>> import nonneg as nng
    >>> nng.metrics.region_auc([[0.1], [0.2], [0.8], [0.9]], [False, False, True, True])
    1.0
    """
    x, y = as_numbers(patterns, "patterns"), as_flags(inside, "inside")
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or y.shape != x.shape[:1]:
        msg = f"patterns have shape {x.shape}, but inside has shape {y.shape}."
        raise ValueError(msg)
    if not np.isfinite(x).all():
        msg = "patterns must be finite."
        raise ValueError(msg)
    if y.all() or not y.any():
        msg = f"{int(y.sum())} of {y.size} observations are inside: one side is empty."
        raise ValueError(msg)
    std = x.std(axis=0)
    scaled = (x - x.mean(axis=0)) / np.where(std > 0, std, 1)
    # Newton steps: many observations and few patterns. A weak penalty keeps the
    # coefficients of a perfect separation finite.
    model = LogisticRegression(C=1e4, solver="newton-cholesky").fit(scaled, y)
    return float(roc_auc_score(y, model.decision_function(scaled)))
