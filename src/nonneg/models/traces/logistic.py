"""Many penalised logistic regressions on the same features at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Largest change of a log odds at which iterations end, and how many there are at most.
_TOL, _MAX_ITER = 1e-3, 500


def predict_labels(
    x: NDArray[np.float64],
    labels: NDArray[np.intp],
    test: NDArray[np.float64],
    penalties: NDArray[np.float64],
) -> NDArray[np.intp]:
    """(m, n_test) labels from m regressions, which differ in labels and penalties.

    ``labels`` (m, n) are from 0. Odds are relative to how frequent labels are in
    training, so that rare ones are found as well.
    """
    log_odds, prior = fit_log_odds(x, labels, test, penalties)
    return np.asarray((log_odds - np.log(prior)[:, None]).argmax(axis=2), np.intp)


def fit_log_odds(
    x: NDArray[np.float64],
    labels: NDArray[np.intp],
    test: NDArray[np.float64],
    penalties: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""(m, n_test, n_labels) log odds, and (m, n_labels) frequencies of labels.

    Minimises the negative log likelihood of a multinomial regression with
    penalty / 2 times the squares of weights; intercepts are free. Its curvature is at
    most half of that of least squares (Böhning), which is diagonal in the singular
    vectors of the features: accelerated steps with that bound need no Hessian, and many
    problems are one product.
    """
    mean = x.mean(axis=0)
    u, s, vt = np.linalg.svd(x - mean, full_matrices=False)
    z = np.concatenate([u * s, np.ones((len(x), 1))], axis=1)
    held = np.concatenate([(test - mean) @ vt.T, np.ones((len(test), 1))], axis=1)
    n_labels = int(labels.max()) + 1
    target = (labels[:, :, None] == np.arange(n_labels)).astype(np.float64)
    weight = np.zeros((penalties.size, z.shape[1], n_labels))
    free = np.append(np.ones(s.size), 0.0)
    ridge = penalties[:, None, None] * free[:, None]
    bound = (np.append(s**2, len(x)) / 2)[:, None] + ridge
    ahead, momentum = weight, np.ones((penalties.size, 1, 1))
    for _ in range(_MAX_ITER):
        logit = z @ ahead
        p = np.exp(logit - logit.max(axis=2, keepdims=True))
        p /= p.sum(axis=2, keepdims=True)
        step = (z.T @ (target - p) - ridge * ahead) / bound
        new = ahead + step
        moved = new - weight
        if np.abs(z @ moved).max() < _TOL:
            weight = new
            break
        # Momentum begins anew where it led uphill.
        uphill = (step * bound * moved).sum(axis=(1, 2), keepdims=True) < 0
        later = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        pace = np.where(uphill, 0, (momentum - 1) / later)
        momentum = np.where(uphill, 1.0, later)
        ahead, weight = new + pace * moved, new
    prior = target.mean(axis=1)
    return held @ weight, np.maximum(prior, np.finfo(float).tiny)
