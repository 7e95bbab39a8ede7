"""Kullback-Leibler divergence, by multiplicative updates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ...kernels.mu import mu_update_kl
from ..factor.alternate import exact
from ..factor.normalise import normalise
from ..factor.penalty import Penalty
from ..loop import Report
from .problem import NMFState
from .progress import begin, fell_little, is_check, judge

if TYPE_CHECKING:
    from ..._core.typing import Floats
    from ...operators.protocol import MatrixOperator


@jax.jit
def _update_scores(
    w: jax.Array, ratio: jax.Array, h: jax.Array, penalty: Penalty
) -> tuple[jax.Array, jax.Array]:
    """New rows of W, and their sums."""
    new = mu_update_kl(w, ratio, h.sum(1), *penalty.weights(w.dtype))
    return new, new.sum(0)


@jax.jit
def _update_loadings(
    h: jax.Array, ratio: jax.Array, sums: jax.Array, penalty: Penalty
) -> jax.Array:
    ratio, sums = ratio.astype(h.dtype), sums.astype(h.dtype)
    return mu_update_kl(h.T, ratio, sums, *penalty.weights(h.dtype)).T


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["op", "total", "penalties", "tol", "max_iter"],
    meta_fields=[],
)
@dataclass(frozen=True)
class KullbackLeiblerSolver:
    """Minimise ``sum(X log(X / W H) - X + W H)`` and penalties.

    Finished when the objective falls by at most ``tol`` times its first value in ten
    steps. It costs a pass of its own, and is computed in the first, every tenth and the
    last step only.
    """

    op: MatrixOperator
    total: Any
    """Sum of all entries."""
    penalties: tuple[Penalty, Penalty] = (Penalty(), Penalty())
    tol: Any = 1e-4
    max_iter: Any = 200

    def init(self, factors: tuple[Any, Any], /) -> NMFState:
        """The state before the first step, from starting factors."""
        return begin(*factors)

    def step(self, state: NMFState, /) -> NMFState:
        """Update W block by block, then H."""
        w, h = state.W, state.H
        ratio_h: Any = 0.0
        sums_w: Any = 0.0
        for rows, block in self.op.row_blocks():
            ratio = block.ratio_matmul(w[rows], h)
            penalty = self.penalties[0].rows(rows)
            new, sums = _update_scores(w[rows], ratio, h, penalty)
            ratio_h = ratio_h + exact(block.ratio_rmatmul(new, h))
            sums_w = sums_w + exact(sums)
            if new.shape[0] == w.shape[0]:
                w = new
            else:
                # The new rows are there, so that the old ones have been read.
                w[rows] = np.asarray(new)
        h = _update_loadings(h, ratio_h, sums_w, self.penalties[1])
        n_iter = state.n_iter + 1
        state = state._replace(W=w, H=h, n_iter=n_iter)
        judged = is_check(n_iter) | (n_iter == self.max_iter)
        if isinstance(judged, jax.core.Tracer):
            return jax.lax.cond(
                judged, lambda: judge(state, self._objective(w, h)), lambda: state
            )
        return judge(state, self._objective(w, h)) if judged else state

    def _objective(self, w: Any, h: Any) -> Any:
        sums = (_sums(w, 0) * _sums(h, 1)).sum()
        penalty_w, penalty_h = self.penalties
        fit = exact(self.op.log_ratio(w, h)) - self.total + sums
        return fit + penalty_w.value(w) + penalty_h.value(h.T)

    def finished(self, state: NMFState, /) -> Any:
        """Whether the objective hardly falls any more."""
        return fell_little(state, self.tol)

    def finish(self, state: NMFState, /) -> tuple[Floats, Floats, Floats, Floats]:
        """Unit-norm loadings by contribution, on the host."""
        return normalise(state.W, state.H)

    def report(self, state: NMFState, /) -> Report:
        """The objective, in steps that computed it."""
        n_iter = int(state.n_iter)
        judged = bool(is_check(n_iter)) or n_iter == self.max_iter
        return Report(float(state.objective) if judged else None)


def _sums(factor: Any, axis: int) -> Any:
    """Sums in float64 on the host; a factor on a device stays there."""
    if isinstance(factor, np.ndarray):
        return factor.sum(axis, dtype=np.float64)
    return exact(factor.sum(axis))
