"""Stretches of time that are held out in turn."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Fold:
    """A contiguous block of frames, and what is left out around it."""

    start: int
    stop: int
    first: int
    """Beginning of the frames that are not trained on: the block and gaps beside it."""
    last: int

    def train(self, n: int) -> NDArray[np.bool_]:
        """(n,): frames to train on."""
        inside = np.ones(n, bool)
        inside[self.first : self.last] = False
        return inside


def contiguous_folds(n: int, n_folds: int, gap: int) -> list[Fold]:
    """Blocks of about equal length, with a gap of frames on either side.

    Frames beside a block are nearly those in it: trained on, they would give away the
    answer.
    """
    edges = np.linspace(0, n, n_folds + 1).astype(int).tolist()
    return [Fold(a, b, max(0, a - gap), min(n, b + gap)) for a, b in pairwise(edges)]
