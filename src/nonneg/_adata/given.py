"""What is recorded of an argument that names something or holds values itself."""

from __future__ import annotations

ARRAY = "array"
"""Stands for values: they belong to the observations of the fit, and to no others."""


def name_or_array(given: object) -> str | None:
    """What to record of it."""
    return given if isinstance(given, str | None) else ARRAY


def was_array(recorded: object) -> bool:
    """Whether values were given, which nobody has any more."""
    return isinstance(recorded, str) and recorded == ARRAY
