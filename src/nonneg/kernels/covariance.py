"""Covariance functions."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

type Kernel = Literal["matern32", "matern52", "rbf"]


def kernel_function(kernel: Kernel, r: jax.Array) -> jax.Array:
    """Correlation at a distance given in length scales."""
    if kernel == "matern32":
        t = np.sqrt(3) * r
        return (1 + t) * jnp.exp(-t)
    if kernel == "matern52":
        t = np.sqrt(5) * r
        return (1 + t + t**2 / 3) * jnp.exp(-t)
    return jnp.exp(-(r**2) / 2)


def pairwise_distance(
    a: Float[Array, "*batch n d"], b: Float[Array, "*batch m d"]
) -> Float[Array, "*batch n m"]:
    """Euclidean distances."""
    squared = jnp.square(a[..., :, None, :] - b[..., None, :, :]).sum(-1)
    return jnp.sqrt(squared)
