"""The package's logger."""

from __future__ import annotations

import logging

logger = logging.getLogger("nonneg")


def set_level(verbosity: str) -> None:
    """Log messages of at least this level."""
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.propagate = False
    logger.setLevel(verbosity.upper())
