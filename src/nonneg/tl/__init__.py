"""Tools: factorizations and what follows from them."""

from __future__ import annotations

from ._nmf import nmf
from ._project import project
from ._seminmf import seminmf

__all__ = ["nmf", "project", "seminmf"]
