"""Real values, of factors that enter as exponentials or as they are."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._core.namespace import namespace
from ..._core.typing import Floats
from ...kernels.hals import hals_update
from .likelihood import (
    MAX_LOG,
    Evidence,
    Likelihood,
    Local,
    Observations,
    Sites,
    column_sq_norm,
    exp,
    expected,
    score_blocks,
    sized_moments,
    sum_of_loaded,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...operators.protocol import MatrixOperator


class Gaussian(Likelihood):
    """Real values with mean ``exp(f) @ W.T``, W >= 0, and a variance for every gene.

    Everything follows from Gram matrices and the products of the data with factors
    and loadings. Noise is the variance of every variable.
    """

    loss = "frobenius"
    arrays = ("sq_norm", "noise")

    def __init__(self, op: MatrixOperator, sq_norm: Floats) -> None:
        self.op = op
        self.sq_norm: Any = sq_norm
        self.noise = np.maximum(sq_norm / op.shape[0], 1e-12)

    def restrict(self, op: MatrixOperator, rows: NDArray[np.intp]) -> Gaussian:
        return Gaussian(op, column_sq_norm(op))

    def evidence(self, noise: Any, mean: Any, var: Any, w: Any) -> Evidence:
        xp = namespace(mean)
        n_obs = self.op.shape[0]
        factors, gram = _moments(mean, var)
        product = xp.asarray(self.op.rmatmul(factors.astype(w.dtype)))
        error = _residual(self.sq_norm, product, gram, w)
        value = _gaussian_value(error, noise, n_obs)
        new = xp.asarray(
            hals_update(
                jnp.asarray(w), jnp.asarray(product), jnp.asarray(gram, w.dtype)
            )
        )
        error = _residual(self.sq_norm, product, gram, new)
        floor = 1e-6 * self.sq_norm / n_obs + 1e-12
        return Evidence(new, value, xp.maximum(error / n_obs, floor))

    def local(self, evidence: Evidence, mean: Any, var: Any) -> Local:
        xp, w = namespace(mean), evidence.w
        weighted = (w / evidence.noise[:, None]).astype(w.dtype)
        product = xp.asarray(self.op.matmul(weighted))
        gram = (w.T @ weighted).astype(np.float64)
        factors = expected(mean, var).astype(np.float64)
        # The square of the mean, separated in proportion to its parts; what variances
        # add to it is separate already.
        own = xp.diagonal(gram) * factors**2
        rate = xp.maximum((factors @ gram) * factors - own, 0)
        return Local(product * factors, rate, own * exp(var), power=2)

    def score(
        self, noise: Any, others: Observations, mean: Any, var: Any, w: Any
    ) -> Any:
        return score_blocks(
            others.op,
            *sized_moments(mean, var, 1),
            lambda x, *rows: _gaussian_score(
                x, *rows, w, noise.astype(w.dtype), np.zeros(len(w), w.dtype)
            ),
        )


class LinearGaussian(Likelihood):
    """Real values with mean ``f @ W.T + center``, W of any sign.

    Where factors have one prior in common, a rotation leaves it as it is, and loadings
    are kept orthogonal in the metric of the noise: then factors do not interact and all
    of them are updated at once, exactly. With priors of their own, factors are what they
    are, and updated in turn.
    """

    log_link = False
    loss = "frobenius"
    arrays = ("center", "sq_norm", "noise", "floor")

    one_prior = True
    """Of all factors; what :meth:`of_priors` sets."""

    def __init__(self, op: MatrixOperator, sq_norm: Floats, center: Floats) -> None:
        self.op, self.center = op, center
        n_obs = op.shape[0]
        total = op.stats().col_sums
        self.sq_norm: Any = sq_norm - 2 * center * total + n_obs * center**2
        self.noise = np.maximum(self.sq_norm / n_obs, 1e-12)
        self.floor: Any = 1e-3 * self.noise + 1e-12

    def restrict(self, op: MatrixOperator, rows: NDArray[np.intp]) -> LinearGaussian:
        return LinearGaussian(op, column_sq_norm(op), self.center)

    def of_priors(self, *, alike: bool) -> LinearGaussian:
        found = copy(self)
        found.one_prior = alike
        return found

    def evidence(self, noise: Any, mean: Any, var: Any, w: Any) -> Evidence:
        xp = namespace(mean)
        n_obs = self.op.shape[0]
        m = mean.astype(np.float64)
        gram = m.T @ m + xp.diag(var.sum(0, dtype=np.float64))
        product = xp.asarray(self.op.rmatmul(mean.astype(w.dtype)))
        product = product.astype(np.float64) - xp.outer(self.center, m.sum(0))
        error = _residual(self.sq_norm, product, gram, w)
        value = _gaussian_value(error, noise, n_obs)
        ridge = 1e-9 * xp.trace(gram) * xp.eye(len(gram))
        new = xp.linalg.solve(gram + ridge, product.T).T
        error = _residual(self.sq_norm, product, gram, new)
        noise = xp.maximum(error / n_obs, self.floor)
        if not self.one_prior:
            return Evidence(new.astype(w.dtype), value, noise)
        # Rotate so that factors separate.
        _, _, rotation = xp.linalg.svd(
            new / xp.sqrt(noise)[:, None], full_matrices=False
        )
        # Their signs are those of before.
        sign = xp.where(xp.diagonal(rotation) < 0, -1.0, 1.0)
        rotation = sign[:, None] * rotation
        return Evidence((new @ rotation.T).astype(w.dtype), value, noise)

    def local(self, evidence: Evidence, mean: Any, var: Any) -> Sites:
        xp, w = namespace(mean), evidence.w
        weighted = (w / evidence.noise[:, None]).astype(w.dtype)
        shift = xp.asarray(self.op.matmul(weighted)) - self.center @ weighted
        gram = (w.T @ weighted).astype(np.float64)
        own = xp.diagonal(gram).astype(shift.dtype)
        precision = xp.broadcast_to(own, shift.shape)
        return Sites(precision, shift, None if self.one_prior else gram)

    def score(
        self, noise: Any, others: Observations, mean: Any, var: Any, w: Any
    ) -> Any:
        return score_blocks(
            others.op,
            mean.astype(w.dtype),
            var.astype(w.dtype),
            lambda x, *rows: _gaussian_score(
                x, *rows, w, noise.astype(w.dtype), self.center.astype(w.dtype)
            ),
        )


def _moments(mean: Any, var: Any) -> tuple[Any, Any]:
    """Expected factors, and the Gram matrix that includes their variances."""
    xp = namespace(mean)
    factors = expected(mean, var).astype(np.float64)
    extra = (factors**2 * xp.expm1(xp.minimum(var, MAX_LOG))).sum(0)
    return factors, factors.T @ factors + xp.diag(extra)


def _residual(sq_norm: Any, product: Any, gram: Any, w: Any) -> Any:
    """Expected squared error of every gene."""
    xp = namespace(w)
    w = w.astype(np.float64)
    fitted = xp.einsum("jk,kl,jl->j", w, gram, w)
    return xp.maximum(sq_norm - 2 * (product * w).sum(1) + fitted, 0)


def _gaussian_value(error: Any, noise: Any, n_obs: int) -> Any:
    xp = namespace(noise)
    return -(error / noise + n_obs * xp.log(2 * np.pi * noise)).sum() / 2


@jax.jit
def _gaussian_score(  # noqa: PLR0917
    x: jax.Array,
    factors: jax.Array,
    spread: jax.Array,
    w: jax.Array,
    noise: jax.Array,
    center: jax.Array,
) -> jax.Array:
    var = noise + spread @ (w**2).T
    error = jnp.square(x - center - factors @ w.T)
    return -sum_of_loaded(error / var + jnp.log(var), w) / 2
