"""How long time courses remember."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

if TYPE_CHECKING:
    from numpy.typing import NDArray


def correlation_time(x: NDArray[np.float64]) -> int:
    """Frames after which the autocorrelation has fallen to 1/e; median of the columns."""
    n = len(x)
    size = next_fast_len(2 * n, real=True)
    times = []
    for column in (x - x.mean(axis=0)).T:
        power = np.abs(rfft(column, size)) ** 2
        correlation = irfft(power, size)[:n]
        if correlation[0] > 0:
            below = correlation < correlation[0] / np.e
            times.append(int(below.argmax()) if below.any() else n)
    return max(1, round(float(np.median(times)))) if times else 1
