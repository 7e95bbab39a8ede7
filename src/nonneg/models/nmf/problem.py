"""What NMF minimises, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..._core.typing import Floats
from ..factor.penalty import Penalty

if TYPE_CHECKING:
    from ...operators.protocol import MatrixOperator
    from ...operators.stats import MatrixStats
    from ..loop import Trace


type SolverName = Literal["hals", "mu", "anls"]

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


class NMFState(NamedTuple):
    """A fit in progress."""

    W: Any
    """(n_obs, rank); on the host where the data are streamed, and updated in place unless
    steps are extrapolated."""
    H: Any
    """(rank, n_vars)"""
    n_iter: Any
    objective: Any
    """The last one that was computed."""
    residual: Any
    """Measure of optimality that goes to zero; infinite where it is not computed."""
    first: Any
    """First objective."""
    checks: Any
    """(2,): objectives when the fall was judged last, and the time before."""
    alive: Any
    """(rank,): components of which neither side is all zero."""
    reseeds: Any
    """(rank,): how often each component was pointed somewhere else."""
