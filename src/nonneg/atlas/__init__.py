"""Atlases: which region of an ontology a location is in."""

from __future__ import annotations

from ._align import align
from ._annotate import annotate
from ._atlas import Atlas
from ._load import load

__all__ = ["Atlas", "align", "annotate", "load"]
