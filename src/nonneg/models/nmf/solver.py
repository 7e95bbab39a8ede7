"""Non-negative matrix factorization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._core.typing import Floats
from ...kernels.mu import mu_update_kl
from ..factor.alternate import alternate
from ..factor.normalise import normalise
from ..factor.penalty import Penalty
from ..factor.revive import revive
from ..factor.start import initialise
from ..loop import Report, iterate
from .problem import NMFResult, Problem, Solver

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...operators.protocol import Matrix
    from ..factor.start import Init
    from ..loop import Callback, Trace


# Multiplicative updates are judged by their objective every so often.
_CHECK_EVERY = 10


def nmf(
    problem: Problem,
    rank: int,
    *,
    solver: Solver = "hals",
    init: Init | tuple[Floats, Floats] = "nndsvda",
    n_init: int = 1,
    tol: float = 1e-4,
    max_iter: int = 200,
    seed: int = 0,
    callback: Callback | None = None,
) -> NMFResult:
    """Factorize ``X ≈ W H`` with ``W, H >= 0``.

    HALS and ANLS stop when the sum of absolute projected gradients is at most
    ``tol`` times that of the products with the data, multiplicative updates when the
    objective falls by at most ``tol`` times its first value in ten iterations.
    """
    best: tuple[Matrix, Matrix, Trace] | None = None
    interrupted = False
    try:
        for stream in np.random.default_rng(seed).spawn(n_init):
            if isinstance(init, tuple):
                # W is updated in place where the data are streamed.
                start = np.array(init[0]), init[1]
            else:
                start = initialise(
                    problem.op, rank, init=init, stats=problem.stats, rng=stream
                )
            (w, h), trace = _descend(
                problem, start, solver, tol=tol, max_iter=max_iter, callback=callback
            )
            if best is None or trace.objective[-1] < best[2].objective[-1]:
                best = w, h, trace
            if trace.interrupted:
                interrupted = True
                break
    except KeyboardInterrupt:
        # Between two starts: what the earlier ones found is kept.
        if best is None:
            raise
        interrupted = True
    assert best is not None
    w, h, trace = best
    return NMFResult(*normalise(w, h), trace._replace(interrupted=interrupted))


def _descend(
    problem: Problem,
    start: tuple[Floats, Floats],
    solver: Solver,
    *,
    tol: float,
    max_iter: int,
    callback: Callback | None,
) -> tuple[tuple[Matrix, Matrix], Trace]:
    step: Callable[[tuple[Matrix, Matrix], int], Any]
    if problem.loss == "frobenius":
        step = _frobenius_step(problem, solver)
    else:
        step = _kl_step(problem, last=max_iter)
    finished = _decreased(tol) if solver == "mu" else stationary(tol)
    w, h = start
    return iterate(
        step,
        (w, jnp.asarray(h)),
        max_iter=max_iter,
        finished=finished,
        callback=callback,
    )


def stationary(tol: float) -> Callable[[list[Report]], bool]:
    """Finished when the residual is at most ``tol``."""

    def finished(reports: list[Report]) -> bool:
        residual = reports[-1].residual
        assert residual is not None
        return residual <= tol

    return finished


def _decreased(tol: float) -> Callable[[list[Report]], bool]:
    """Finished when ten iterations gain ``tol`` times the first objective."""

    def finished(reports: list[Report]) -> bool:
        if len(reports) % _CHECK_EVERY:
            return False
        before = reports[max(len(reports) - 1 - _CHECK_EVERY, 0)].objective
        first, last = reports[0].objective, reports[-1].objective
        assert first is not None
        assert before is not None
        assert last is not None
        return before - last <= tol * first

    return finished


def _frobenius_step(
    problem: Problem, solver: Solver
) -> Callable[[tuple[Matrix, Matrix], int], tuple[tuple[Matrix, Matrix], Report]]:
    reseeds: dict[int, int] = {}
    dead = np.empty(0, np.intp)

    def step(
        factors: tuple[Matrix, Matrix], _: int
    ) -> tuple[tuple[Matrix, Matrix], Report]:
        nonlocal dead
        if dead.size:
            factors = revive(problem, *factors, dead, reseeds)
        w, h, fit, residual, alive = alternate(
            problem.op,
            *factors,
            sq_norm=problem.stats.sq_norm,
            rules=(solver, solver),
            penalties=problem.penalties,
        )
        # With an L1 penalty an empty component may be the best one.
        if not any(penalty.l1 for penalty in problem.penalties):
            dead = np.flatnonzero(~alive)
        return (w, h), Report(fit / 2 + problem.penalty(w, h), residual)

    return step


@jax.jit
def _mu_kl(
    factor: jax.Array, ratio: jax.Array, sums: jax.Array, penalty: Penalty
) -> jax.Array:
    l1, l2 = (jnp.asarray(weight, factor.dtype) for weight in penalty)
    return mu_update_kl(factor, ratio, sums, l1, l2)


def _kl_step(
    problem: Problem, *, last: int
) -> Callable[[tuple[Matrix, Matrix], int], tuple[tuple[Matrix, Matrix], Report]]:
    op, penalties = problem.op, problem.penalties

    def step(
        factors: tuple[Matrix, Matrix], iteration: int
    ) -> tuple[tuple[Matrix, Matrix], Report]:
        w, h = factors
        sums_h = jnp.sum(h, 1)
        ratio_h: Any = 0.0
        sums_w: Any = 0.0
        for rows, block in op.row_blocks():
            new = _mu_kl(
                jnp.asarray(w[rows]),
                jnp.asarray(block.ratio_matmul(w[rows], h)),
                sums_h,
                penalties[0],
            )
            ratio_h = ratio_h + np.asarray(block.ratio_rmatmul(new, h), np.float64)
            sums_w = sums_w + np.asarray(new.sum(0), np.float64)
            if new.shape[0] == w.shape[0]:
                w = new
            else:
                w[rows] = np.asarray(new)
        h = _mu_kl(
            h.T,
            jnp.asarray(ratio_h, h.dtype),
            jnp.asarray(sums_w, h.dtype),
            penalties[1],
        ).T
        return (w, h), Report(objective(w, h) if checked(iteration) else None)

    def checked(iteration: int) -> bool:
        return iteration == 1 or iteration % _CHECK_EVERY == 0 or iteration == last

    def objective(w: Matrix, h: Matrix) -> float:
        # W stays on the device if it is there; only its sums leave.
        on_host = isinstance(w, np.ndarray)
        sums_w = w.sum(0, dtype=np.float64) if on_host else np.asarray(w.sum(0))
        sums_h = np.asarray(h).sum(1, dtype=np.float64)
        fit = float(op.log_ratio(w, h)) - problem.stats.total + float(sums_w @ sums_h)
        return fit + problem.penalty(w, h)

    return step
