"""Rigid motion to a part of a pixel, in the frequency domain.

The shift of a frame is where its cross-correlation with a reference is largest: first among
whole pixels, then by Newton's method on the correlation as a function of the shift, whose
derivatives are exact since it is a sum of waves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.fft import fftfreq, irfft2, next_fast_len, rfft2, rfftfreq
from scipy.ndimage import distance_transform_edt, uniform_filter

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Structures that are larger than so many pixels do not count: their brightness changes
# with blood and activity, and under a window that stays in place it holds frames back.
_SHARP = 9
# Part of the shorter side over which the window falls off.
_TAPER = 0.1
# Pixels at the edges without weight: of frames that were moved they are made up.
_EDGE = 3
# Pixels around the image, over which edges are joined before frames are moved.
_PAD = 8
# Newton's method doubles the digits.
_NEWTON = 4
# The window does not move with the brain, which draws estimates towards zero: they are
# repeated with the frame that was moved, until that is by less than so much.
_ROUNDS, _SETTLED = 4, 0.01


@dataclass(frozen=True)
class Target:
    """A reference, ready to be compared with."""

    window: NDArray[np.float32]
    level: float
    """Mean of the reference."""
    waves: NDArray[np.complex64]
    """Conjugate transform of the reference."""
    norm: float
    max_shift: float

    @classmethod
    def of(
        cls,
        reference: NDArray[np.floating[Any]],
        window: NDArray[np.float32],
        max_shift: float,
    ) -> Target:
        """From an image."""
        sharp = _sharp(reference[None].astype(np.float32), window)
        waves = rfft2(sharp)[0].conj().astype(np.complex64)
        level, norm = float(reference.mean()), float(np.linalg.norm(sharp))
        return cls(window, level, waves, norm, max_shift)

    def shifts(
        self, frames: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """By how much frames (n, h, w) have moved (n, 2), and correlations then (n,)."""
        total, score = self._estimate(frames, search=True)
        left = np.arange(len(frames))
        for _ in range(_ROUNDS - 1):
            moved = self.move(frames[left], -total[left])
            step, score[left] = self._estimate(moved, search=False)
            total[left] += step
            left = left[(np.abs(step) > _SETTLED).any(axis=1)]
            if not left.size:
                break
        return np.clip(total, -self.max_shift, self.max_shift), score

    def move(
        self, frames: NDArray[np.float32], shifts: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Frames (n, h, w), moved by parts of pixels.

        Edges are joined over a margin, so that what leaves on one side does not ring on
        the other.
        """
        shape = frames.shape[1:]
        h, w = (int(next_fast_len(n + 2 * _PAD, real=True)) for n in shape)
        margin = [
            (_PAD, n - side - _PAD) for n, side in zip((h, w), shape, strict=True)
        ]
        padded = np.pad(
            frames, [(0, 0), *margin], mode="linear_ramp", end_values=self.level
        )
        waves = rfft2(padded)
        rows = np.exp(-2j * np.pi * fftfreq(h) * shifts[:, :1])
        columns = np.exp(-2j * np.pi * rfftfreq(w) * shifts[:, 1:])
        waves *= rows.astype(np.complex64)[:, :, None]
        waves *= columns.astype(np.complex64)[:, None]
        moved = irfft2(waves, (h, w))
        inner = tuple(slice(_PAD, _PAD + side) for side in shape)
        return np.asarray(moved[:, *inner], np.float32)

    def _estimate(
        self, frames: NDArray[np.float32], *, search: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        n, h, w = frames.shape
        sharp = _sharp(frames, self.window)
        norm = np.linalg.norm(sharp.reshape(n, -1), axis=1)
        product = rfft2(sharp) * self.waves
        start = self._whole(product, (h, w)) if search else np.zeros((n, 2))
        # Parts of pixels.
        product *= _twice(w)
        shift = start.copy()
        for _ in range(_NEWTON):
            _, gradient, hessian = _derivatives(product, shift, w)
            a, b, c = hessian[:, 0, 0], hessian[:, 0, 1], hessian[:, 1, 1]
            determinant = a * c - b * b
            # Elsewhere than at a maximum, it stays at whole pixels.
            peaked = (determinant > 0) & (a < 0)
            step = np.stack(
                [
                    b * gradient[:, 1] - c * gradient[:, 0],
                    b * gradient[:, 0] - a * gradient[:, 1],
                ],
                axis=1,
            )
            step /= np.where(peaked, determinant, 1)[:, None]
            shift += np.where(peaked[:, None], np.clip(step, -0.5, 0.5), 0)
        gone = (np.abs(shift - start) > 1).any(axis=1)
        shift[gone] = start[gone]
        value, _, _ = _derivatives(product, shift, w)
        # Sums over frequencies are larger than those over pixels.
        return shift, value / np.maximum(h * w * norm * self.norm, 1e-30)

    def _whole(
        self, product: NDArray[np.complex64], shape: tuple[int, int]
    ) -> NDArray[np.float64]:
        """Shifts by whole pixels, of the largest correlations."""
        h, w = shape
        correlation = irfft2(product, shape)
        far = (np.abs(fftfreq(h, 1 / h))[:, None] > self.max_shift) | (
            np.abs(fftfreq(w, 1 / w))[None] > self.max_shift
        )
        correlation[:, far] = -np.inf
        best = correlation.reshape(len(product), -1).argmax(axis=1)
        found = np.stack(np.unravel_index(best, shape), axis=1).astype(np.float64)
        return found - np.where(found > np.array(shape) / 2, shape, 0)


def window_of(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """1 inside, falling to 0 before the edges of the image and of the mask."""
    framed = np.pad(mask, 1)
    depth = distance_transform_edt(framed)[1:-1, 1:-1]
    part = np.clip((depth - _EDGE) / max(_TAPER * min(mask.shape), 1), 0, 1)
    return np.asarray(np.sin(np.pi / 2 * part) ** 2, np.float32)


def refine_reference(
    frames: NDArray[np.float32], window: NDArray[np.float32], max_shift: float
) -> NDArray[np.float32]:
    """Mean of frames that are moved onto their mean."""
    reference = frames.mean(axis=0)
    for _ in range(2):
        target = Target.of(reference, window, max_shift)
        shifts, _ = target.shifts(frames)
        # The middle of the frames stays where it is.
        moved = target.move(frames, np.median(shifts, axis=0) - shifts)
        reference = moved.mean(axis=0)
    return np.asarray(reference)


def outside(shape: tuple[int, int], shifts: NDArray[np.float64]) -> NDArray[np.float32]:
    """Part of the frames (h, w) in which a pixel of the reference was out of sight."""
    index = [
        np.arange(n)[:, None] + shifts[None, :, axis] for axis, n in enumerate(shape)
    ]
    rows, columns = (
        ((place >= -0.5) & (place <= n - 0.5)).astype(np.float32)
        for place, n in zip(index, shape, strict=True)
    )
    return np.asarray(1 - rows @ columns.T / len(shifts), np.float32)


def _sharp(
    frames: NDArray[np.float32], window: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Frames without what is large, inside the window."""
    smooth = uniform_filter(frames, (0, _SHARP, _SHARP), mode="nearest")
    return np.asarray((frames - smooth) * window)


def _twice(w: int) -> NDArray[np.float32]:
    """How often each column of a half spectrum is in the whole one."""
    twice = np.full(w // 2 + 1, 2, np.float32)
    twice[0] = 1
    if w % 2 == 0:
        twice[-1] = 1
    return twice


def _derivatives(
    product: NDArray[np.complex64], shift: NDArray[np.float64], width: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Correlation (n,) at shifts, gradient (n, 2) and Hessian (n, 2, 2)."""
    sides = []
    for axis, frequency in enumerate((fftfreq(product.shape[1]), rfftfreq(width))):
        turn = 2j * np.pi * frequency
        wave = np.exp(turn * shift[:, axis : axis + 1])
        # The wave and its first two derivatives.
        sides.append(np.stack([wave, turn * wave, turn**2 * wave], axis=2))
    rows, columns = (side.astype(np.complex64) for side in sides)
    # (n, 3, 3): derivatives by rows, and by columns.
    value = (rows.swapaxes(1, 2) @ (product @ columns)).real.astype(np.float64)
    gradient = np.stack([value[:, 1, 0], value[:, 0, 1]], axis=1)
    mixed = value[:, 1, 1]
    hessian = np.stack(
        [
            np.stack([value[:, 2, 0], mixed], axis=1),
            np.stack([mixed, value[:, 0, 2]], axis=1),
        ],
        axis=1,
    )
    return value[:, 0, 0], gradient, hessian
