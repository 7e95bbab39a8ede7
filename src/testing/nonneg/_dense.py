"""The documented objectives and their gradients, written out for dense arrays.

Nothing here uses the package: these formulas are what it is checked against.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import kl_div, xlogy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    type Floats = NDArray[np.floating[Any]]


def frobenius(x: Floats, w: Floats, h: Floats) -> float:
    """``1/2 ‖X - W H‖²``."""
    return float(np.square(x - w @ h).sum() / 2)


def kullback_leibler(x: Floats, w: Floats, h: Floats) -> float:
    """``sum(x log(x / wh) - x + wh)``."""
    return float(kl_div(x, w @ h).sum())


def penalised(
    loss: float,
    w: Floats,
    h: Floats,
    *,
    alpha_W: float = 0.0,
    alpha_H: float = 0.0,
    l1_ratio: float = 0.0,
) -> float:
    """The loss with the penalties as documented."""

    def penalty(factor: Floats) -> float:
        l1, l2 = np.abs(factor).sum(), np.square(factor).sum()
        return float(l1_ratio * l1 + (1 - l1_ratio) / 2 * l2)

    n_obs, n_vars = w.shape[0], h.shape[1]
    return loss + alpha_W * n_vars * penalty(w) + alpha_H * n_obs * penalty(h)


def loss_gradients(
    x: Floats, w: Floats, h: Floats, loss: str = "frobenius"
) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Gradients with respect to W and H, and the parts of each with minus sign."""
    minus: tuple[Floats, Floats]
    plus: tuple[Floats, Floats]
    if loss == "frobenius":
        minus = x @ h.T, w.T @ x
        plus = w @ (h @ h.T), (w.T @ w) @ h
    else:
        ratio = np.divide(x, w @ h, out=np.zeros_like(x), where=x > 0)
        minus = ratio @ h.T, w.T @ ratio
        plus = np.tile(h.sum(1), (len(w), 1)), np.tile(w.sum(0), (h.shape[1], 1)).T
    return (plus[0] - minus[0], plus[1] - minus[1]), minus


def kkt_residual(
    x: Floats,
    w: Floats,
    h: Floats,
    *,
    loss: str = "frobenius",
    alpha_W: float = 0.0,
    alpha_H: float = 0.0,
    l1_ratio: float = 0.0,
) -> float:
    """Largest violation of the optimality conditions, relative to the data's part.

    The conditions of ``F >= 0`` are that the smaller of F and its gradient is
    zero, entry by entry. Scaled by the largest entry of F and of the part of the
    gradient that comes from the data, so that the number has no unit.
    """
    gradients, data_parts = loss_gradients(x, w, h, loss)
    weights = alpha_W * h.shape[1], alpha_H * w.shape[0]
    worst = 0.0
    for factor, gradient, scale, weight in zip(
        (w, h), gradients, data_parts, weights, strict=True
    ):
        total = gradient + weight * (l1_ratio + (1 - l1_ratio) * factor)
        violation = np.minimum(factor / factor.max(), total / np.abs(scale).max())
        worst = max(worst, float(np.abs(violation).max()), float(-factor.min()))
    return worst


def poisson_deviance(x: Floats) -> Floats:
    """Deviance of every column from a constant share of the row sums."""
    expected = np.outer(x.sum(1), x.sum(0) / x.sum())
    safe = np.where(expected > 0, expected, 1)
    return np.asarray(2 * (xlogy(x, x / safe) - x + expected).sum(0))
