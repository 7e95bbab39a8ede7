"""How much memory a piece of work takes at its peak."""

from __future__ import annotations

import resource
import threading
import time
from pathlib import Path
from typing import Self

_STATM = Path("/proc/self/statm")
# Seconds between looks.
_OFTEN = 0.002


def _resident() -> int:
    return int(_STATM.read_text().split()[1]) * resource.getpagesize()


class PeakGrowth:
    """Bytes by which resident memory rises at most, within a ``with`` block; Linux only."""

    def __enter__(self) -> Self:
        self._start = self._highest = _resident()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._done.is_set():
            self._highest = max(self._highest, _resident())
            time.sleep(_OFTEN)

    @property
    def bytes(self) -> int:
        """Until now."""
        return self._highest - self._start
