"""Whether locations hold a type that the signatures lack."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.sparse.linalg import eigsh
from scipy.stats import norm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from .problem import Fit, Mixture

# Fewer locations than this have nothing in common; the pattern is learned from as many
# as that.
_FEW, _ENOUGH = 10, 1000

# Genes by which the other locations are scored.
_TELLING = 500

# What signatures may be wrong by, as a factor, in steps that look for it.
_FACTOR, _ROUNDS = 1.5, 3

# Prior counts of these factors.
_PRIOR = 10.0

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

# Correlation from which the levels of genes tell a type from its opposite.
_AGREES = 0.3

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


class _Expected(NamedTuple):
    """Counts that a location has if signatures are as in the whole section."""

    signatures: NDArray[np.float32]
    """(k, n_vars)"""
    overdispersion: float
    surplus: NDArray[np.float32]
    """(n_vars,): logarithm of the section's counts over those of the reference."""

    def mean(
        self, counts: NDArray[np.float32], amounts: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """With the sum of the counts."""
        mean = amounts @ self.signatures
        size = counts.sum(1, keepdims=True)
        return mean * (size / np.maximum(mean.sum(1, keepdims=True), _TINY))

    def residuals(
        self, counts: NDArray[np.float32], mean: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """In standard deviations."""
        scale = np.sqrt(mean + self.overdispersion * mean**2 + _FLOOR)
        return np.clip((counts - mean) / scale, -_LARGEST, _LARGEST)


def missing_type(mixture: Mixture, fit: Fit, fdr: float, seed: int) -> Missing:
    """Locations that have in common what their types do not explain.

    Signatures are first corrected by all locations, each gene as far as need be and
    each type's gene by up to half: what is left differs between locations,
    as a platform does not. Its leading pattern over locations is learned from a part of
    the genes and scored by the others, so that noise has scores of mean 0 and variance
    1. The genes of a type that the reference lacks are those that the section has more
    of than the reference explains, which tells the pattern from its opposite.
    """
    n, n_vars = mixture.counts.shape
    if n < _FEW:
        return Missing(np.zeros(n), float("inf"), np.zeros(n_vars), np.zeros(n_vars))
    rows = np.arange(n)
    if n > _ENOUGH:
        rows = np.sort(np.random.default_rng(seed).choice(n, _ENOUGH, replace=False))
    counts = _dense(mixture, rows)
    amounts = fit.amounts.astype(np.float32)
    expected = _calibrate(mixture, fit, counts, amounts[rows])
    mean = expected.mean(counts, amounts[rows])
    residuals = expected.residuals(counts, mean)
    fold_of = _folds(counts)
    patterns = _patterns(residuals, fold_of)
    patterns *= _direction(patterns.sum(0) @ residuals, expected.surplus)
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
        size = np.asarray(mixture.counts.sum(1), np.float32)
        part = mixture.genes(telling)
        total = expected.signatures.sum(1)
        for block in _blocks(rest):
            share = size[block] / np.maximum(amounts[block] @ total, _TINY)[:, None]
            known = share * (amounts[block] @ expected.signatures[:, telling])
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
    return Missing(score, _certain(score, fdr), gain, fold)


def _direction(profile: NDArray[np.float32], surplus: NDArray[np.float32]) -> float:
    """1 if a profile of genes is that of a type, and -1 if its opposite is.

    The section has more of the genes of a type that the reference lacks than this
    explains, unless platforms differ in more. And a type adds much to a few genes, and
    takes a little from all others.
    """
    agreement = np.corrcoef(profile, surplus)[0, 1]
    skewed = np.power(profile.astype(np.float64), 3).sum()
    told = agreement if abs(agreement) > _AGREES else skewed
    return float(np.sign(told)) or 1.0


def _dense(mixture: Mixture, rows: NDArray[np.intp]) -> NDArray[np.float32]:
    return mixture.counts[rows].toarray().astype(np.float32, copy=False)


def _calibrate(
    mixture: Mixture,
    fit: Fit,
    counts: NDArray[np.float32],
    amounts: NDArray[np.float32],
) -> _Expected:
    exposed = counts.sum(1, keepdims=True) * amounts
    exposure = exposed.sum(0)[:, None]
    counted = counts.sum(0)
    of_reference = exposure.ravel() @ mixture.signatures
    surplus = np.log((counted + 0.5) / (of_reference + 0.5))
    surplus -= np.average(surplus, weights=counted)
    base = fit.signatures.astype(np.float32)

    def levelled(b: NDArray[np.float32]) -> NDArray[np.float32]:
        level = counted / np.maximum(exposure.ravel() @ b, _TINY)
        return (b * level).astype(np.float32, copy=False)

    base = levelled(base)
    present = base
    for _ in range(_ROUNDS):
        ratio = counts / np.maximum(exposed @ present, _TINY)
        shared = present * (exposed.T @ ratio)
        factor = (_PRIOR + shared) / (_PRIOR + exposure * base)
        present = levelled(base * np.clip(factor, 1 / _FACTOR, _FACTOR))
    found = _Expected(present, 0.0, surplus.astype(np.float32))
    mean = found.mean(counts, amounts)
    common = mean.mean(0) > _COMMON
    if not common.any():
        return found
    y, mean = counts[:, common], mean[:, common]
    # The same for all genes: what a missing type does to its own is not noise.
    beyond = (np.square(y - mean) - y).sum(0) / np.square(mean).sum(0)
    return found._replace(overdispersion=max(float(np.median(beyond)), 0.0))


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
