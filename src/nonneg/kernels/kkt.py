"""How far a factor is from the optimality conditions."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def projected_gradient(
    factor: Float[Array, "p k"], gradient: Float[Array, "p k"]
) -> Float[Array, "p k"]:
    """Gradient without the parts that push a zero below zero.

    Zero everywhere exactly where the Karush-Kuhn-Tucker conditions of
    ``factor >= 0`` hold.
    """
    return jnp.where(factor > 0, gradient, jnp.minimum(gradient, 0))
