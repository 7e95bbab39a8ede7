"""Shape checks of kernels, compiled code, and fixtures that all tests share."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

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

# Most of the time goes into compilers. What one process of a run has compiled, others
# read: workers, and those that tests start. They inherit these variables, which JAX
# reads when it is imported.
COMPILED = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


# Workers are as many as cores: threads of BLAS and XLA on top would wait for each other.
ALONE = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC"), "1"
)


def pytest_configure(config):
    shared = ALONE if getattr(config.option, "numprocesses", None) else {}
    for name, value in (COMPILED | shared).items():
        os.environ.setdefault(name, value)
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    folder = TemporaryDirectory(prefix="nonneg-compiled-", ignore_cleanup_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder.name
    config.add_cleanup(folder.cleanup)


@pytest.fixture
def x64():
    """Float64 in JAX."""
    import jax

    with jax.enable_x64(True):
        yield


# Of memory maps that Linux allows a process; every compiled function takes some four.
_MANY_MAPS = 30_000


@pytest.fixture(scope="module", autouse=True)
def few_memory_maps():
    """A process that has compiled too much crashes: between modules, it is forgotten."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > _MANY_MAPS:
        import jax

        jax.clear_caches()


@pytest.fixture
def compiled_as_users_do():
    """With all optimisations, which `make test` leaves out: they change what is rounded."""
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
