"""Memory that was freed, and is not given back."""

from __future__ import annotations

import ctypes
from functools import cache
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Seconds between calls: giving back and taking again what is needed for the next block costs
# a twentieth of the time of a fit if it is done for each.
_INTERVAL = 0.2

_last = 0.0


def give_back(*, now: bool = False) -> None:
    """Give freed memory back to the system, from time to time, or ``now``.

    The C library of Linux keeps a heap for every thread, with what was freed in it: of a
    matrix that is read block by block, these add up to several times what is in use.
    Other systems give it back by themselves.
    """
    global _last  # noqa: PLW0603
    trim = _trim()
    if trim is not None and (now or monotonic() - _last > _INTERVAL):
        trim(0)
        _last = monotonic()


@cache
def _trim() -> Callable[[int], int] | None:
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    return found
