"""Non-negative matrix factorization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..._core.typing import Floats
from ..factor.best import best_of
from ..factor.extrapolate import ExtrapolatedSolver
from ..factor.start import initialise
from .frobenius import FrobeniusSolver
from .kullback_leibler import KullbackLeiblerSolver
from .problem import NMFResult, Problem, SolverName

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..factor.start import Init
    from ..loop import Callback, Solver


def nmf(
    problem: Problem,
    rank: int,
    *,
    solver: SolverName = "hals",
    init: Init | tuple[Floats, Floats] = "nndsvda",
    n_init: int = 1,
    tol: float = 1e-4,
    max_iter: int = 200,
    seed: int = 0,
    callback: Callback | None = None,
) -> NMFResult:
    """Factorize ``X ≈ W H`` with ``W, H >= 0``, and keep the best of several starts."""

    def starts() -> Iterator[tuple[Any, Any]]:
        for stream in np.random.default_rng(seed).spawn(n_init):
            if isinstance(init, tuple):
                # Some rules update W in place where the data are streamed.
                yield np.array(init[0]), init[1]
            else:
                yield initialise(
                    problem.op, rank, init=init, stats=problem.stats, rng=stream
                )

    fit = make_solver(problem, solver, tol=tol, max_iter=max_iter)
    state, trace = best_of(fit, starts(), callback)
    return NMFResult(*fit.finish(state), trace)


def make_solver(
    problem: Problem, solver: SolverName, *, tol: float, max_iter: int
) -> Solver[Any, tuple[Floats, Floats, Floats, Floats]]:
    """The solver of a problem."""
    stats, penalties = problem.stats, problem.penalties
    if problem.loss == "kullback-leibler":
        return KullbackLeiblerSolver(
            problem.op, stats.total, penalties, tol=tol, max_iter=max_iter
        )
    plain = FrobeniusSolver(
        problem.op,
        stats.sq_norm,
        stats.row_sums,
        (solver, solver),
        penalties,
        tol,
        max_iter,
        # With an L1 penalty an empty component may be the best one.
        revives=not any(penalty.favours_zeros for penalty in penalties),
    )
    return ExtrapolatedSolver(plain) if solver == "hals" else plain
