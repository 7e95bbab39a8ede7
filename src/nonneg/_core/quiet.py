"""Fits that are part of something larger, of which nobody wants to be told one by one."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    type Told = list[tuple[str, type[Warning]]]


_told: ContextVar[Told | None] = ContextVar("told", default=None)


@contextmanager
def quietly() -> Iterator[Told]:
    """Draw no progress bars, and collect what our functions warn of.

    For this thread alone: neither the settings nor the filters of warnings change, and
    what other packages warn of is shown.
    """
    messages: Told = []
    token = _told.set(messages)
    try:
        yield messages
    finally:
        _told.reset(token)


def collected() -> Told | None:
    """Where warnings are collected; None where they are shown."""
    return _told.get()
