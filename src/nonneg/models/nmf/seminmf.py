"""Semi-NMF: one factor is non-negative, the data and the other one are free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import jax.numpy as jnp
import numpy as np

from ..factor.alternate import alternate
from ..factor.normalise import normalise
from ..factor.start import right_singular_vectors
from ..loop import Report, iterate
from .problem import NMFResult
from .solver import stationary

if TYPE_CHECKING:
    from ...operators.protocol import Matrix, MatrixOperator
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

    def step(
        factors: tuple[Matrix, Matrix], _: int
    ) -> tuple[tuple[Matrix, Matrix], Report]:
        result = alternate(
            op, *factors, sq_norm=stats.sq_norm, rules=_RULES[nonnegative]
        )
        return (result.W, result.H), Report(result.fit / 2, result.residual)

    start: tuple[Matrix, Matrix] = (w, jnp.asarray(h))
    (w_fit, h_fit), trace = iterate(
        step,
        start,
        max_iter=max_iter,
        finished=stationary(tol),
        callback=callback,
    )
    return NMFResult(*normalise(w_fit, h_fit), trace)
