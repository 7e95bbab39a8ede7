"""Reading of files."""

from __future__ import annotations

from ._align_clocks import Clock, align_clocks
from ._from_svd import from_svd
from ._read_agea import read_agea
from ._read_allen_grid import read_allen_grid
from ._read_compressed import read_cortexlab, read_wfield
from ._read_events import read_events
from ._read_pose import read_pose
from ._read_video import read_video
from ._ttl_onsets import ttl_onsets

__all__ = [
    "Clock",
    "align_clocks",
    "from_svd",
    "read_agea",
    "read_allen_grid",
    "read_cortexlab",
    "read_events",
    "read_pose",
    "read_video",
    "read_wfield",
    "ttl_onsets",
]
