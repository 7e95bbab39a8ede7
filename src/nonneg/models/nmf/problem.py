"""What NMF minimises, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from ..._core.typing import Floats
from ..factor.penalty import Penalty

if TYPE_CHECKING:
    from ...operators.protocol import Matrix, MatrixOperator
    from ...operators.stats import MatrixStats
    from ..loop import Trace


type Solver = Literal["hals", "mu", "anls"]

type Loss = Literal["frobenius", "kullback-leibler"]


class NMFResult(NamedTuple):
    """Factors with unit-norm loadings, sorted by contribution, and the trace."""

    W: Floats
    """Scores (n_obs, rank); carry the scale."""
    H: Floats
    """Loadings (rank, n_vars); rows of unit 2-norm."""
    scale: Floats
    """2-norms of the loadings before they were given unit norm."""
    mass: Floats
    """Contribution of each component: the sum of its part of the product."""
    trace: Trace


@dataclass(frozen=True)
class Problem:
    """What to minimise: a loss and penalties on both factors."""

    op: MatrixOperator
    stats: MatrixStats
    loss: Loss = "frobenius"
    penalties: tuple[Penalty, Penalty] = (Penalty(), Penalty())

    def penalty(self, w: Matrix, h: Matrix) -> float:
        """Both penalties."""
        # Factors leave the device for those that there are.
        return sum(
            penalty.value(np.asarray(factor))
            for penalty, factor in zip(self.penalties, (w, h.T), strict=True)
            if np.any(penalty.l1) or np.any(penalty.l2)
        )
