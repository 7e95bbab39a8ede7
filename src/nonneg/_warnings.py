"""Warnings that point at the user's own line."""

from __future__ import annotations

import warnings
from pathlib import Path

_PACKAGE = str(Path(__file__).parent)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn from the first frame outside this package."""
    warnings.warn(message, category, skip_file_prefixes=(_PACKAGE,))  # noqa: TID251
