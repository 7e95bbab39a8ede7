"""The time that fits take, without that of compilers."""

from __future__ import annotations

import threading
from collections import deque
from time import perf_counter

from jax import monitoring

# Parts that may still turn out to be inside another.
_KEPT = 1_000


class _Compiled(threading.local):
    """What a thread has spent on compiling: parts may hold parts that ended before."""

    def __init__(self) -> None:
        self.parts: deque[tuple[float, float]] = deque(maxlen=_KEPT)
        """Start and length of each that is in no other; the last ones."""
        self.seconds = 0.0


_compiled = _Compiled()


def _listen(event: str, duration_secs: float, **_: str | int) -> None:
    if not event.startswith("/jax/core/compile/"):
        return
    start, parts = perf_counter() - duration_secs, _compiled.parts
    # The middle of a part is inside, or before: both clocks may differ at its ends.
    while parts and parts[-1][0] + parts[-1][1] / 2 >= start:
        _compiled.seconds -= parts.pop()[1]
    parts.append((start, duration_secs))
    _compiled.seconds += duration_secs


monitoring.register_event_duration_secs_listener(_listen)


def clock() -> float:
    """Seconds since some moment; stands still while JAX compiles in this thread.

    Compiling takes seconds, and a second fit of the same shape does not do it again: with
    it, the first of two curves says little of the method.
    """
    return perf_counter() - _compiled.seconds
