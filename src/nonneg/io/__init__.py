"""Reading of files."""

from __future__ import annotations

from ._read_agea import read_agea
from ._read_allen_grid import read_allen_grid

__all__ = ["read_agea", "read_allen_grid"]
