"""Libraries that not everyone needs."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def import_optional(name: str, extra: str, purpose: str) -> Any:
    """A module of an optional library, or an error that says how to have it."""
    try:
        return import_module(name)
    except ImportError as error:
        msg = (
            f"{purpose} need {name.partition('.')[0]}. Install it with "
            f"`pip install 'nonneg[{extra}]'`."
        )
        raise ImportError(msg) from error
