"""Hemodynamics removed from a signal that is known as a product, without pixels x frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.signal import butter, sosfilt, sosfilt_zi, sosfiltfilt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Of Butterworth filters; twice that where they run forth and back.
_ORDER = 2


class Product(NamedTuple):
    """A signal U Vᵀ."""

    u: NDArray[np.float32]
    v: NDArray[np.floating[Any]]


def filter_traces(
    v: NDArray[np.float64],
    fs: float,
    *,
    highpass: float | None = None,
    lowpass: float | None = None,
    causal: bool = False,
) -> NDArray[np.float64]:
    """Columns of V without slow or fast fluctuations.

    A low pass from half the frame rate on lets everything through.
    """
    passes: list[tuple[Literal["highpass", "lowpass"], float | None]] = [
        ("highpass", highpass),
        ("lowpass", lowpass),
    ]
    for kind, cut in passes:
        if cut is None or cut >= fs / 2:
            continue
        sos = butter(_ORDER, cut, kind, output="sos", fs=fs)
        if causal:
            # As if the first frame had been there before.
            state = sosfilt_zi(sos)[:, :, None] * v[0]
            v, _ = sosfilt(sos, v, axis=0, zi=state)
        else:
            v = sosfiltfilt(sos, v, axis=0, padlen=min(int(3 * fs / cut), len(v) - 1))
    return v


def in_time(
    v: NDArray[np.float64], late: float, *, causal: bool
) -> NDArray[np.float64]:
    """Columns of V at whole frames, of frames that were taken a part of one later."""
    if late == 0 or len(v) < 2:
        return v
    taken = np.arange(len(v)) + late
    wanted = np.clip(np.arange(len(v)), taken[0], taken[-1])
    if causal:
        # Reaches to the frame that is under way, not further.
        part = (wanted - taken[0]) % 1
        low = np.floor(wanted - taken[0]).astype(int)
        high = np.minimum(low + 1, len(v) - 1)
        return v[low] * (1 - part[:, None]) + v[high] * part[:, None]
    return np.asarray(CubicSpline(taken, v)(wanted))


def coefficients(signal: Product, references: Sequence[Product]) -> NDArray[np.float64]:
    """Least-squares coefficients (n_pixels, n_references) of every pixel.

    Both are mean-free over time. Through R x R products of V only.
    """
    n, k = len(signal.u), len(references)
    left = np.empty((n, k))
    square = np.empty((n, k, k))
    for i, one in enumerate(references):
        left[:, i] = _products(signal, one)
        for j, other in enumerate(references[: i + 1]):
            square[:, i, j] = square[:, j, i] = _products(one, other)
    # Pixels in which a reference does not vary have none.
    power = np.einsum("nii->ni", square)
    dead = power <= 1e-9 * np.median(power, axis=0)
    square += np.eye(k) * (1e-12 * power.mean(axis=0))
    square[dead.any(axis=1)] = np.eye(k)
    found = np.linalg.solve(square, left[:, :, None])[:, :, 0]
    found[dead.any(axis=1)] = 0
    return found


def without(
    signal: Product, references: Sequence[Product], coef: NDArray[np.float64]
) -> Product:
    """The signal less its references, times coefficients (n_pixels, n_references)."""
    parts = [
        -coef[:, i : i + 1].astype(np.float32) * one.u
        for i, one in enumerate(references)
    ]
    u = np.concatenate([signal.u, *parts], axis=1)
    return Product(u, np.concatenate([signal.v, *(one.v for one in references)], 1))


def power(one: Product) -> NDArray[np.float64]:
    """Sum of squares over time of every pixel."""
    return _products(one, one)


def _products(one: Product, other: Product) -> NDArray[np.float64]:
    """Inner product over time of every pixel."""
    between = (one.v.T @ other.v).astype(np.float32)
    return np.einsum("nr,nr->n", one.u @ between, other.u, dtype=np.float64)
