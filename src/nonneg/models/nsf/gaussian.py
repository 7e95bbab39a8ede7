"""Real values, of factors that enter as exponentials or as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from ..._core.typing import Floats
from ...kernels.hals import hals_update
from .likelihood import (
    MAX_LOG,
    Likelihood,
    Sites,
    column_sq_norm,
    exp,
    expected,
    score_blocks,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...operators.protocol import MatrixOperator


class Gaussian(Likelihood):
    """Real values with mean ``exp(f) @ W.T``, W >= 0, and a variance for every gene.

    Everything follows from Gram matrices and the products of the data with factors
    and loadings.
    """

    loss = "frobenius"

    def __init__(self, op: MatrixOperator, sq_norm: Floats) -> None:
        self.op = op
        self.sq_norm = sq_norm
        self.scatter = np.maximum(sq_norm / op.shape[0], 1e-12)

    def restrict(self, op: MatrixOperator, rows: NDArray[np.intp]) -> Gaussian:
        return Gaussian(op, column_sq_norm(op))

    def loadings(self, mean: Floats, var: Floats, w: Floats) -> tuple[Floats, float]:
        factors, gram = _moments(mean, var)
        product = np.asarray(self.op.rmatmul(factors.astype(w.dtype)))
        error = _residual(self.sq_norm, product, gram, w)
        value = _gaussian_value(error, self.scatter, self.op.shape[0])
        new = np.asarray(
            hals_update(
                jnp.asarray(w), jnp.asarray(product), jnp.asarray(gram, w.dtype)
            )
        )
        error = _residual(self.sq_norm, product, gram, new)
        self.scatter = np.maximum(
            error / self.op.shape[0], 1e-6 * self.sq_norm / self.op.shape[0] + 1e-12
        )
        return new, value

    def sites(self, mean: Floats, var: Floats, w: Floats, limit: float) -> Sites:
        weighted = (w / self.scatter[:, None]).astype(w.dtype)
        product = np.asarray(self.op.matmul(weighted))
        gram = (w.T @ weighted).astype(np.float64)
        factors = expected(mean, var).astype(np.float64)
        squared = factors**2 * exp(var)
        # The square of the mean, separated in proportion to its parts; what variances
        # add to it is separate already.
        first = product * factors
        second = (factors @ gram) * factors
        extra = np.diagonal(gram) * (squared - factors**2)
        precision = second + extra + np.diagonal(gram) * squared - first
        precision = np.maximum(precision, (second + extra) / 2)
        step = np.minimum(first - second - extra, limit * precision)
        return Sites(precision, step + precision * mean)

    def score(
        self, op: MatrixOperator, size: Floats, mean: Floats, var: Floats, w: Floats
    ) -> Floats:
        factors, center = expected(mean, var).astype(w.dtype), np.zeros(len(w))
        return score_blocks(
            op,
            lambda x, rows: _gaussian_score(x, factors[rows], w, self.scatter, center),
        )


class LinearGaussian(Likelihood):
    """Real values with mean ``f @ W.T + center``, W of any sign.

    Loadings are kept orthogonal in the metric of the noise: then factors do not
    interact and all of them are updated at once, exactly. Factors have one prior in
    common, which a rotation leaves as it is.
    """

    log_link = False
    loss = "frobenius"

    def __init__(self, op: MatrixOperator, sq_norm: Floats, center: Floats) -> None:
        self.op, self.center = op, center
        n_obs = op.shape[0]
        total = op.stats().col_sums
        self.sq_norm = sq_norm - 2 * center * total + n_obs * center**2
        self.scatter = np.maximum(self.sq_norm / n_obs, 1e-12)
        self.floor = 1e-3 * self.scatter + 1e-12
        self.rotation = np.empty(0)

    def restrict(self, op: MatrixOperator, rows: NDArray[np.intp]) -> LinearGaussian:
        return LinearGaussian(op, column_sq_norm(op), self.center)

    def loadings(self, mean: Floats, var: Floats, w: Floats) -> tuple[Floats, float]:
        m = mean.astype(np.float64)
        gram = m.T @ m + np.diag(var.sum(0, dtype=np.float64))
        product = np.array(self.op.rmatmul(mean.astype(w.dtype)), np.float64)
        product -= np.outer(self.center, m.sum(0))
        error = _residual(self.sq_norm, product, gram, w)
        value = _gaussian_value(error, self.scatter, self.op.shape[0])
        new = np.linalg.solve(
            gram + 1e-9 * np.trace(gram) * np.eye(len(gram)), product.T
        ).T
        error = _residual(self.sq_norm, product, gram, new)
        self.scatter = np.maximum(error / self.op.shape[0], self.floor)
        # Rotate so that factors separate.
        _, _, rotation = np.linalg.svd(
            new / np.sqrt(self.scatter)[:, None], full_matrices=False
        )
        self.rotation = rotation.T
        return (new @ self.rotation).astype(w.dtype), value

    def sites(self, mean: Floats, var: Floats, w: Floats, limit: float) -> Sites:
        weighted = (w / self.scatter[:, None]).astype(w.dtype)
        shift = np.asarray(self.op.matmul(weighted)) - self.center @ weighted
        precision = np.broadcast_to((w * weighted).sum(0), shift.shape)
        return Sites(precision, shift)

    def score(
        self, op: MatrixOperator, size: Floats, mean: Floats, var: Floats, w: Floats
    ) -> Floats:
        factors = mean.astype(w.dtype)
        return score_blocks(
            op,
            lambda x, rows: _gaussian_score(
                x, factors[rows], w, self.scatter, self.center
            ),
        )


def _moments(mean: Floats, var: Floats) -> tuple[Floats, Floats]:
    """Expected factors, and the Gram matrix that includes their variances."""
    factors = expected(mean, var).astype(np.float64)
    extra = (factors**2 * np.expm1(np.minimum(var, MAX_LOG))).sum(0)
    return factors, factors.T @ factors + np.diag(extra)


def _residual(sq_norm: Floats, product: Floats, gram: Floats, w: Floats) -> Floats:
    """Expected squared error of every gene."""
    w = w.astype(np.float64)
    fitted = np.einsum("jk,kl,jl->j", w, gram, w)
    return np.maximum(sq_norm - 2 * (product * w).sum(1) + fitted, 0)


def _gaussian_value(error: Floats, noise: Floats, n_obs: int) -> float:
    return float(-(error / noise + n_obs * np.log(2 * np.pi * noise)).sum() / 2)


@jax.jit
def _gaussian_score(
    x: jax.Array, factors: jax.Array, w: jax.Array, noise: jax.Array, center: jax.Array
) -> jax.Array:
    return -(jnp.square(x - center - factors @ w.T) / noise).sum(1) / 2
