"""A simulated recording of two channels, block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import fourier_shift, gaussian_filter
from scipy.signal import lfilter

from .._core.random import stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

CHANNELS = ("blue", "violet")

# Counts of the brain at rest, a count per photoelectron: full wells of usual cameras hold
# some 30,000. The channels differ in light.
_LIGHT = (12_000, 8_000)
# Counts beside the brain.
_DARK = 400
# Pixels around the image that motion brings into sight.
_MARGIN = 8
# Frames that are made together.
BLOCK = 64
# Vasomotion below 0.4 Hz, breathing and heart beat: frequency in Hz, its spread, and
# standard deviation as part of the light.
_RHYTHMS = ((0.1, 0.15, 0.03), (2.2, 0.2, 0.004), (6.0, 0.3, 0.004))


@dataclass(frozen=True)
class Movie:
    """What is needed to make any block of frames.

    Maps are of the canvas: the image and a margin around it.
    """

    shape: tuple[int, int]
    canvas: tuple[int, int]
    baseline: NDArray[np.float32]
    """(n_channels, n_canvas): counts at rest."""
    footprints: NDArray[np.float32]
    """(n_canvas, n_sources)"""
    traces: NDArray[np.float32]
    """(n_frames, n_sources)"""
    hemo_maps: NDArray[np.float32]
    """(n_canvas, 3)"""
    hemo: NDArray[np.float32]
    """(n_channels, n_frames, 3): at the times at which each channel is lit."""
    hemo_coef: NDArray[np.float32]
    """(n_canvas,): of the first channel, relative to the second."""
    shifts: NDArray[np.float64]
    """(n_frames, 2): rows and columns that the brain has moved by, in pixels."""
    noise: float
    seed: int

    @property
    def n_frames(self) -> int:
        """Number of frames of each channel."""
        return self.traces.shape[0]

    def crop(self, maps: NDArray[Any]) -> NDArray[Any]:
        """What is in sight of maps (n_canvas, ...), as (n_pixels, ...)."""
        image = maps.reshape(*self.canvas, *maps.shape[1:])
        h, w = self.shape
        seen = image[_MARGIN : _MARGIN + h, _MARGIN : _MARGIN + w]
        return seen.reshape(h * w, *maps.shape[1:])

    def frames(self, number: int) -> NDArray[np.uint16]:
        """Block of frames (n_channels, n, h, w)."""
        part = slice(number * BLOCK, min((number + 1) * BLOCK, self.n_frames))
        rng = stream(self.seed, "noise", number)
        neural = self.traces[part] @ self.footprints.T
        h, w = self.shape
        n = neural.shape[0]
        out = np.empty((len(CHANNELS), n, h, w), np.uint16)
        for i in range(len(CHANNELS)):
            change = self.hemo[i, part] @ self.hemo_maps.T
            if i == 0:
                change = change * self.hemo_coef + neural
            counts = (self.baseline[i] * (1 + change)).reshape(n, *self.canvas)
            counts = self._moved(counts, self.shifts[part])
            counts = counts[:, _MARGIN : _MARGIN + h, _MARGIN : _MARGIN + w]
            if self.noise > 0:
                # Poisson, of so many counts that it is normal.
                spread = np.sqrt(np.maximum(counts, 0)) * self.noise
                counts = counts + spread * rng.standard_normal(counts.shape, np.float32)
            out[i] = np.rint(np.clip(counts, 0, np.iinfo(np.uint16).max))
        return out

    def blocks(self) -> Iterator[NDArray[np.uint16]]:
        """All blocks in turn."""
        for number in range(-(-self.n_frames // BLOCK)):
            yield self.frames(number)

    def _moved(
        self, frames: NDArray[np.float32], shifts: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        if not shifts.any():
            return frames
        waves = rfft2(frames)
        for wave, shift in zip(waves, shifts, strict=True):
            fourier_shift(wave, shift, n=self.canvas[1], output=wave)
        return np.asarray(irfft2(waves, self.canvas), np.float32)


def canvas_of(shape: tuple[int, int]) -> tuple[int, int]:
    """The image with its margin, of lengths that Fourier transforms like."""
    h, w = (int(next_fast_len(n + 2 * _MARGIN, real=True)) for n in shape)
    return h, w


def on_canvas(image: NDArray[Any]) -> NDArray[Any]:
    """An image with zeros around it."""
    h, w = canvas_of((image.shape[0], image.shape[1]))
    out = np.zeros((h, w), image.dtype)
    out[_MARGIN : _MARGIN + image.shape[0], _MARGIN : _MARGIN + image.shape[1]] = image
    return out


def baseline(brain: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float32]:
    """Counts at rest (n_channels, n_canvas): uneven light and vessels."""
    inside = gaussian_filter(brain.astype(np.float64), 1.5)
    light = 1 + 0.2 * _smooth(brain.shape, min(brain.shape) / 4, rng)
    # Vessels are dark lines: where smooth noise changes its sign.
    vessels = np.zeros(brain.shape)
    for width in (3.0, 6.0):
        noise = _smooth(brain.shape, width, rng)
        vessels = np.maximum(vessels, np.exp(-((noise / 0.15) ** 2) / 2))
    image = inside * np.maximum(light, 0.3) * (1 - 0.45 * vessels)
    # No image is sharper than its optics.
    image = gaussian_filter(image, 1.0)
    return np.stack(
        [(_DARK + (full - _DARK) * image).ravel() for full in _LIGHT]
    ).astype(np.float32)


def hemodynamics(
    brain: NDArray[np.bool_],
    n_frames: int,
    fs: float,
    strength: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Maps (n_canvas, 3), courses (n_channels, n_frames, 3), coefficients (n_canvas,)."""
    shape = brain.shape
    maps = np.stack(
        [
            np.clip(1 + 0.35 * _smooth(shape, width, rng), 0.1, None).ravel()
            for width in (8.0, 5.0, 3.0)
        ],
        axis=1,
    )
    # The channels are lit in turn.
    n_times = len(CHANNELS) * n_frames
    frequency = np.fft.rfftfreq(n_times, 1 / (len(CHANNELS) * fs))
    courses = np.empty((n_times, len(_RHYTHMS)))
    for i, (centre, spread, size) in enumerate(_RHYTHMS):
        gain = np.exp(-(((frequency - centre) / spread) ** 2) / 2)
        gain[0] = 0
        course = np.fft.irfft(np.fft.rfft(rng.standard_normal(n_times)) * gain, n_times)
        # Faster ones than every second frame of a channel are not there to be seen.
        deviation = course.std() if centre < fs else 0.0
        courses[:, i] = course * (strength * size / deviation) if deviation else 0.0
    hemo = np.stack([courses[i :: len(CHANNELS)] for i in range(len(CHANNELS))])
    coef = np.clip(1 + 0.2 * _smooth(shape, 8.0, rng), 0.4, 1.6).ravel()
    return maps.astype(np.float32), hemo.astype(np.float32), coef.astype(np.float32)


def motion(n_frames: int, size: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Shifts (n_frames, 2) of standard deviation ``size``: slow, and of some frames."""
    slow = lfilter([1.0], [1.0, -0.97], rng.standard_normal((n_frames, 2)), axis=0)
    slow *= np.sqrt(1 - 0.97**2)
    fast = rng.standard_normal((n_frames, 2)) * (rng.random((n_frames, 1)) < 0.05)
    limit = _MARGIN - 1.0
    return np.clip(size * (slow + fast), -limit, limit)


def _smooth(
    shape: tuple[int, ...], width: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Smooth noise of unit variance."""
    noise = gaussian_filter(rng.standard_normal(shape), width, mode="wrap")
    return np.asarray((noise - noise.mean()) / noise.std())
