"""Shape checks of kernels, and fixtures that all tests share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

KERNELS = Path(__file__).parents[1] / "src" / "nonneg" / "kernels"
# Kernels whose annotations are jaxtyping's: beartype checks them in tests only.
# test_shapes.py makes sure of it.
CHECKED = [
    f"nonneg.kernels.{path.stem}"
    for path in sorted(KERNELS.glob("*.py"))
    if "from jaxtyping import" in path.read_text()
]
if not any(name in sys.modules for name in CHECKED):
    install_import_hook(CHECKED, "beartype.beartype")


@pytest.fixture
def x64():
    """Float64 in JAX."""
    import jax

    with jax.enable_x64(True):
        yield
