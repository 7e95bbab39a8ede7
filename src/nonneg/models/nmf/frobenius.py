"""Least squares: HALS, multiplicative updates, ANLS and semi-NMF."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ..factor.alternate import alternate
from ..factor.normalise import normalise
from ..factor.penalty import Penalty
from ..factor.revive import revive
from ..loop import Report
from .problem import NMFState
from .progress import begin, fell_little, judge

if TYPE_CHECKING:
    from ..._core.typing import Floats
    from ...operators.protocol import MatrixOperator
    from ..factor.alternate import Rule
    from ..factor.momentum import Momentum


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["op", "sq_norm", "row_sums", "penalties", "tol", "max_iter"],
    meta_fields=["rules", "revives"],
)
@dataclass(frozen=True)
class FrobeniusSolver:
    """Minimise ``1/2 ‖X - W H‖²`` and penalties, one factor after the other.

    Multiplicative updates are finished when the objective falls by at most ``tol`` times
    its first value in ten steps, other rules when the sum of absolute projected
    gradients is at most ``tol`` times that of the products with the data.
    """

    op: MatrixOperator
    sq_norm: Any
    row_sums: Any
    rules: tuple[Rule, Rule] = ("hals", "hals")
    """How W and H are updated."""
    penalties: tuple[Penalty, Penalty] = (Penalty(), Penalty())
    tol: Any = 1e-4
    max_iter: Any = 200
    revives: bool = True
    """Whether components that nothing uses are pointed somewhere else."""

    def init(self, factors: tuple[Any, Any], /) -> NMFState:
        """The state before the first step, from starting factors."""
        return begin(*factors)

    def step(self, state: NMFState, /) -> NMFState:
        """Update W, then H."""
        state = self.revived(state)
        return self.advanced(state, state.H, None)[0]

    def factors(self, state: NMFState, /) -> tuple[Any, Any]:
        """W and H."""
        return state.W, state.H

    def revived(self, state: NMFState, /) -> NMFState:
        """The state without dead components."""
        if not self.revives:
            return state
        w, h, reseeds = revive(
            self.op,
            self.row_sums,
            state.W,
            state.H,
            alive=state.alive,
            reseeds=state.reseeds,
        )
        return state._replace(W=w, H=h, reseeds=reseeds)

    def advanced(
        self, state: NMFState, h: Any, momentum: Momentum | None, /
    ) -> tuple[NMFState, Any]:
        """The state after a step that begins with other loadings."""
        found = alternate(
            self.op,
            state.W,
            h,
            sq_norm=self.sq_norm,
            rules=self.rules,
            penalties=self.penalties,
            momentum=momentum,
        )
        penalty_w, penalty_h = self.penalties
        objective = found.fit / 2
        objective = objective + penalty_w.value(found.W) + penalty_h.value(found.H_T)
        after = state._replace(
            W=found.W,
            H=found.H,
            n_iter=state.n_iter + 1,
            residual=found.residual,
            alive=found.alive,
        )
        return judge(after, objective), found.reached

    def finished(self, state: NMFState, /) -> Any:
        """Whether the tolerance is met."""
        if "mu" in self.rules:
            return fell_little(state, self.tol)
        return state.residual <= self.tol

    def finish(self, state: NMFState, /) -> tuple[Floats, Floats, Floats, Floats]:
        """Unit-norm loadings by contribution, on the host."""
        return normalise(state.W, state.H)

    def report(self, state: NMFState, /) -> Report:
        """Objective and residual."""
        return Report(float(state.objective), float(np.asarray(state.residual)))
