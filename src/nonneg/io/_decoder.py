"""Compressed videos, decoded in order."""

from __future__ import annotations

import os
import subprocess
import tempfile
import weakref
from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

# Blocks that are kept after they were decoded: other channels are in the same frames, and
# threads ask for the next blocks a little out of order.
_BLOCKS_KEPT = 4


class Decoder:
    """Frames of a video, of which ffmpeg decodes one after the other.

    It goes on where it was, so that a pass over the video decodes each frame once. What
    lies further back than a few blocks is decoded from the start again: seeking by time
    is a frame off in some formats, which would exchange channels.
    """

    def __init__(
        self, path: Path, shape: tuple[int, int], dtype: np.dtype[Any]
    ) -> None:
        self.path, self.shape, self.dtype = path, shape, np.dtype(dtype)
        self._lock = Lock()
        self._running: _Running | None = None
        self._kept: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self._largest = 0

    def __reduce__(self) -> Any:
        # In another process, it starts anew.
        return Decoder, (self.path, self.shape, self.dtype)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Some frames (n, h, w)."""
        with self._lock:
            self._largest = max(self._largest, stop - start)
            out = np.empty((stop - start, *self.shape), self.dtype)
            for frame in range(start, stop):
                out[frame - start] = self._frame(frame)
            return out

    def _frame(self, frame: int) -> NDArray[Any]:
        if frame not in self._kept:
            running = self._running
            if running is None or running.next > frame or running.pid != os.getpid():
                self.close()
                self._running = running = _Running(self.path, self.shape, self.dtype)
            while running.next <= frame:
                at = running.next
                self._kept[at] = running.read()
                if len(self._kept) > _BLOCKS_KEPT * self._largest:
                    self._kept.popitem(last=False)
        return self._kept[frame]

    def close(self) -> None:
        """End what is running; it starts again when it is asked for frames."""
        self._kept.clear()
        if self._running is not None:
            self._running.end()
            self._running = None


class _Running:
    """A process that decodes a video from the start on."""

    def __init__(
        self, path: Path, shape: tuple[int, int], dtype: np.dtype[Any]
    ) -> None:
        kind = "gray" if dtype == np.uint8 else "gray16le"
        form = ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", kind, "-"]
        self.next, self.pid = 0, os.getpid()
        self._shape, self._dtype = shape, dtype
        # Open as long as the process runs.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [*_ffmpeg(), "-loglevel", "error", "-i", str(path), *form],
            stdout=subprocess.PIPE,
            stderr=self._said,
        )
        self.end = weakref.finalize(self, _end, self._process, self._said, self.pid)

    def read(self) -> NDArray[Any]:
        """The next frame."""
        assert self._process.stdout is not None
        n_bytes = int(np.prod(self._shape)) * self._dtype.itemsize
        found = self._process.stdout.read(n_bytes)
        if len(found) < n_bytes:
            self._process.wait()
            self._said.seek(0)
            said = self._said.read().decode(errors="replace").strip()
            self.end()
            msg = f"the video ends before frame {self.next}"
            raise ValueError(f"{msg} ({said.splitlines()[-1]})" if said else msg)
        self.next += 1
        frame = np.frombuffer(found, self._dtype.newbyteorder("<"))
        return frame.astype(self._dtype, copy=False).reshape(self._shape)


def _end(process: subprocess.Popen[bytes], said: Any, pid: int) -> None:
    if pid != os.getpid():
        # Of the process that this one was forked from.
        return
    process.kill()
    if process.stdout is not None:
        process.stdout.close()
    process.wait()
    said.close()


def run_ffmpeg(*arguments: Any) -> tuple[bytes, str]:
    """What ffmpeg writes, and what it says."""
    command = [*_ffmpeg(), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=False)
    said = done.stderr.decode(errors="replace")
    if done.returncode:
        raise ValueError(said.strip().rpartition("\n")[2])
    return done.stdout, said


def _ffmpeg() -> list[str]:
    from imageio_ffmpeg import get_ffmpeg_exe

    return [get_ffmpeg_exe(), "-nostdin"]
