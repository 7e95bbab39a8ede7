"""Random state: whatever the user gave becomes one integer that is recorded."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

type RNGLike = int | np.integer[Any] | np.random.Generator | None


def as_seed(rng: RNGLike) -> int:
    """Integer seed of a fit.

    An integer is its own seed. From a generator, or for `None` from the
    operating system, one is drawn, so that what is stored reproduces the fit.
    """
    if rng is None:
        rng = np.random.default_rng()
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**31))
    try:
        seed = operator.index(rng)
    except TypeError:
        msg = (
            f"rng={rng!r} is of type {type(rng).__name__}; give an integer, a "
            "numpy.random.Generator or None."
        )
        raise TypeError(msg) from None
    if not 0 <= seed < 2**63:
        msg = f"rng={seed} must be at least 0 and below 2**63."
        raise ValueError(msg)
    return seed


def stream(seed: int, *purpose: int | str) -> np.random.Generator:
    """Random numbers of one purpose, which no other purpose of the seed shares.

    ``default_rng([seed, 0])`` is ``default_rng(seed)``: zeros at the end of a seed do not
    count. What is spawned differs, and so do names, which say how long they are.
    """
    key: list[int] = []
    for part in purpose:
        letters = part.encode() if isinstance(part, str) else [part]
        # A number is led by 0, a name by its length.
        key += [isinstance(part, str) and len(letters), *letters]
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
