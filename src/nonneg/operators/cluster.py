"""A dask cluster that is at hand."""

from __future__ import annotations

import sys
from typing import Any


def active_client() -> Any:
    """The :class:`distributed.Client` that dask would use, or None."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return distributed.default_client()
    except ValueError:
        return None
