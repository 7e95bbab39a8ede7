"""One code for arrays on the host and on a device."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def namespace(x: Any) -> Any:
    """NumPy for arrays on the host, JAX for those on a device."""
    return np if isinstance(x, np.ndarray | np.generic) else jnp


def set_rows(x: Any, index: Any, values: Any) -> Any:
    """A copy with other values in some rows."""
    if namespace(x) is jnp:
        return x.at[index].set(values)
    x = np.array(x)
    x[index] = values
    return x


def select[T](condition: Any, ours: T, theirs: T) -> T:
    """One of two trees of arrays, without a branch."""

    def pick(a: Any, b: Any) -> Any:
        return namespace(a).where(condition, a, b)

    return jax.tree.map(pick, ours, theirs)
