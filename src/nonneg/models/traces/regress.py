"""Continuous behaviour from traces at several lags."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .blocks import contiguous_folds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from .blocks import Fold

# Penalties relative to the mean variance of features times the number of frames.
_PENALTIES = 10.0 ** np.arange(-6, 3)


class Regressed(NamedTuple):
    """Predictions of frames that were held out."""

    predicted: NDArray[np.float64]
    """(n_frames,)"""
    r2: float
    correlation: float
    null: NDArray[np.float64]
    """(n_null,): R² of targets that were shifted in a circle."""


def lagged(x: NDArray[np.float64], lags: NDArray[np.intp]) -> NDArray[np.float64]:
    """(n_frames, n_lags x K): traces at frames t + lag; the ends repeat."""
    rows = np.arange(len(x))[:, None] + lags
    return x[np.clip(rows, 0, len(x) - 1)].reshape(len(x), -1)


def shifted(y: NDArray[np.float64], shifts: NDArray[np.intp]) -> NDArray[np.float64]:
    """(n_frames, n_shifts) copies that were shifted in a circle."""
    return y[(np.arange(y.size)[:, None] + shifts) % y.size]


def ridge(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    shifts: NDArray[np.intp],
    *,
    n_folds: int,
    gap: int,
) -> Regressed:
    """Ridge regression, with the penalty of every target chosen in training blocks.

    Shifted targets are further columns. Sums of products over stretches of frames are
    all that is needed: frames are read once, whatever the number of folds, penalties and
    targets.
    """
    targets = np.concatenate([y[:, None], shifted(y, shifts)], axis=1)
    folds = contiguous_folds(len(y), n_folds, gap)
    parts = _Parts.of(x - x.mean(axis=0), targets - targets.mean(axis=0), folds)
    left, total = np.zeros(targets.shape[1]), np.zeros(targets.shape[1])
    predicted = np.empty(len(y))
    for fold in folds:
        train = ~parts.within(fold.first, fold.last)
        errors = np.zeros((_PENALTIES.size, targets.shape[1]))
        # The other blocks take turns as what the penalty is chosen on.
        for inner in folds:
            test = train & parts.within(inner.start, inner.stop)
            if inner is not fold and test.any():
                some = parts.sum(train & ~parts.within(inner.first, inner.last))
                held = parts.sum(test)
                errors += [held.error(some, beta) for beta in some.path()]
        best = errors.argmin(axis=0)
        fitted = parts.sum(train)
        beta = np.take_along_axis(np.stack(list(fitted.path())), best[None, None], 0)[0]
        held = parts.sum(parts.within(fold.start, fold.stop))
        left += held.error(fitted, beta)
        total += held.error(fitted, np.zeros_like(beta))
        inside = slice(fold.start, fold.stop)
        centred = x[inside] - x.mean(axis=0) - fitted.x / fitted.n
        predicted[inside] = y.mean() + fitted.y[0] / fitted.n + centred @ beta[:, 0]
    r2 = 1 - left / np.maximum(total, np.finfo(float).tiny)
    return Regressed(predicted, float(r2[0]), _correlation(y, predicted), r2[1:])


class _Sums(NamedTuple):
    """Sums over frames, of features, targets and their products."""

    n: float
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    xx: NDArray[np.float64]
    xy: NDArray[np.float64]
    yy: NDArray[np.float64]

    def about(self, train: _Sums) -> _Sums:
        """The same of differences from means of training."""
        x, y = train.x / train.n, train.y / train.n
        return _Sums(
            self.n,
            self.x - self.n * x,
            self.y - self.n * y,
            self.xx
            - np.outer(x, self.x)
            - np.outer(self.x, x)
            + self.n * np.outer(x, x),
            self.xy
            - np.outer(x, self.y)
            - np.outer(self.x, y)
            + self.n * np.outer(x, y),
            self.yy - 2 * y * self.y + self.n * y**2,
        )

    def path(self) -> Iterator[NDArray[np.float64]]:
        """(p, n_targets) weights with every penalty in turn."""
        centred = self.about(self)
        values, vectors = np.linalg.eigh(centred.xx)
        target = vectors.T @ centred.xy
        scale = max(float(values.mean()), np.finfo(float).tiny)
        for penalty in _PENALTIES:
            weight = 1 / (np.maximum(values, 0) + penalty * scale)
            yield vectors @ (weight[:, None] * target)

    def error(self, train: _Sums, beta: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n_targets,) sums of squared residuals, with means of training."""
        own = self.about(train)
        return np.asarray(
            own.yy
            - 2 * (beta * own.xy).sum(axis=0)
            + (beta * (own.xx @ beta)).sum(axis=0)
        )


@dataclass(frozen=True)
class _Parts:
    """Stretches of frames between all edges of folds and gaps."""

    start: NDArray[np.intp]
    sums: list[_Sums]

    @classmethod
    def of(
        cls, x: NDArray[np.float64], y: NDArray[np.float64], folds: list[Fold]
    ) -> _Parts:
        edges = sorted({e for f in folds for e in (f.start, f.stop, f.first, f.last)})
        sums = []
        for a, b in pairwise(edges):
            u, v = x[a:b], y[a:b]
            sums.append(
                _Sums(
                    float(b - a), u.sum(axis=0), v.sum(axis=0),
                    u.T @ u, u.T @ v, (v**2).sum(axis=0),
                )
            )  # fmt: skip
        return cls(np.array(edges[:-1]), sums)

    def within(self, first: int, last: int) -> NDArray[np.bool_]:
        """Stretches from one edge to another."""
        return (self.start >= first) & (self.start < last)

    def sum(self, chosen: NDArray[np.bool_]) -> _Sums:
        some = [self.sums[i] for i in np.flatnonzero(chosen)]
        return _Sums(*(sum(part) for part in zip(*some, strict=True)))


def network(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    shifts: NDArray[np.intp],
    *,
    n_folds: int,
    gap: int,
    n_hidden: int,
    seed: int,
) -> Regressed:
    """One hidden layer of rectified units, stopped early on a part of the training."""
    from sklearn.neural_network import MLPRegressor

    targets = np.concatenate([y[:, None], shifted(y, shifts)], axis=1)
    folds = contiguous_folds(len(y), n_folds, gap)
    predicted = np.empty_like(targets)
    for fold in folds:
        train = fold.train(len(y))
        mean, sd = x[train].mean(axis=0), x[train].std(axis=0)
        z = (x - mean) / np.where(sd > 0, sd, 1)
        for column in range(targets.shape[1]):
            target = targets[train, column]
            centre, scale = target.mean(), target.std() or 1.0
            model = MLPRegressor(
                hidden_layer_sizes=(n_hidden,),
                early_stopping=True,
                random_state=seed % 2**32,
            )
            model.fit(z[train], (target - centre) / scale)
            found = model.predict(z[fold.start : fold.stop])
            predicted[fold.start : fold.stop, column] = centre + scale * found
    r2 = _r2(targets, predicted, folds)
    return Regressed(
        predicted[:, 0], float(r2[0]), _correlation(y, predicted[:, 0]), r2[1:]
    )


def _r2(
    y: NDArray[np.float64], predicted: NDArray[np.float64], folds: list[Fold]
) -> NDArray[np.float64]:
    """1 - residual over the residual of the training mean, pooled over blocks."""
    left = ((y - predicted) ** 2).sum(axis=0)
    total = np.zeros_like(left)
    for fold in folds:
        mean = y[fold.train(len(y))].mean(axis=0)
        total += ((y[fold.start : fold.stop] - mean) ** 2).sum(axis=0)
    return np.asarray(1 - left / np.maximum(total, np.finfo(float).tiny))


def _correlation(y: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    size = y.std() * predicted.std()
    if not size > 0:
        return 0.0
    return float(((y - y.mean()) * (predicted - predicted.mean())).mean() / size)
