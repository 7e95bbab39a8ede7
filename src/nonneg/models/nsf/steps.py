"""How far a step may go: what is exact along a line costs no factorization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..._core.namespace import namespace

if TYPE_CHECKING:
    from .likelihood import Local


# Halvings, on the log scale, of where the best step may be.
_N_HALVINGS = 3

# Parts of the way to other precisions that are tried.
_PARTS = (1.0, 0.5, 0.25, 0.125)


def line_search(
    local: Local, move: Any, gain: Any, prior: Any, *, together: bool
) -> Any:
    """How much of a move of the means to make, at most all of it.

    Along the move the bound is concave; the part that is found is at or before its
    maximum. ``gain`` is the derivative at the start, and ``prior`` minus what the prior
    adds to the second one. ``together``: all of a factor moves by the same part; where
    observations have nothing to do with each other, each has its own.
    """
    xp = namespace(move)
    p, tiny = local.power, np.finfo(np.float32).tiny

    def total(x: Any) -> Any:
        return x.sum(0) if together else x

    def derivative(part: Any) -> Any:
        return gain - part * prior + total((local.slope(part * move) - force) * move)

    force = local.force
    # As long as p x <= 1, exp(p x) - 1 <= 1.72 p x: there the derivative is positive.
    curvature = prior + 1.72 * p * total((local.rate + local.excess) * move**2)
    rise = xp.maximum(move.max(0) if together else move, 0)
    low = xp.minimum(1 / xp.maximum(p * rise, tiny), gain / xp.maximum(curvature, tiny))
    low = xp.clip(low, 0, 1)
    part, high = xp.ones_like(low), xp.ones_like(low)
    for _ in range(1 + _N_HALVINGS):
        rising = derivative(part) >= 0
        low, high = xp.where(rising, part, low), xp.where(rising, high, part)
        if xp is np and (low == high).all():
            break
        part = xp.where(low < high, xp.sqrt(low * high), low)
    return low


def settle(local: Local, move: Any, var: Any, precision: Any, rest: Any) -> Any:
    """How much of the way to the precisions that sites should have to go.

    They should have what is stationary at the variances that follow. Of each site alone,
    whose factor has moved: with variances ``var`` that are due to ``precision`` and, all
    else, ``rest``, the bound is concave along the way, and the part that is found is at
    or before its maximum.
    """
    xp = namespace(var)
    way = local.precision(move) - precision
    found = xp.zeros_like(way)
    for part in _PARTS:
        there = precision + part * way
        change = 1 / (rest + there) - var
        before = (local.precision(move, change) - there) * way >= 0
        found = xp.where(before & (found == 0), part, found)
        if xp is np and found.all():
            break
    return found
