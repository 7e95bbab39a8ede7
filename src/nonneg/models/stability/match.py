"""How alike the patterns of samples are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linear_sum_assignment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

type Metric = Literal["hungarian", "amari"]

# Samples whose similarities are computed at once.
_BLOCK = 16

# Pairs of samples that measure what is left of similarity by chance. It varies little.
_CHANCE_PAIRS = 20

# cNMF's density filter: of the patterns of all samples, the neighbours that are looked
# at, as a share of the number of samples, and the mean distance from which on a pattern
# stands alone.
_NEIGHBORS = 0.3
_ALONE = 0.5


# Product of the spreads of two patterns of unit norm from which on they have a
# correlation, in single precision.
_FLAT = 1e-4


class Distances(NamedTuple):
    """Between the samples, (n, n), zero on the diagonal."""

    hungarian: NDArray[np.float64]
    amari: NDArray[np.float64]
    centered: NDArray[np.float64]
    """Hungarian, with correlations instead of cosines."""
    alone: NDArray[np.bool_]
    """(n, k): patterns that are far from those of other samples."""


def distances(patterns: NDArray[Any], *, signed: bool = False) -> Distances:
    """Compare every sample's patterns, (n, k, size), with every other's.

    ``signed`` patterns are alike also where one is the other's negative.
    """
    n, k, size = patterns.shape
    units = _Units(patterns)
    means = units.means
    found = {name: np.zeros((n, n)) for name in ("hungarian", "amari", "centered")}
    n_near = max(round(_NEIGHBORS * n), 1)
    alone = np.zeros((n, k), bool)
    for first, rows in units.blocks():
        cosines = np.concatenate(
            [np.asarray(_cosines(rows, other)) for _, other in units.blocks()], axis=1
        )
        if signed:
            cosines = np.abs(cosines)
        last = first + len(rows)
        near = np.sort(cosines, axis=1)[:, -n_near - 1 : -1]
        away = np.sqrt(np.maximum(2 - 2 * near, 0)).mean(axis=1)
        alone[first:last] = (away > _ALONE).reshape(-1, k)
        centered = cosines - size * np.outer(means[first:last].ravel(), means.ravel())
        spread = np.sqrt(np.maximum(1 - size * means**2, 0))
        outer = np.outer(spread[first:last].ravel(), spread.ravel())
        # A constant pattern has no correlation with any.
        flat = outer <= _FLAT
        centered = np.where(flat, 0, centered / np.where(flat, 1, outer))
        if signed:
            centered = np.abs(centered)
        for p in range(first, last):
            own = slice((p - first) * k, (p - first + 1) * k)
            for q in range(p):
                theirs = slice(q * k, (q + 1) * k)
                pair = cosines[own, theirs]
                found["hungarian"][p, q] = hungarian(pair)
                found["amari"][p, q] = amari(pair)
                found["centered"][p, q] = hungarian(centered[own, theirs])
    both = {name: part + part.T for name, part in found.items()}
    return Distances(**both, alone=alone)


def chance(
    patterns: NDArray[Any], metric: Metric, rng: np.random.Generator, *, signed: bool
) -> float:
    """The mean distance of patterns whose entries were put in random order.

    What is left is what any patterns with these entries share: a cosine of non-negative
    patterns is far from zero.
    """
    n = len(patterns)
    total = 0.0
    for _ in range(_CHANCE_PAIRS):
        p, q = rng.choice(n, 2, replace=False)
        one = patterns[p].astype(np.float32)
        # The order of the other one may stay: it is random relative to this one.
        other = rng.permuted(patterns[q].astype(np.float32), axis=1)
        cosines = np.asarray(_cosines(unit(one)[None], unit(other)[None]))
        total += METRICS[metric](np.abs(cosines) if signed else cosines)
    return total / _CHANCE_PAIRS


def hungarian(similarity: NDArray[Any]) -> float:
    """One less the mean similarity of the best matching."""
    rows, columns = linear_sum_assignment(similarity, maximize=True)
    return float(1 - similarity[rows, columns].mean())


def amari(similarity: NDArray[Any]) -> float:
    """One less the mean, over both sides, of each pattern's best partner.

    Partners may be shared: never above the Hungarian distance.
    """
    return float(
        1 - (similarity.max(axis=0).mean() + similarity.max(axis=1).mean()) / 2
    )


METRICS: dict[Metric, Callable[[NDArray[Any]], float]] = {
    "hungarian": hungarian,
    "amari": amari,
}


@dataclass(frozen=True)
class _Units:
    """Patterns of unit 2-norm, some samples at a time."""

    patterns: NDArray[Any]

    def blocks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        for first in range(0, len(self.patterns), _BLOCK):
            yield first, unit(self.patterns[first : first + _BLOCK])

    @property
    def means(self) -> NDArray[np.float64]:
        """(n, k)."""
        return np.concatenate(
            [rows.mean(axis=2, dtype=np.float64) for _, rows in self.blocks()]
        )


def unit(patterns: NDArray[Any]) -> NDArray[Any]:
    """Patterns of unit 2-norm along the last axis, or of zeros."""
    x = patterns if patterns.dtype == np.float64 else patterns.astype(np.float32)
    norm = np.linalg.norm(x, axis=-1, keepdims=True)
    return x / np.where(norm > 0, norm, 1)


@jax.jit
def _cosines(one: Any, other: Any) -> jax.Array:
    """All against all: (samples k, samples k)."""
    size = one.shape[-1]
    return jnp.clip(one.reshape(-1, size) @ other.reshape(-1, size).T, -1, 1)
