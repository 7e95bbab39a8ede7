"""Reading of files."""

from __future__ import annotations

from ._from_svd import from_svd
from ._read_agea import read_agea
from ._read_allen_grid import read_allen_grid
from ._read_compressed import read_cortexlab, read_wfield
from ._read_video import read_video

__all__ = [
    "from_svd",
    "read_agea",
    "read_allen_grid",
    "read_cortexlab",
    "read_video",
    "read_wfield",
]
