"""How much patterns differ between fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from .._adata.checks import as_numbers
from .._core.arguments import checked
from .._core.validators import check_one_of
from ..models.stability.match import METRICS
from ._match_factors import unit_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike


@checked
def instability(
    patterns: Sequence[ArrayLike],
    *,
    metric: Literal["hungarian", "amari"] = "hungarian",
    similarity: Literal["cosine", "pearson"] = "cosine",
) -> float:
    """Mean distance between the patterns of several fits.

    0 where all fits found the same patterns, in any order and of any scale. What it is for
    patterns that have nothing to do with each other depends on the similarity: about 1
    for `"pearson"`, and much less for `"cosine"`, since non-negative patterns are never
    orthogonal by chance.

    Parameters
    ----------
    patterns
        Patterns of each fit as columns, `(n, k)`, of the same observations or variables.
        Rows with NaN in any are left out.
    metric
        `"hungarian"`: one less the mean similarity of the best matching. `"amari"`: one
        less that of every pattern with its most similar one, from both sides; partners may
        be shared, so that it is never larger.
    similarity
        `"cosine"`, as published :cite:p:`Cahill2024`, or `"pearson"` correlation.

    Returns
    -------
    The mean over all pairs of fits.

    Raises
    ------
    ValueError
        If there are fewer than two fits, or their shapes differ.

    See Also
    --------
    nonneg.tl.stability : draws samples, fits them and compares them
    nonneg.metrics.match_factors : which pattern is which

    Examples
    --------
    >>> import nonneg as nng
    >>> truth = nng.datasets.quilt(12, 30).obsm["truth"]
    >>> round(nng.metrics.instability([truth, 2 * truth[:, ::-1]]), 6)
    0.0
    """
    check_one_of(metric, METRICS, "metric")
    check_one_of(similarity, ("cosine", "pearson"), "similarity")
    fits = [as_numbers(fit, "patterns") for fit in patterns]
    shapes = sorted({fit.shape for fit in fits})
    if len(fits) < 2 or len(shapes) > 1 or len(shapes[0]) != 2:
        msg = (
            "patterns must be two matrices or more of one shape, but there are "
            f"{len(fits)} of shapes {shapes}."
        )
        raise ValueError(msg)
    kept = ~np.any([np.isnan(fit).any(axis=1) for fit in fits], axis=0)
    if not kept.any():
        msg = "No row is free of NaN in all fits."
        raise ValueError(msg)
    units = [unit_columns(fit[kept], similarity) for fit in fits]
    distances = [
        METRICS[metric](units[p].T @ units[q])
        for p in range(len(units))
        for q in range(p)
    ]
    return float(np.mean(distances))
