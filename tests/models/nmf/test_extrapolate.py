"""Extrapolation: fewer steps to the same objective, and what is kept never rises."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nonneg.models.factor.penalty import Penalty
from nonneg.models.factor.start import initialise
from nonneg.models.loop import drive, run
from nonneg.models.nmf.problem import Problem
from nonneg.models.nmf.solver import make_solver
from nonneg.operators.blocks import BlockOperator
from nonneg.operators.dense import DenseOperator
from testing.nonneg import frobenius, low_rank, penalised

RANK = 6
X = low_rank(120, 50, RANK) + np.random.default_rng(1).gamma(0.3, 0.5, (120, 50))


def begun(op, penalty=0.0, max_iter=300):
    """A solver, and its state before the first step."""
    penalties = (Penalty(penalty, penalty),) * 2
    problem = Problem(op, op.stats(), penalties=penalties)
    solver = make_solver(problem, "hals", tol=0, max_iter=max_iter)
    rng = np.random.default_rng(0)
    return solver, solver.init(
        initialise(op, RANK, init="random", stats=op.stats(), rng=rng)
    )


def in_blocks():
    return BlockOperator(
        lambda: lambda pieces: X[np.r_[tuple(pieces)]],
        DenseOperator,
        np.array([0, 50, 100, 120]),
        50,
        np.dtype(np.float64),
    )


@pytest.mark.parametrize("penalty", [0.0, 0.3])
@pytest.mark.parametrize("operator", [lambda: DenseOperator(X), in_blocks])
def test_what_is_kept_never_rises(operator, penalty, x64):
    solver, state = begun(operator(), penalty)
    undone = 0
    for _ in range(150):
        before = np.array(state.kept.W), np.array(state.kept.H)
        share = state.share
        state = solver.step(state)
        w, h = np.asarray(state.kept.W), np.asarray(state.kept.H)
        assert min(w.min(), h.min()) >= 0
        value, earlier = (
            penalised(
                frobenius(X, *factors),
                *factors,
                alpha_W=2 * penalty / X.shape[1],
                alpha_H=2 * penalty / X.shape[0],
                l1_ratio=0.5,
            )
            for factors in ((w, h), before)
        )
        assert value <= earlier * (1 + 1e-12)
        assert float(state.kept.objective) == pytest.approx(value, rel=1e-9)
        if state.share < share:
            undone += 1
            np.testing.assert_array_equal(w, before[0])
            np.testing.assert_array_equal(h, before[1])
    # Steps are undone at times, and most are not.
    assert 0 < undone < 50


def test_fewer_steps_than_without(x64):
    solver, state = begun(DenseOperator(X))
    plain, start = solver.plain, state.kept
    _, without = drive(plain, start)
    _, trace = drive(solver, state)
    passed = np.flatnonzero(np.array(trace.objective) <= without.objective[-1])
    assert passed.size > 0
    assert passed[0] < 300 / 3


def test_both_loops_agree(x64):
    solver, state = begun(DenseOperator(X), max_iter=60)
    found = jax.jit(run)(solver, jax.tree.map(jnp.asarray, state))
    driven, _ = drive(solver, state)
    np.testing.assert_allclose(found.kept.W, driven.kept.W, rtol=1e-6, atol=1e-8)
    assert int(found.kept.n_iter) == int(driven.kept.n_iter)


def test_an_interruption_amid_the_blocks_leaves_what_was_kept(x64, monkeypatch):
    """Other rules overwrite scores; here they are those of the last complete step."""
    op = in_blocks()
    solver, state = begun(op)
    for _ in range(20):
        state = solver.step(state)
    value = float(state.kept.objective)
    blocks = BlockOperator.row_blocks

    def broken(self):
        for i, block in enumerate(blocks(self)):
            if i == 2:
                raise KeyboardInterrupt
            yield block

    monkeypatch.setattr(BlockOperator, "row_blocks", broken)
    with pytest.raises(KeyboardInterrupt):
        solver.step(state)
    kept = state.kept
    left = frobenius(X, kept.W, np.asarray(kept.H))
    assert left == pytest.approx(value, rel=1e-12)
