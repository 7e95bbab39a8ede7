"""Multiplicative updates."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def mu_update(
    factor: Float[Array, "p k"],
    numerator: Float[Array, "p k"],
    denominator: Float[Array, "p k"],
) -> Float[Array, "p k"]:
    """Scale every entry by the ratio of the two parts of its gradient.

    For least squares ``1/2 ‖X - F Bᵀ‖²`` these are ``X B`` and ``F BᵀB``, the latter
    with the gradient of any penalty; the objective never rises :cite:p:`Lee2000`.
    """
    positive = denominator > 0
    ratio = numerator / jnp.where(positive, denominator, 1)
    return jnp.where(positive, factor * ratio, factor)


def mu_update_kl(
    factor: Float[Array, "p k"],
    ratio: Float[Array, "p k"],
    sums: Float[Array, " k"],
    l1: Float[Array, " k"] | Float[Array, "p k"] | Float[Array, ""] | float = 0.0,
    l2: Float[Array, " k"] | Float[Array, "p k"] | Float[Array, ""] | float = 0.0,
) -> Float[Array, "p k"]:
    """Minimise the usual bound on the Kullback-Leibler divergence, and penalties.

    ``ratio = (X / F Bᵀ) B`` and ``sums`` are the column sums of B
    :cite:p:`Fevotte2011`. With an L2 penalty the minimiser of the bound is the root
    of a quadratic; dividing by the sum of gradients instead may raise the objective.
    """
    linear = sums + l1
    root = jnp.sqrt(linear**2 + 4 * l2 * factor * ratio)
    denominator = linear + root
    positive = denominator > 0
    return jnp.where(
        positive, 2 * factor * ratio / jnp.where(positive, denominator, 1), factor
    )
