"""Figures that change, as files."""

from __future__ import annotations

import subprocess
import tempfile
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

from .._adata.files import replacing, writing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from os import PathLike

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

# A palette for each frame of a GIF, so that none has to wait for the others.
_PALETTES = "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1"
_OPTIONS = {
    ".mp4": ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "18"],
    ".gif": ["-filter_complex", f"{_PALETTES}:dither=none", "-loop", "0"],
}
"""Of ffmpeg, by what a name ends in."""


def check_film(path: str | PathLike[str]) -> None:
    """Refuse files that cannot be written, before anything is drawn."""
    file = Path(path)
    if file.suffix.lower() not in _OPTIONS:
        msg = f"path={str(path)!r} must end in one of {', '.join(_OPTIONS)}."
        raise ValueError(msg)
    if not file.absolute().parent.is_dir():
        msg = f"There is no folder {file.absolute().parent}. Make it first."
        raise ValueError(msg)
    if file.suffix.lower() == ".mp4" and not _has_ffmpeg():
        msg = (
            "Files of kind .mp4 need imageio_ffmpeg. Install it with "
            "`pip install 'nonneg[widefield]'`, or write a .gif."
        )
        raise ImportError(msg)


def write_film(
    path: str | PathLike[str],
    figure: Figure,
    show: Callable[[int], Any],
    n_frames: int,
    fps: float,
) -> None:
    """Draw every frame, and hand it on before the next one is drawn."""
    canvas = FigureCanvasAgg(figure)

    def drawn() -> Iterator[NDArray[np.uint8]]:
        for i in range(n_frames):
            show(i)
            canvas.draw()
            image = np.asarray(canvas.buffer_rgba())[..., :3]
            # Codecs want even numbers of pixels.
            even = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
            yield np.ascontiguousarray(even)

    # A file that is cut off must not stand under the name of a whole one.
    with (
        writing(f"path={str(path)!r}", "Nothing of it is left."),
        replacing(Path(path)) as unfinished,
    ):
        if _has_ffmpeg():
            _through_ffmpeg(unfinished, drawn(), fps)
        else:
            _through_pillow(unfinished, drawn(), fps)


def _has_ffmpeg() -> bool:
    return find_spec("imageio_ffmpeg") is not None


def _through_ffmpeg(
    file: Path, frames: Iterator[NDArray[np.uint8]], fps: float
) -> None:
    from imageio_ffmpeg import get_ffmpeg_exe

    first = next(frames)
    size = f"{first.shape[1]}x{first.shape[0]}"
    given = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", f"{fps:.6f}"]
    made = _OPTIONS[file.suffix.lower()]
    command = [get_ffmpeg_exe(), "-y", "-loglevel", "error", *given, "-i", "-", *made]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [*command, str(file)], stdin=subprocess.PIPE, stderr=said
        )
        assert process.stdin is not None
        try:
            for frame in chain([first], frames):
                process.stdin.write(frame.tobytes())
            process.stdin.close()
        except BrokenPipeError:
            # It has ended, and says why.
            pass
        except BaseException:
            process.kill()
            raise
        finally:
            failed = process.wait()
        if failed:
            said.seek(0)
            reason = said.read().decode(errors="replace").strip()
            msg = f"{file} cannot be written: {reason.rpartition(chr(10))[2]}"
            raise ValueError(msg)


def _through_pillow(
    file: Path, frames: Iterator[NDArray[np.uint8]], fps: float
) -> None:
    """Without ffmpeg: kept by Pillow as images of one byte per pixel until the end."""
    from PIL import Image

    images = (Image.fromarray(frame).quantize() for frame in frames)
    next(images).save(
        file, save_all=True, append_images=images, duration=1000 / fps, loop=0
    )
