"""Updates of mixtures of known signatures."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def root_update(
    allocated: Float[Array, "n k"],
    slope: Float[Array, "n k"],
    stiffness: Float[Array, "n k"] | Float[Array, "n 1"] | Float[Array, ""] | float,
    pull: Float[Array, "n k"] | Float[Array, ""] | float,
) -> Float[Array, "n k"]:
    """Minimise ``slope s² - 2 allocated log s + stiffness s² - 2 pull s`` over s > 0.

    With s² the amount of a type, the first two terms are the usual bound on a count
    likelihood, and the others are pulls on square roots. The optimum is the positive
    root of a quadratic.
    """
    curvature = slope + stiffness
    # Differentiable where nothing is allocated and nothing pulls.
    tiny = jnp.finfo(allocated.dtype).tiny
    root = jnp.sqrt(pull * pull + 4 * curvature * allocated + tiny)
    positive = curvature > 0
    # The pull enters both terms: halved once for the quadratic's linear coefficient.
    return jnp.where(
        positive, (pull + root) / (2 * jnp.where(positive, curvature, 1)), 0
    )


def simplex_update(
    shares: Float[Array, "n k"],
    attraction: Float[Array, "n k"],
    repulsion: Float[Array, "n k"],
) -> Float[Array, "n k"]:
    """Multiplicative step over the simplex, for a gradient ``repulsion - attraction``.

    Both parts are non-negative. What the sum of shares costs is on both sides of the
    ratio, so that fixed points meet the optimality conditions with the sum at 1.
    """
    up = (attraction * shares).sum(1, keepdims=True)
    down = (repulsion * shares).sum(1, keepdims=True)
    tiny = jnp.finfo(shares.dtype).tiny
    moved = shares * (attraction + down) / (repulsion + up + tiny)
    return moved / (moved.sum(1, keepdims=True) + tiny)
