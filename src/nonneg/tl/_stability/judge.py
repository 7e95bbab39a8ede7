"""What a number of components is worth: patterns of samples, compared and joined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from ...models.stability.consensus import Moments, consensus, reconstruction, refit
from ...models.stability.match import chance, distances

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ...models.stability.draws import Draws
    from ...models.stability.match import Metric
    from ...models.stability.replicates import Patterns
    from ...operators.protocol import MatrixOperator

# Purpose of random numbers, beside those of samples.
_CHANCE = 3

# Instability relative to chance from which on nothing is selected: patterns that are
# nearer to random ones than to each other.
HALF_WAY = 0.5


class Judged(NamedTuple):
    """One number of components."""

    row: dict[str, Any]
    """Of the table."""
    patterns: pd.DataFrame
    """One row per pattern of the consensus."""
    W: NDArray[Any]
    H: NDArray[Any]


@dataclass(frozen=True)
class Judge:
    """Compares the patterns of samples, and fits all data to what they share."""

    op: MatrixOperator
    draws: Draws
    moments: Moments
    metric: Metric
    nonnegative: bool
    """Whether the data are fitted without negative entries."""
    signed: bool
    """Whether patterns have entries of any sign."""

    def __call__(self, rank: int, found: Patterns) -> Judged:
        """Instability, consensus, and reconstruction."""
        between = distances(found.patterns, signed=self.signed)
        of_metric = getattr(between, self.metric)
        value, se = _mean(of_metric)
        by_chance = self._chance(found)
        shared = consensus(found.patterns, of_metric, between.alone, signed=self.signed)
        w, h = refit(
            self.op,
            shared.patterns,
            self.draws.resample,
            var_weights=self.draws.var_weights,
            nonnegative=self.nonnegative,
        )
        # In the order in which the factors will be stored.
        mass = np.abs(w).sum(axis=0, dtype=float) * np.abs(h).sum(axis=1, dtype=float)
        order = np.argsort(-mass, kind="stable")
        w, h = w[:, order], h[order]
        accuracy = reconstruction(self.op, self.moments, w, h)
        row = {
            "n_components": rank,
            "instability": value,
            "instability_se": se,
            "hungarian": _mean(between.hungarian)[0],
            "amari": _mean(between.amari)[0],
            "centered": _mean(between.centered)[0],
            "chance": by_chance,
            "corrected": value / by_chance if by_chance > 0 else np.nan,
            "reconstruction": float(accuracy.mean()),
            "reconstruction_sd": float(accuracy.std()),
            "outliers": float(between.alone.mean()),
            "n_dead": int((found.patterns == 0).all(axis=2).sum()),
            "n_iter": float(found.n_iter.mean()),
            "converged": float(found.converged.mean()),
        }
        patterns = pd.DataFrame(
            {
                "n_components": rank,
                "pattern": np.arange(rank),
                "stability": shared.similarity.mean(axis=0)[order],
                "stability_sd": shared.similarity.std(axis=0)[order],
                "outliers": shared.alone[order],
            }
        )
        return Judged(row, patterns, w, h)

    def baseline(self, rank: int, found: Patterns) -> dict[str, float]:
        """Columns of the table for principal components of the same samples."""
        between = distances(found.patterns, signed=True)
        value, se = _mean(getattr(between, self.metric))
        by_chance = self._chance(found, signed=True)
        shared = consensus(
            found.patterns, getattr(between, self.metric), between.alone, signed=True
        )
        # Components are of centred data: with the mean, as many numbers more.
        mean = self._mean_pattern()
        basis = np.concatenate([mean, shared.patterns]) if rank else shared.patterns
        w, h = refit(
            self.op,
            basis,
            self.draws.resample,
            var_weights=self.draws.var_weights,
            nonnegative=False,
        )
        accuracy = reconstruction(self.op, self.moments, w, h)
        return {
            "pca": value,
            "pca_se": se,
            "pca_corrected": value / by_chance if by_chance > 0 else np.nan,
            "pca_reconstruction": float(accuracy.mean()),
        }

    def _chance(self, found: Patterns, *, signed: bool | None = None) -> float:
        return chance(
            found.patterns,
            self.metric,
            self.draws.rng(found.patterns.shape[1], _CHANCE),
            signed=self.signed if signed is None else signed,
        )

    def _mean_pattern(self) -> NDArray[np.float32]:
        """Mean of what components were centred by, over all data."""
        if self.draws.resample == "obs":
            return self.moments.mean.astype(np.float32)[None]
        ones = np.ones((self.op.shape[1], 1), self.op.dtype)
        if self.draws.var_weights is not None:
            ones = self.draws.var_weights[:, None].astype(self.op.dtype)
        return np.asarray(self.op.matmul(ones / ones.sum()), np.float32).T


def _mean(between: NDArray[np.float64]) -> tuple[float, float]:
    """Mean over pairs of samples, and its standard error.

    Pairs share samples: the error is that of a U-statistic, ``sqrt(2 / n)`` times the
    standard deviation of the pairs, which is an upper bound.
    """
    n = len(between)
    pairs = between[np.triu_indices(n, 1)]
    return float(pairs.mean()), float(np.sqrt(2 / n) * pairs.std())


def local_minima(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Below both neighbours: the ends of the range are none."""
    inner = (values[1:-1] < values[:-2]) & (values[1:-1] < values[2:])
    return np.concatenate([[False], inner, [False]])[: len(values)]


def select(table: pd.DataFrame) -> int | None:
    """The most stable number of components of those that are better than chance, if any."""
    better = table[table["corrected"] < HALF_WAY]
    if better.empty:
        return None
    return int(
        better.iloc[int(better["instability"].to_numpy().argmin())]["n_components"]
    )


def priority(row: Mapping[str, Any]) -> tuple[bool, float]:
    """Lowest for the number that is selected, or that is stored where none is."""
    return not row["corrected"] < HALF_WAY, row["instability"]
