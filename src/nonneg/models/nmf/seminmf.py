"""Semi-NMF: one factor is non-negative, the data and the other one are free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from ..factor.start import right_singular_vectors
from ..loop import drive
from .frobenius import FrobeniusSolver
from .problem import NMFResult

if TYPE_CHECKING:
    from ...operators.protocol import MatrixOperator
    from ...operators.stats import MatrixStats
    from ..factor.alternate import Rule
    from ..loop import Callback


type Side = Literal["scores", "loadings"]

_RULES: dict[Side, tuple[Rule, Rule]] = {
    "scores": ("hals", "unconstrained"),
    "loadings": ("unconstrained", "hals"),
}


def seminmf(
    op: MatrixOperator,
    stats: MatrixStats,
    rank: int,
    *,
    nonnegative: Side = "scores",
    tol: float = 1e-4,
    max_iter: int = 200,
    seed: int = 0,
    callback: Callback | None = None,
) -> NMFResult:
    """Factorize ``X ≈ W H`` with one side non-negative :cite:p:`Ding2010`.

    The free side is solved exactly, the other by HALS, so that
    ``1/2 ‖X - W H‖²`` never rises. Starts from singular vectors: each component
    takes the sign under which its non-negative side is larger.
    """
    v, _ = right_singular_vectors(op, rank, np.random.default_rng(seed))
    h = np.ascontiguousarray(v.T, op.dtype)
    w = np.empty((op.shape[0], rank), op.dtype)
    for rows, block in op.row_blocks():
        w[rows] = block.matmul(v)
    positive, free = (w.T, h) if nonnegative == "scores" else (h, w.T)
    for side, other in zip(positive, free, strict=True):
        if np.linalg.norm(np.minimum(side, 0)) > np.linalg.norm(np.maximum(side, 0)):
            np.negative(side, out=side)
            np.negative(other, out=other)
        np.maximum(side, 0, out=side)

    solver = FrobeniusSolver(
        op,
        stats.sq_norm,
        stats.row_sums,
        _RULES[nonnegative],
        tol=tol,
        max_iter=max_iter,
        # A free side has no observation that is explained worst.
        revives=False,
    )
    state, trace = drive(solver, solver.init((w, h)), callback)
    return NMFResult(*solver.finish(state), trace)
