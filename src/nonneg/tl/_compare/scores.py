"""How near observations are to what a model expects of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ...metrics import poisson_deviance
from ...models.nsf.counts import part_inside, row_blocks

if TYPE_CHECKING:
    import scipy.sparse as sp
    from numpy.typing import NDArray

    from .data import HoldOut
    from .models import Expected, Outcome


# Of intervals whose coverage is measured.
_LEVEL = 0.9

# Of the rate that a gene has in the training data.
_FLOOR = 0.01


def scores(part: HoldOut, outcome: Outcome) -> dict[str, float]:
    """The numbers of a row of the table."""
    seen = outcome.seen
    return {
        **_scores(
            part.held,
            outcome.held,
            part.held_size,
            part.rate,
            intervals=outcome.held.counts,
        ),
        "training_deviance": np.nan
        if seen is None
        else _scores(part.train_counts, seen, part.train_size, part.rate)["deviance"],
        "sparsity": outcome.sparsity,
    }


def _scores(
    counts: sp.csr_matrix,
    expected: Expected,
    size: NDArray[np.float64],
    rate: NDArray[np.float64],
    *,
    intervals: bool = False,
) -> dict[str, float]:
    """Deviance, error, coverage: block by block, because means are dense."""
    n, n_vars = counts.shape
    deviance = squares = inside = 0.0
    dispersion = 0.0 if expected.how is None else expected.how.dispersion
    for rows in row_blocks(n, n_vars):
        found = expected.rates(rows)
        floor = _FLOOR * rate * size[rows]
        found = found._replace(mean=np.maximum(found.mean, floor))
        y = counts[rows]
        deviance += poisson_deviance(y, found.mean) * y.shape[0] / n
        dense = y.toarray()
        squares += float(np.square(dense - found.mean).sum()) / (n * n_vars)
        if intervals:
            covered = part_inside(dense, found, dispersion, _LEVEL)
            inside += float(covered.sum()) / (n * n_vars)
    return {
        "deviance": deviance,
        "rmse": math.sqrt(squares),
        "coverage": inside if intervals else np.nan,
    }
