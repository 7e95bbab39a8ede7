"""Gaussian processes on inducing points: the parts that are compiled.

Of all factors at once: what they share has no axis of factors, everything else has it
first. All of this runs in float64: an inverse of K in single precision is of no use.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp

from .covariance import Kernel, kernel_function, pairwise_distance


@jax.jit(static_argnums=0)
def prior_precision(
    kernel: Kernel, z: jax.Array, section: jax.Array, jitter: Any
) -> tuple[jax.Array, jax.Array]:
    """Inverses of covariances of inducing points, and their log determinants.

    ``z`` (n, n_inducing, n_dims) is in units of each of n length scales.
    """
    same = section[:, None] == section

    def one(z: jax.Array) -> tuple[jax.Array, jax.Array]:
        cov = jnp.where(same, kernel_function(kernel, pairwise_distance(z, z)), 0)
        cov += jitter * jnp.eye(len(z))
        factor = jnp.linalg.cholesky(cov)
        precision = jax.scipy.linalg.cho_solve((factor, True), jnp.eye(len(z)))
        return precision, -2 * jnp.log(jnp.diagonal(factor)).sum()

    return jax.vmap(one)(z)


@jax.jit(static_argnums=0)
def conditional_weights(
    kernel: Kernel, x: jax.Array, z: jax.Array, used: jax.Array, jitter: Any
) -> tuple[jax.Array, jax.Array]:
    """Weights of ``z`` (n, k, d) for ``x`` (n, d), and the variance left."""
    both = used[:, :, None] & used[:, None, :]
    eye = jnp.eye(z.shape[1])
    cov = jnp.where(both, kernel_function(kernel, pairwise_distance(z, z)), eye)
    cross = kernel_function(kernel, pairwise_distance(z, x[:, None])[..., 0])
    cross = jnp.where(used, cross, 0)
    weights = jnp.linalg.solve(cov + jitter * eye, cross[..., None])[..., 0]
    return weights, jnp.maximum(1 - (weights * cross).sum(1), 0)


def _each_factor(function: Callable[..., Any], *ndims: int) -> Callable[..., Any]:
    """Map over the first axis of those arguments that have one beyond ``ndims``."""

    @jax.jit
    @wraps(function)
    def mapped(*args: jax.Array) -> Any:
        axes = [
            0 if jnp.ndim(a) > n else None for a, n in zip(args, ndims, strict=True)
        ]
        return jax.vmap(function, in_axes=axes)(*args)

    return mapped


def _posterior_covariance(
    precision: jax.Array, gram: jax.Array, var: Any
) -> tuple[jax.Array, jax.Array]:
    """Covariance of values at inducing points, and minus its log determinant."""
    factor = jnp.linalg.cholesky(precision / var + gram)
    cov = jax.scipy.linalg.cho_solve((factor, True), jnp.eye(len(gram)))
    return cov, 2 * jnp.log(jnp.diagonal(factor)).sum()


def _inner_products(
    precision: jax.Array,
    gram: jax.Array,
    var: Any,
    carried: jax.Array,
    targets: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Products with the posterior covariance, without forming it."""
    factor = jnp.linalg.cholesky(precision / var + gram)
    half = jax.scipy.linalg.solve_triangular(
        factor, jnp.concatenate([carried, targets], axis=1), lower=True
    )
    left, right = half[:, : carried.shape[1]], half[:, carried.shape[1] :]
    return left.T @ left, right.T @ left, (right**2).sum(0)


posterior_covariance = _each_factor(_posterior_covariance, 2, 2, 0)
inner_products = _each_factor(_inner_products, 2, 2, 0, 2, 2)
