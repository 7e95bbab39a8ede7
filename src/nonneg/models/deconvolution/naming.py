"""Which of the learned types a set of markers marks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import norm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Counts per million that are added to both sides of a fold change: as in
# pp.signatures, what a gene has at least where it marks a type.
_EXPRESSED = 10.0

# Probability that any set would name a type by chance.
_CHANCE = 0.05


class Naming(NamedTuple):
    """Scores of marker sets in types, and the pairs."""

    scores: NDArray[np.float64]
    """(n_sets, k)"""
    factor: NDArray[np.intp]
    """(n_sets,): type of each set, -1 where none has its markers."""


def match_markers(
    signatures: NDArray[np.float64], sets: Sequence[NDArray[np.intp]]
) -> Naming:
    """Pair sets of genes with signatures (k, n_vars), one to one.

    The score is the mean log fold change of the set's genes in a type, against the mean
    of the other types, as a z-score: beside the mean and standard deviation over all
    genes, for as many genes as the set has. Pairs have the largest sum of scores, and
    hold where the score would hardly come up in any set and type by chance.
    """
    scaled = 1e6 * signatures
    others = (scaled.sum(0) - scaled) / (len(scaled) - 1)
    fold = np.log((scaled + _EXPRESSED) / (others + _EXPRESSED))
    spread = np.maximum(fold.std(1, keepdims=True), 1e-12)
    z = (fold - fold.mean(1, keepdims=True)) / spread
    scores = np.stack([z[:, genes].mean(1) * genes.size**0.5 for genes in sets])
    least = norm.isf(_CHANCE / scores.size)
    # What is not certain is no better than nothing: it must not keep others apart.
    at, column = linear_sum_assignment(np.maximum(scores, least), maximize=True)
    factor = np.full(len(sets), -1)
    certain = scores[at, column] > least
    factor[at[certain]] = column[certain]
    return Naming(scores, factor)
