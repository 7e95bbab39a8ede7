"""Covariance functions."""

from __future__ import annotations

from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._core.namespace import namespace

type Kernel = Literal["matern32", "matern52", "rbf"]


def kernel_function(kernel: Kernel, r: Any) -> Any:
    """Correlation at a distance given in length scales."""
    xp = namespace(r)
    if kernel == "matern32":
        t = np.sqrt(3) * r
        return (1 + t) * xp.exp(-t)
    if kernel == "matern52":
        t = np.sqrt(5) * r
        return (1 + t + t**2 / 3) * xp.exp(-t)
    return xp.exp(-(r**2) / 2)


def pairwise_distance(
    a: Float[Array, "*batch n d"], b: Float[Array, "*batch m d"]
) -> Float[Array, "*batch n m"]:
    """Euclidean distances."""
    squared = jnp.square(a[..., :, None, :] - b[..., None, :, :]).sum(-1)
    return jnp.sqrt(squared)
