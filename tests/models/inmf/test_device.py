"""Fits whose arrays stay on a device, and those in one compiled loop."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.array import ArrayImpl

from nonneg.models.inmf.minibatches import MinibatchSampler
from nonneg.models.inmf.online import OnlineSolver, fit
from nonneg.models.inmf.problem import Loadings, Part, Penalties
from nonneg.models.inmf.solver import INMFSolver, inmf
from nonneg.models.inmf.start import start
from nonneg.models.inmf.summary import summarise
from nonneg.models.loop import drive, run
from nonneg.operators.dense import DenseOperator

# Rules share their loops; what differs is tested on the host.
HALS = pytest.mark.parametrize(
    "solver",
    ["hals", *(pytest.param(name, marks=pytest.mark.slow) for name in ("anls", "mu"))],
)
RANK, N_VARS, SIZES, NAMES = 4, 30, (230, 370), ("a", "b")
PENALTIES = Penalties(np.array([2.0, 6.0]), np.array([1.5, 0.7]))


def simulate(seed=1):
    rng = np.random.default_rng(seed)
    w = rng.gamma(0.4, 1, (RANK, N_VARS))
    return [
        rng.poisson(
            3 * rng.gamma(0.5, 1, (n, RANK)) @ (w + rng.gamma(0.2, 0.6, w.shape))
        )
        for n in SIZES
    ]


ARRAYS = simulate()


def read(*, on_device, dtype=np.float64, scaled=True):
    bounds = np.cumsum([0, *SIZES]).tolist()
    parts = [
        Part(DenseOperator(np.asarray(x, dtype)), slice(*rows), d)
        for d, (x, rows) in enumerate(zip(ARRAYS, pairwise(bounds), strict=True))
    ]
    return summarise(
        parts,
        NAMES,
        scale_cells=scaled,
        totals=None,
        scale_genes=scaled,
        seed=0,
        on_device=on_device,
    )


def assert_close(one, other, rtol):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        atol = rtol * np.abs(np.asarray(b)).max()
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=rtol, atol=atol)


# --- the same numbers as on the host ----------------------------------------


@pytest.mark.parametrize("scaled", [False, True])
@HALS
def test_same_as_on_the_host(solver, scaled, x64):
    fits = [
        inmf(
            read(on_device=on_device, scaled=scaled),
            RANK,
            PENALTIES,
            solver=solver,
            tol=-1,
            max_iter=15,
        )
        for on_device in (True, False)
    ]
    for one, other in zip(fits[0][:3], fits[1][:3], strict=True):
        assert_close(one, other, 1e-7)
    np.testing.assert_allclose(fits[0].trace.objective, fits[1].trace.objective)


def test_single_precision_is_enough_to_stop():
    """The objective is a small difference of large numbers, in float32 on a device."""
    device, host = (
        inmf(read(on_device=on, dtype=np.float32), RANK, PENALTIES)
        for on in (True, False)
    )
    assert device.trace.converged
    assert abs(device.trace.n_iter - host.trace.n_iter) <= 2
    assert device.trace.objective[-1] == pytest.approx(
        host.trace.objective[-1], rel=1e-5
    )


@pytest.mark.slow
def test_online_same_as_on_the_host(x64):
    results = []
    for on_device in (True, False):
        summary = read(on_device=on_device)
        sampler = MinibatchSampler(summary.data, 150, 0)
        solver = OnlineSolver(sampler, summary.sample, PENALTIES)
        loadings = start(summary.sample, RANK, PENALTIES, seed=0, attempt=0)
        state, _ = fit(solver, solver.begin(loadings), n_epochs=2)
        scores = np.zeros((sum(SIZES), RANK))

        def keep(block, new, scores=scores):
            scores[block.rows] = new

        found = solver.finish(state, keep, sort=True)
        results.append((found, scores, state.objective, state.change))
    assert_close(*results, 1e-7)


# --- in one compiled loop ---------------------------------------------------


@HALS
def test_run_is_drive(solver, x64):
    summary = read(on_device=True)
    solver = INMFSolver(summary, RANK, PENALTIES, solver, tol=1e-4, max_iter=60)
    driven, trace = drive(solver, solver.init(0))
    assert trace.converged
    at_once = run(solver, solver.init(0))
    assert_close(at_once, driven, 1e-7)
    # The loop that counts is another one, whatever the solver.
    if solver.rule == "hals":
        counted = run(solver, solver.init(0), n_steps=trace.n_iter)
        assert_close(counted, driven, 1e-7)


@pytest.mark.slow
def test_dead_factors_are_revived_in_a_compiled_loop(x64):
    summary = read(on_device=True)
    solver = INMFSolver(summary, RANK, PENALTIES, tol=-1, max_iter=20)
    w, v = (np.array(x) for x in solver.init(0).loadings)
    w[1], v[:, 1] = 0, 0
    state = solver.begin(Loadings(jnp.asarray(w), jnp.asarray(v)))
    driven, _ = drive(solver, state)
    assert driven.reseeds.tolist() == [0, 1, 0, 0]
    assert_close(run(solver, state), driven, 1e-7)
    host = INMFSolver(read(on_device=False), RANK, PENALTIES, tol=-1, max_iter=20)
    on_host, _ = drive(host, host.begin(Loadings(w, v)))
    assert_close(on_host.loadings, driven.loadings, 1e-6)


@pytest.mark.slow
def test_many_penalties_at_once(x64):
    summary = read(on_device=True)
    first = INMFSolver(summary, RANK, PENALTIES).init(0)

    def solved(lam):
        penalties = PENALTIES._replace(lam=lam)
        return run(INMFSolver(summary, RANK, penalties), first, n_steps=10)

    lams = jnp.array([[0.5, 1.0], [2.0, 6.0], [9.0, 3.0]])
    together = jax.vmap(solved)(lams)
    for i, lam in enumerate(lams):
        one = jax.tree.map(lambda x, i=i: x[i], together)
        assert_close(one, solved(lam), 1e-7)


@pytest.mark.slow
def test_gradient_of_what_a_fit_reaches(x64):
    """Through the updates, with respect to the penalties: as finite differences."""
    summary = read(on_device=True)
    first = INMFSolver(summary, RANK, PENALTIES).init(0)

    @jax.jit
    def reached(log_lam):
        penalties = PENALTIES._replace(lam=jnp.exp(log_lam))
        return run(INMFSolver(summary, RANK, penalties), first, n_steps=5).objective

    at, step = jnp.log(PENALTIES.lam), 1e-4
    gradient = jax.grad(reached)(at)
    for d in range(2):
        towards = jnp.zeros(2).at[d].set(step)
        slope = (reached(at + towards) - reached(at - towards)) / (2 * step)
        assert gradient[d] == pytest.approx(float(slope), rel=1e-5)


# --- what crosses -----------------------------------------------------------


@contextmanager
def counting(monkeypatch):
    """Numbers of entries that come back from a device."""
    sizes: list[int] = []

    def counted(function):
        def call(*args, **kwargs):
            sizes.extend(x.size for x in args if isinstance(x, jax.Array))
            return function(*args, **kwargs)

        return call

    value = ArrayImpl._value
    with monkeypatch.context() as patch:
        for name in ("asarray", "array", "einsum", "stack", "concatenate", "square"):
            patch.setattr(np, name, counted(getattr(np, name)))
        patch.setattr(
            ArrayImpl,
            "_value",
            property(lambda self: (sizes.append(self.size), value.fget(self))[1]),
        )
        yield sizes


@HALS
def test_only_numbers_come_back(solver, monkeypatch):
    """Numbers of data sets."""
    summary = read(on_device=True, dtype=np.float32)
    solver = INMFSolver(summary, RANK, PENALTIES, solver, tol=-1, max_iter=6)
    state = solver.init(0)
    with counting(monkeypatch) as sizes:
        drive(solver, state)
    # The objective of each data set and its weight; whether a factor is dead.
    assert set(sizes) <= {1, len(SIZES)}
    # And the first comparison, with infinity.
    assert len(sizes) <= 6 * 3 + 1


def test_what_comes_back_is_seen(monkeypatch):
    summary = read(on_device=False, dtype=np.float32)
    solver = INMFSolver(summary, RANK, PENALTIES, tol=-1, max_iter=2)
    with counting(monkeypatch) as sizes:
        drive(solver, solver.init(0))
    assert max(sizes) >= RANK * N_VARS


@HALS
def test_nothing_goes_to_the_device(solver):
    """What a step reads beside its state is there: cells, scales, penalties."""
    summary = read(on_device=True, dtype=np.float32)
    solver = INMFSolver(summary, RANK, PENALTIES, solver)
    constants = jax.make_jaxpr(solver.step)(solver.init(0)).consts
    host = [np.size(x) for x in constants if not isinstance(x, jax.Array)]
    assert max(host, default=0) <= len(SIZES)
    assert max(x.size for x in constants if isinstance(x, jax.Array)) == max(
        part.op.x.size for part in summary.data.parts
    )
