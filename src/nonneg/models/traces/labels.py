"""Permutations of which session is of which animal."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class SubjectTest(NamedTuple):
    """Distances within subjects against those between them."""

    statistic: float
    """Mean distance between subjects less that within them."""
    null: NDArray[np.float64]
    p_value: float


def subject_test(
    distance: NDArray[np.float64],
    subjects: NDArray[np.intp],
    *,
    n_permutations: int,
    rng: np.random.Generator,
) -> SubjectTest:
    """Whether sessions of a subject are closer than those of several, by permutation.

    Distances share sessions, so that a t-test of them has not the freedom that it
    counts. Labels of sessions are exchangeable where subjects make no difference.
    """
    n = len(distance)
    pairs = np.triu_indices(n, 1)
    d = distance[pairs]

    def statistic(labels: NDArray[np.intp]) -> float:
        same = labels[pairs[0]] == labels[pairs[1]]
        return float(d[~same].mean() - d[same].mean())

    observed = statistic(subjects)
    null = np.array(
        [statistic(rng.permutation(subjects)) for _ in range(n_permutations)]
    )
    # Regroupings that are the observed one differ from it by rounding.
    tol = 1e-9 * max(float(np.abs(d).max()), np.finfo(float).tiny)
    p = (1 + int((null >= observed - tol).sum())) / (1 + n_permutations)
    return SubjectTest(observed, null, p)
