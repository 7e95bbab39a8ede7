"""The device that computes, and threads on the host."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

import jax
import numpy as np
import scipy.linalg  # noqa: F401 - it brings the second library of BLAS
from threadpoolctl import ThreadpoolController

from .._core.settings import settings
from .device import selected_devices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray


_single_thread = ExitStack()

_n_computing = 0

_lock = Lock()


@contextmanager
def computing() -> Iterator[None]:
    """Run JAX on the device of the settings, and BLAS on one thread.

    OpenBLAS's threads spin for milliseconds after every call and take the cores
    away from the products, which are ours or XLA's. Products keep full single
    precision also where a GPU would round their inputs.
    """
    global _n_computing  # noqa: PLW0603
    with ExitStack() as stack:
        if settings.device is not None:
            stack.enter_context(jax.default_device(selected_devices()[0]))
        stack.enter_context(jax.default_matmul_precision("highest"))
        # The limit is the process's: the first fit sets it, the last one lifts it.
        with _lock:
            if _n_computing == 0:
                _single_thread.enter_context(
                    _libraries().limit(limits=1, user_api="blas")
                )
            _n_computing += 1
        try:
            yield
        finally:
            with _lock:
                _n_computing -= 1
                if _n_computing == 0:
                    _single_thread.close()


@cache
def _libraries() -> ThreadpoolController:
    """Those of NumPy and SciPy: a look through all that are loaded takes milliseconds."""
    return ThreadpoolController()


def available_cpus() -> int:
    """CPUs that the process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _pool(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, thread_name_prefix="nonneg")


# A forked child inherits the pool but not its threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


def run_parts[T](
    part: Callable[[int, int, int], T], bounds: NDArray[np.int64]
) -> list[T]:
    """``part(i, start, stop)`` for every part, in threads."""
    n_parts = bounds.size - 1
    jobs = [(i, int(bounds[i]), int(bounds[i + 1])) for i in range(n_parts)]
    if n_parts == 1:
        return [part(*jobs[0])]
    # The first one here: it need not wake a thread.
    others = [_pool(n_parts).submit(part, *job) for job in jobs[1:]]
    return [part(*jobs[0]), *(other.result() for other in others)]
