"""Multiplicative updates."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def mu_update(
    factor: Float[Array, "p k"],
    numerator: Float[Array, "p k"],
    denominator: Float[Array, "p k"] | Float[Array, " k"],
    l1: Float[Array, ""] | float = 0.0,
    l2: Float[Array, ""] | float = 0.0,
) -> Float[Array, "p k"]:
    """Scale every entry by the ratio of the gradient's two parts.

    The gradient is ``denominator - numerator``: for the Frobenius loss
    ``F BᵀB`` and ``X B``, for the Kullback-Leibler divergence the column sums of
    B and ``(X / F Bᵀ) B``. Never increases either loss
    :cite:p:`Lee2000,Fevotte2011`.
    """
    denominator = denominator + l1 + l2 * factor
    positive = denominator > 0
    ratio = numerator / jnp.where(positive, denominator, 1)
    return jnp.where(positive, factor * ratio, factor)
