"""Double precision where single precision is not enough."""

from __future__ import annotations

from typing import Any

import jax


def float64() -> Any:
    """Context in which JAX has float64, whatever its configuration."""
    return jax.enable_x64(new_val=True)
