"""Whether locations hold a type that the signatures lack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.sparse.linalg import eigsh
from scipy.stats import norm

from ..._core.random import stream
from .choose import SAMPLED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from .problem import Fit, Mixture

# Fewer locations than this have nothing in common; the pattern is learned from as many
# as that.
_FEW, _ENOUGH = 10, 1000

# Genes by which the other locations are scored.
_TELLING = 500

# Platforms have factors within this for types' genes, two standard deviations; and
# steps that look for them.
_FACTOR, _ROUNDS = 1.5, 10

# Part of a cell, of an average type, that is added to those of a type: genes that a few
# cells lack may be there.
_ADDED = 0.1

# Counts below which a squared residual is not divided by its mean.
_FLOOR = 0.05

# Residuals beyond this are of single genes.
_LARGEST = 5.0

# Counts of a location that are added to compare genes.
_LEVEL = 0.05

# Parts of the genes, each scored by what the others say.
_FOLDS = 4

# Quantiles of scores that are of locations without the type, and what they are of
# a normal variable.
_LOWER = np.array([0.05, 0.25])

# Genes with more counts than this in a location tell how counts scatter.
_COMMON = 0.3

_ROWS = 2048

_TINY = np.float32(1e-12)


class Missing(NamedTuple):
    """What the signatures leave unexplained, in some locations and not in others."""

    score: NDArray[np.float64]
    """(n,): standard deviations above the locations without it."""
    threshold: float
    """From which on a score is certain; infinite where none is."""
    gain: NDArray[np.float64]
    """(n_vars,): counts beyond those expected where scores are high, times ``fold``."""
    fold: NDArray[np.float64]
    """(n_vars,): logarithm of counts over expected ones where scores are high."""


class Cells(NamedTuple):
    """What signatures are means of."""

    number: NDArray[np.integer[Any]]
    """(k,)"""
    counts: NDArray[np.float64]
    """(k,): of a cell."""


class _Expected(NamedTuple):
    """Counts that a location has if signatures are as in the whole section."""

    signatures: NDArray[np.float32]
    """(k, n_vars)"""
    overdispersion: float

    def residuals(
        self, counts: NDArray[np.float32], mean: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """In standard deviations."""
        scale = np.sqrt(mean + self.overdispersion * mean**2 + _FLOOR)
        return np.clip((counts - mean) / scale, -_LARGEST, _LARGEST)


def missing_type(
    mixture: Mixture,
    fit: Fit,
    fdr: float,
    seed: int,
    cells: Cells | None = None,
) -> Missing:
    """Locations that have in common what their types do not explain.

    Signatures are first corrected by all locations, each gene as far as need be and
    each type's gene as far as platforms and sampled cells differ: what is left differs
    between locations, as a platform does not. Its leading pattern over locations is
    learned from a part of the genes and scored by the others, so that noise has scores
    of mean 0 and variance 1. ``cells`` says what signatures are means of: those of a
    few cells may be wrong by more. Of the two ends of the pattern, the one that is
    farther from the reference is the type that this lacks.
    """
    n, n_vars = mixture.counts.shape
    if n < _FEW:
        return Missing(np.zeros(n), float("inf"), np.zeros(n_vars), np.zeros(n_vars))
    rows = np.arange(n)
    if n > _ENOUGH:
        rows = np.sort(stream(seed, "missing type").choice(n, _ENOUGH, replace=False))
    counts = _dense(mixture, rows)
    size = np.asarray(mixture.counts.sum(1), np.float32)
    amounts = fit.amounts.astype(np.float32)
    expected = _calibrate(mixture, fit, cells, counts, amounts[rows])
    # Counts of every location by type, with the sum of its counts.
    total = amounts @ expected.signatures.sum(1)
    amounts *= size / np.maximum(total, _TINY)[:, None]
    own = amounts[rows]
    mean = own @ expected.signatures
    residuals = expected.residuals(counts, mean)
    fold_of = _folds(counts)
    patterns = _patterns(residuals, fold_of)
    patterns *= _direction(
        patterns.sum(0), counts, own @ mixture.signatures.astype(np.float32)
    )
    score = np.empty(n)
    score[rows] = _scores(residuals, patterns, fold_of)
    if n > rows.size:
        rest = np.setdiff1d(np.arange(n), rows)
        profile, noise = np.empty((2, n_vars), np.float32)
        for f, pattern in enumerate(patterns):
            own = residuals[:, fold_of == f]
            profile[fold_of == f] = pattern @ own
            noise[fold_of == f] = np.square(pattern) @ np.square(own)
        # Many locations are scored by the genes that say most.
        order = np.argsort(-np.square(profile) / (noise + _TINY), kind="stable")
        telling = np.sort(order[:_TELLING])
        part = mixture.genes(telling)
        for block in _blocks(rest):
            known = amounts[block] @ expected.signatures[:, telling]
            found = expected.residuals(_dense(part, block), known)
            variance = np.square(found) @ noise[telling]
            score[block] = (
                found @ profile[telling] / np.sqrt(np.maximum(variance, _TINY))
            )
    low, high = np.quantile(score, _LOWER)
    lowest, lower = norm.ppf(_LOWER)
    # Locations without the type: the lower part of all, and no surer than noise.
    sd = max((high - low) / (lower - lowest), 1.0)
    score = (score - (high - lower * sd)) / sd
    weight = np.maximum(patterns.sum(0), 0)
    weight = weight / max(weight.sum(), _TINY)
    counted, known = weight @ counts, weight @ mean
    # What is hardly there may be of any ratio.
    fold = np.log((counted + _LEVEL) / (known + _LEVEL))
    gain = np.maximum(counted - known, 0) * np.maximum(fold, 0)
    # What scatters less than counts do is explained.
    explained = np.square(counts - mean).sum() < SAMPLED * mean.sum()
    threshold = float("inf") if explained else _certain(score, fdr)
    return Missing(score, threshold, gain, fold)


def _direction(
    pattern: NDArray[np.float32],
    counts: NDArray[np.float32],
    known: NDArray[np.float32],
) -> float:
    """1 if the locations with high values are farther from the reference, else -1."""
    far = []
    for end in (pattern, -pattern):
        weight = np.maximum(end, 0)
        weight /= max(weight.sum(), _TINY)
        fold = np.log((weight @ counts + _LEVEL) / (weight @ known + _LEVEL))
        far.append(np.square(fold) @ known.mean(0))
    return 1.0 if far[0] >= far[1] else -1.0


def _dense(mixture: Mixture, rows: NDArray[np.intp]) -> NDArray[np.float32]:
    return mixture.counts[rows].toarray().astype(np.float32, copy=False)


def _calibrate(
    mixture: Mixture,
    fit: Fit,
    cells: Cells | None,
    counts: NDArray[np.float32],
    amounts: NDArray[np.float32],
) -> _Expected:
    exposed = counts.sum(1, keepdims=True) * amounts
    exposure = exposed.sum(0)[:, None]
    counted = counts.sum(0)
    base, variance = _reference(fit.signatures, cells)
    shape = 1 / variance
    factor = np.exp(2 * np.sqrt(variance))

    def levelled(b: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        level = counted / np.maximum(exposure.ravel() @ b, _TINY)
        return (b * level).astype(np.float32, copy=False)

    base = levelled(base)
    present = base
    for _ in range(_ROUNDS):
        ratio = counts / np.maximum(exposed @ present, _TINY)
        shared = present * (exposed.T @ ratio)
        found = (shape + shared) / (shape + exposure * base)
        present = levelled(base * np.clip(found, 1 / factor, factor))
    expected = _Expected(present, 0.0)
    mean = amounts @ present
    mean *= counts.sum(1, keepdims=True) / np.maximum(mean.sum(1, keepdims=True), _TINY)
    common = mean.mean(0) > _COMMON
    if not common.any():
        return expected
    y, mean = counts[:, common], mean[:, common]
    # The same for all genes: what a missing type does to its own is not noise.
    beyond = (np.square(y - mean) - y).sum(0) / np.square(mean).sum(0)
    return expected._replace(overdispersion=max(float(np.median(beyond)), 0.0))


def _reference(
    signatures: NDArray[np.float64], cells: Cells | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Signatures, and the variances of the factors that they are wrong by.

    Those of platforms; and where signatures are means of a few cells, those of counts
    and of cells, which are taken to vary by as much as their mean.
    """
    variance = np.full(signatures.shape, (np.log(_FACTOR) / 2) ** 2)
    if cells is not None:
        n = cells.number[:, None] + _ADDED
        signatures = signatures + (signatures.mean(0) - signatures) * _ADDED / n
        counted = n * cells.counts[:, None] * signatures
        variance += 1 / n + 1 / np.maximum(counted, _LEVEL)
    return signatures.astype(np.float32), variance.astype(np.float32)


def _folds(counts: NDArray[np.float32]) -> NDArray[np.intp]:
    """Fold of every gene, alternately by abundance."""
    fold_of = np.empty(counts.shape[1], np.intp)
    order = np.argsort(-counts.sum(0), kind="stable")
    fold_of[order] = np.arange(order.size) % _FOLDS
    return fold_of


def _patterns(
    residuals: NDArray[np.float32], fold_of: NDArray[np.intp]
) -> NDArray[np.float32]:
    """(folds, n): leading pattern over locations of the genes outside each fold.

    From products of different locations: the noise of one is not seen by another.
    """
    grams = []
    for f in range(_FOLDS):
        r = residuals[:, fold_of == f]
        gram = r @ r.T
        np.fill_diagonal(gram, 0)
        grams.append(gram)
    total = np.sum(grams, axis=0)
    n = len(total)
    whole = _leading(total)
    patterns = np.empty((_FOLDS, n), np.float32)
    for f, gram in enumerate(grams):
        v = _leading(total - gram)
        patterns[f] = v * (np.sign(v @ whole) or 1.0)
    return patterns


def _leading(gram: NDArray[np.float32]) -> NDArray[np.float32]:
    if not gram.any():
        return gram[0]
    _, v = eigsh(gram, 1, which="LA", v0=np.ones(len(gram), gram.dtype), tol=1e-3)
    return v[:, 0]


def _scores(
    residuals: NDArray[np.float32],
    patterns: NDArray[np.float32],
    fold_of: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Of mean 0 and variance 1 if residuals are independent noise."""
    n = len(residuals)
    score, variance = np.zeros(n), np.zeros(n)
    for f, v in enumerate(patterns):
        r = residuals[:, fold_of == f]
        square = np.square(r)
        # Without what a location itself adds to the profile.
        score += r @ (v @ r) - v * square.sum(1)
        variance += square @ (v**2 @ square) - v**2 * np.square(square).sum(1)
    return score / np.sqrt(np.maximum(variance, 1e-12))


def _blocks(rows: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    for start in range(0, rows.size, _ROWS):
        yield rows[start : start + _ROWS]


def _certain(score: NDArray[np.float64], fdr: float) -> float:
    """By Benjamini and Hochberg's rule."""
    ordered = np.sort(score)[::-1]
    p = norm.sf(ordered)
    passed = np.flatnonzero(p <= fdr * np.arange(1, p.size + 1) / p.size)
    return float(ordered[passed[-1]]) if passed.size else float("inf")
