"""Integration with extrapolation: what is kept never rises, and is there sooner."""

from __future__ import annotations

from itertools import pairwise

import jax
import numpy as np
import pytest

from nonneg.models.factor.extrapolate import ExtrapolatedSolver
from nonneg.models.inmf.problem import Part, Penalties
from nonneg.models.inmf.solver import INMFSolver
from nonneg.models.inmf.summary import summarise
from nonneg.models.loop import drive, run
from nonneg.operators.dense import DenseOperator

RANK, N_VARS, SIZES = 6, 40, (150, 90)
PENALTIES = Penalties(np.array([2.0, 6.0]), np.array([1.5, 0.7]))


def cells(seed=0):
    rng = np.random.default_rng(seed)
    w = rng.gamma(0.4, 1, (RANK, N_VARS))
    return [
        rng.gamma(0.5, 1, (n, RANK)) @ (w + rng.gamma(0.2, 0.6, w.shape))
        + rng.gamma(0.3, 0.5, (n, N_VARS))
        for n in SIZES
    ]


CELLS = cells()


def solver(*, on_device=False, **kwargs):
    bounds = np.cumsum([0, *SIZES]).tolist()
    parts = [
        Part(DenseOperator(x), slice(*rows), d)
        for d, (x, rows) in enumerate(zip(CELLS, pairwise(bounds), strict=True))
    ]
    summary = summarise(
        parts,
        ("a", "b"),
        scale_cells=False,
        totals=None,
        scale_genes=False,
        seed=0,
        on_device=on_device,
    )
    return ExtrapolatedSolver(INMFSolver(summary, RANK, PENALTIES, tol=-1, **kwargs))


def objective(state):
    """As it is written in the documentation."""
    w, v = (np.asarray(x) for x in state.loadings)
    scores = np.split(np.asarray(state.scores), [SIZES[0]])
    return sum(
        weight * (np.square(x - h @ (w + v_d)).sum() + lam * np.square(h @ v_d).sum())
        for x, h, v_d, lam, weight in zip(CELLS, scores, v, *PENALTIES, strict=True)
    )


def test_what_is_kept_never_rises(x64):
    fit = solver()
    state = fit.init(0)
    undone = 0
    for _ in range(150):
        kept, share = state.kept, state.share
        state = fit.step(state)
        value = objective(state.kept)
        assert float(state.kept.objective) == pytest.approx(value, rel=1e-10)
        assert value <= objective(kept) * (1 + 1e-12)
        if state.share < share:
            undone += 1
            assert state.kept.scores is kept.scores
    assert 0 < undone < 60


def test_fewer_steps_than_without(x64):
    fit = solver(max_iter=200)
    _, without = drive(fit.plain, fit.plain.init(0))
    _, trace = drive(fit, fit.init(0))
    passed = np.flatnonzero(np.array(trace.objective) <= without.objective[-1])
    assert passed.size > 0
    assert passed[0] < 200 / 2


@pytest.mark.slow
def test_in_one_compiled_loop_on_a_device(x64):
    on_device, on_host = solver(on_device=True), solver()
    first = on_device.init(0)
    found = jax.jit(lambda state: run(on_device, state, n_steps=25))(first)
    state = on_host.init(0)
    for _ in range(25):
        state = on_host.step(state)
    scores = np.concatenate([np.asarray(part) for part in found.kept.scores])
    np.testing.assert_allclose(scores, state.kept.scores, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.kept.objective, state.kept.objective)
