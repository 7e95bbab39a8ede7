"""Clocks of two computers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .._adata.checks import as_numbers
from .._core.arguments import checked
from .._core.validators import check_at_least

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# Times a fit with the wrong pulses must be as bad for the right ones to be known.
_AMBIGUOUS = 3.0


class Clock(NamedTuple):
    """An affine map from the times of one clock to those of another."""

    scale: float
    """Seconds of the other clock per second of this one."""
    offset: float
    """Time of the other clock when this one is at 0."""
    residuals: NDArray[np.float64]
    """(n_pulses,): seconds by which mapped pulses are late."""
    n_unmatched: int
    """Pulses that one of the clocks has and the other lacks."""

    def __call__(self, times: ArrayLike) -> NDArray[np.float64]:
        """Times of this clock, as the other one has them."""
        return self.scale * as_numbers(times, "times") + self.offset


@checked
def align_clocks(
    pulses: ArrayLike, reference: ArrayLike, *, tolerance: float = 0.005
) -> Clock:
    """Map the times of one computer to those of another, by pulses that both recorded.

    Clocks differ in when they started and in how fast they run: 20 parts per million,
    as is usual for quartz, are 72 ms in an hour. Both are found by least squares.
    Where one of them recorded more pulses, because it started earlier or ended later,
    the stretch that fits is looked for, which needs pulses at irregular intervals.

    Parameters
    ----------
    pulses
        Times of pulses by the clock that is to be mapped, in seconds, ascending.
    reference
        Times of the same pulses by the other clock, e.g. that of the frames.
    tolerance
        In seconds: largest difference that may remain after mapping. Beyond it, clocks
        drift in another way than by a constant rate, or pulses are missing.

    Returns
    -------
    :class:`~nonneg.io.Clock`: call it with times of the first clock to have those of the
    other. `scale`, `offset`, `residuals`, `n_unmatched`.

    Raises
    ------
    ValueError
        If there are fewer than two pulses, times are not finite and ascending, clocks do
        not fit within the tolerance, or it cannot be told which pulses are the same.

    See Also
    --------
    nonneg.io.ttl_onsets : times of pulses
    nonneg.pp.align_events, nonneg.pp.align_behavior : take a clock

    Examples
    --------
    >>> import nonneg as nng
    >>> clock = nng.io.align_clocks([0.0, 1.0, 3.0], [10.0, 11.1, 13.3])
    >>> clock([2.0]).round(3).tolist()
    [12.2]
    """
    check_at_least(tolerance, 0, "tolerance")
    a, b = _read(pulses, "pulses"), _read(reference, "reference")
    n = min(a.size, b.size)
    if n < 2:
        msg = f"There must be two pulses on either side, but there are {a.size} and {b.size}."
        raise ValueError(msg)
    fits = [
        _fit(a[i : i + n], b[j : j + n], abs(a.size - b.size))
        for i in range(a.size - n + 1)
        for j in range(b.size - n + 1)
    ]
    worst = np.array([np.abs(fit.residuals).max() for fit in fits])
    order = np.argsort(worst, kind="stable")
    best = fits[int(order[0])]
    if worst[order[0]] > tolerance:
        late = int(np.abs(best.residuals).argmax())
        msg = (
            f"The clocks do not fit: of {n} pulses, the one at {late} is off by "
            f"{worst[order[0]]:.4g} s after mapping (root mean square "
            f"{np.sqrt(np.mean(best.residuals**2)):.4g} s), with tolerance={tolerance:g}. "
            "A pulse is missing on one side, or a clock does not run at a constant rate: "
            "align stretches of the session one by one."
        )
        raise ValueError(msg)
    if order.size > 1 and worst[order[1]] <= max(
        tolerance, _AMBIGUOUS * worst[order[0]]
    ):
        msg = (
            f"There are {a.size} pulses on one side and {b.size} on the other, and "
            "several stretches fit: pulses are too regular to tell. Remove those that "
            "only one side has."
        )
        raise ValueError(msg)
    return best


def _read(times: ArrayLike, name: str) -> NDArray[np.float64]:
    values = as_numbers(times, name).ravel()
    if not np.isfinite(values).all() or (np.diff(values) <= 0).any():
        msg = f"{name} must be finite and in ascending order."
        raise ValueError(msg)
    return values


def _fit(a: NDArray[np.float64], b: NDArray[np.float64], n_unmatched: int) -> Clock:
    x, y = a - a.mean(), b - b.mean()
    scale = float(x @ y / (x @ x))
    return Clock(scale, float(b.mean() - scale * a.mean()), scale * x - y, n_unmatched)
