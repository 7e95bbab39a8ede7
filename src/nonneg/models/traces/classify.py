"""Labels of trials from the traces before them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold

from .logistic import predict_labels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# Penalties on squared weights of standardised features, relative to their number: what
# matters is the size of sums over features. Weakest first.
_PENALTIES = 10.0 ** np.arange(-2, 3)


class Classified(NamedTuple):
    """Predictions of trials that were held out."""

    predicted: NDArray[np.intp]
    """(n_trials,)"""
    score: float
    """Balanced accuracy."""
    null: NDArray[np.float64]
    """(n_null,): the same of labels that were permuted or shifted."""


def classify(
    x: NDArray[np.float64],
    y: NDArray[np.intp],
    *,
    n_folds: int,
    null_labels: NDArray[np.intp],
) -> Classified:
    """Penalised logistic regression; folds are contiguous runs of each label's trials.

    The penalty is chosen within the training trials, on the true labels. Null labels are
    fitted with the same penalties: they carry no information that one could favour.
    """
    labels = np.concatenate([y[None], null_labels])
    predicted = np.empty_like(labels)
    for train, test in _split(y, n_folds):
        mean, sd = x[train].mean(axis=0), x[train].std(axis=0)
        z = (x - mean) / np.where(sd > 0, sd, 1)
        penalty = choose_penalty(z[train], y[train], n_folds)
        predicted[:, test] = predict_labels(
            z[train], labels[:, train], z[test], np.full(len(labels), penalty)
        )
    scores = [
        balanced_accuracy_score(truth, found)
        for truth, found in zip(labels, predicted, strict=True)
    ]
    return Classified(predicted[0], float(scores[0]), np.array(scores[1:], np.float64))


def _split(
    y: NDArray[np.intp], n_folds: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    return StratifiedKFold(n_folds).split(np.zeros((y.size, 1)), y)


def choose_penalty(x: NDArray[np.float64], y: NDArray[np.intp], n_folds: int) -> float:
    """The penalty with the best held-out accuracy; of equals, the strongest."""
    penalties = _PENALTIES[::-1] * x.shape[1]
    n = min(n_folds, int(np.bincount(y).min()))
    if n < 2:
        return float(penalties[penalties.size // 2])
    right = np.zeros(penalties.size)
    for train, test in _split(y, n):
        labels = np.broadcast_to(y[train], (penalties.size, train.size))
        found = predict_labels(x[train], labels, x[test], penalties)
        right += (found == y[test]).sum(axis=1)
    return float(penalties[right.argmax()])
