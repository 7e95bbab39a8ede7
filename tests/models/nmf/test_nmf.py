"""The documented objective is minimised: conditions, descent, recovery."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import brentq, linear_sum_assignment

from nonneg.models.factor.penalty import Penalty
from nonneg.models.factor.start import initialise
from nonneg.models.nmf.problem import Problem
from nonneg.models.nmf.solver import nmf
from nonneg.operators.blocks import BlockOperator
from nonneg.operators.csr import CSROperator
from nonneg.operators.dense import DenseOperator
from testing.nonneg import (
    counts,
    frobenius,
    kkt_residual,
    kullback_leibler,
    low_rank,
    penalised,
)

X = low_rank(60, 40, 4)
LOSSES = {"frobenius": frobenius, "kullback-leibler": kullback_leibler}
METHODS = [
    pytest.param("hals", "frobenius", id="hals"),
    pytest.param("anls", "frobenius", id="anls"),
    pytest.param("mu", "frobenius", id="mu"),
    pytest.param("mu", "kullback-leibler", id="mu-kl"),
]
PENALISED = [
    dict(alpha_W=0.01, alpha_H=0.01, l1_ratio=0.0),
    dict(alpha_W=0.01, alpha_H=0.01, l1_ratio=1.0),
    dict(alpha_W=0.02, alpha_H=0.005, l1_ratio=0.4),
]


def as_penalties(x, alpha_W, alpha_H, l1_ratio):
    n_obs, n_vars = x.shape
    return tuple(
        Penalty(weight * l1_ratio, weight * (1 - l1_ratio))
        for weight in (alpha_W * n_vars, alpha_H * n_obs)
    )


def balanced(w, h, penalties):
    """Factors of the same product with the scale at which penalties are smallest."""
    w, h = w.copy(), h.copy()
    (l1w, l2w), (l1h, l2h) = penalties
    for j in range(len(h)):
        sums = (
            w[:, j].sum(),
            np.square(w[:, j]).sum(),
            h[j].sum(),
            np.square(h[j]).sum(),
        )
        if not all(sums):
            continue

        def slope(log_d, sums=sums):
            """Derivative of the penalties of d w and h / d with respect to log d."""
            d = np.exp(log_d)
            of_w = l1w * d * sums[0] + l2w * d**2 * sums[1]
            return of_w - l1h * sums[2] / d - l2h * sums[3] / d**2

        d = np.exp(brentq(slope, -20, 20, xtol=1e-14))
        w[:, j] *= d
        h[j] /= d
    return w, h


@pytest.mark.parametrize(
    ("solver", "init"),
    [
        *(("hals", init) for init in ("nndsvda", "nndsvd", "random")),
        ("anls", "random"),
        *(
            pytest.param("anls", init, marks=pytest.mark.slow)
            for init in ("nndsvda", "nndsvd")
        ),
    ],
)
def test_optimality_conditions(fit, solver, init, x64):
    result = fit(X, solver=solver, init=init, tol=1e-9, max_iter=5000)
    assert result.trace.converged
    assert kkt_residual(X, result.W, result.H) < 1e-6


@pytest.mark.slow
def test_optimality_conditions_of_kl(fit, x64):
    """Multiplicative updates are slow where an entry goes to zero."""
    result = fit(X, loss="kullback-leibler", solver="mu", tol=0, max_iter=8000)
    assert kkt_residual(X, result.W, result.H, loss="kullback-leibler") < 1e-4


@pytest.mark.parametrize(
    ("solver", "penalty"),
    [
        *(("hals", penalty) for penalty in PENALISED),
        ("anls", PENALISED[-1]),
        # One of the two penalties alone, both of which the last one has.
        *(
            pytest.param("anls", penalty, marks=pytest.mark.slow)
            for penalty in PENALISED[:-1]
        ),
    ],
    ids=str,
)
def test_optimality_conditions_with_penalties(fit, solver, penalty, x64):
    penalties = as_penalties(X, **penalty)
    # How a product is split between its factors settles last, and slowly.
    result = fit(X, solver=solver, penalties=penalties, tol=1e-10, max_iter=4000)
    w, h = balanced(result.W, result.H, penalties)
    assert kkt_residual(X, w, h, **penalty) < 1e-6
    # Not so without them.
    assert kkt_residual(X, w, h) > 1e-4
    expected = penalised(frobenius(X, w, h), w, h, **penalty)
    assert result.trace.objective[-1] == pytest.approx(expected, rel=1e-9)


@pytest.mark.slow
def test_penalties_of_kl(fit, x64):
    """From a start none of whose entries comes too close to zero to grow again."""
    penalty = dict(alpha_W=0.02, alpha_H=0.02, l1_ratio=0.2)
    penalties = as_penalties(X, **penalty)
    result = fit(
        X,
        loss="kullback-leibler",
        solver="mu",
        penalties=penalties,
        init="random",
        tol=0,
        max_iter=6000,
    )
    assert (result.mass > 0).all()
    w, h = balanced(result.W, result.H, penalties)
    assert kkt_residual(X, w, h, loss="kullback-leibler", **penalty) < 1e-4
    # Not so without them.
    assert kkt_residual(X, w, h, loss="kullback-leibler") > 1e-3
    expected = penalised(kullback_leibler(X, w, h), w, h, **penalty)
    assert result.trace.objective[-1] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("penalty", [None, *PENALISED], ids=str)
@pytest.mark.parametrize(("solver", "loss"), METHODS)
def test_objective_never_rises(fit, solver, loss, penalty, x64):
    penalties = None if penalty is None else as_penalties(X, **penalty)
    for init in ("nndsvda", "random"):
        result = fit(
            X,
            solver=solver,
            loss=loss,
            penalties=penalties,
            init=init,
            tol=0,
            max_iter=60,
        )
        objective = np.array(result.trace.objective)
        assert len(objective) >= 7
        assert (np.diff(objective) <= 1e-10 * objective[0]).all()
        assert objective[-1] < 0.9 * objective[0]


@pytest.mark.parametrize("max_iter", [1, 13, 20])
@pytest.mark.parametrize(("solver", "loss"), METHODS)
def test_objective_is_that_of_the_result(fit, solver, loss, max_iter, x64):
    x = X.copy()
    x[x < 0.2] = 0
    result = fit(x, solver=solver, loss=loss, tol=0, max_iter=max_iter)
    assert result.trace.n_iter == max_iter
    assert result.trace.iteration[-1] == max_iter
    assert not result.trace.converged
    dense = LOSSES[loss](x, result.W, result.H)
    assert result.trace.objective[-1] == pytest.approx(dense, rel=1e-10)


@pytest.mark.parametrize(("solver", "loss"), METHODS)
def test_form_of_the_result(fit, solver, loss, x64):
    result = fit(X, solver=solver, loss=loss, tol=1e-6, max_iter=500)
    assert result.W.min() >= 0
    assert result.H.min() >= 0
    np.testing.assert_allclose(np.linalg.norm(result.H, axis=1), 1)
    mass = result.W.sum(0) * result.H.sum(1)
    np.testing.assert_allclose(result.mass, mass)
    assert (np.diff(mass) <= 0).all()


def separable(rng):
    """Every component has an observation and a variable of its own."""
    w, h = rng.random((60, 4)), rng.random((4, 40))
    w[:4], h[:, :4] = np.eye(4), np.eye(4)
    w[4:] *= rng.random((56, 4)) < 0.6
    h[:, 4:] *= rng.random((4, 36)) < 0.6
    return w, h


@pytest.mark.parametrize(
    ("solver", "loss", "tolerance"),
    [
        ("hals", "frobenius", 1e-5),
        ("anls", "frobenius", 1e-5),
        ("mu", "kullback-leibler", 1e-2),
    ],
)
def test_recovery_of_separable_factors(fit, solver, loss, tolerance, x64):
    w, h = separable(np.random.default_rng(0))
    norm = np.linalg.norm(h, axis=1, keepdims=True)
    w, h = w * norm.T, h / norm
    # Tiny scores vary freely below rounding for multiplicative updates.
    result = fit(w @ h, solver=solver, loss=loss, tol=1e-12, max_iter=20_000)
    order = linear_sum_assignment(-h @ result.H.T)[1]
    assert np.abs(result.H[order] - h).max() < tolerance
    assert np.abs(result.W[:, order] - w).max() < tolerance * w.max()


@pytest.mark.parametrize(
    ("solver", "zero"),
    [
        *(("hals", zero) for zero in ("H", "W", "both")),
        *(
            pytest.param("anls", zero, marks=pytest.mark.slow)
            for zero in ("H", "W", "both")
        ),
    ],
)
def test_dead_components_are_revived(fit, solver, zero, x64):
    rng = np.random.default_rng(0)
    w, h = rng.random((60, 4)), rng.random((4, 40))
    if zero in {"H", "both"}:
        h[1:3] = 0
    if zero in {"W", "both"}:
        w[:, 1:3] = 0
    result = fit(X, solver=solver, init=(w, h), tol=1e-9, max_iter=5000)
    assert (result.mass > 0).all()
    assert kkt_residual(X, result.W, result.H) < 1e-6
    full = fit(X, solver=solver, tol=1e-9, max_iter=5000)
    assert result.trace.objective[-1] < 1.1 * full.trace.objective[-1]
    objective = np.array(result.trace.objective)
    assert (np.diff(objective) <= 1e-10 * objective[0]).all()


@pytest.mark.parametrize("init", ["nndsvda", "nndsvd", "random"])
@pytest.mark.parametrize(("solver", "loss"), METHODS)
def test_fewer_parts_than_components(fit, solver, loss, init, x64):
    """Data of rank 2, of rank 1 and with empty sides."""
    rng = np.random.default_rng(0)
    rank_2 = rng.random((60, 2)) @ rng.random((2, 40))
    with_gaps = rank_2 * (np.arange(40) > 5) * (np.arange(60) > 7)[:, None]
    if (solver, init) == ("mu", "nndsvd"):
        pytest.skip("multiplicative updates cannot leave zeros")
    for x in (rank_2, with_gaps, np.ones((60, 40))):
        result = fit(x, solver=solver, loss=loss, init=init, tol=1e-7, max_iter=300)
        for values in (result.W, result.H, result.mass, result.trace.objective):
            assert np.isfinite(values).all()
        assert result.W.min() >= 0
        assert result.H.min() >= 0
        # The product is found, whatever the number of components.
        error = np.linalg.norm(x - result.W @ result.H) / np.linalg.norm(x)
        assert error < (0.05 if solver == "mu" else 0.005)
        assert not result.W[~x.any(1)].any()
        assert not result.H[:, ~x.any(0)].any()


@pytest.mark.parametrize("loss", LOSSES)
def test_permuted_observations(fit, loss, x64):
    solver = "hals" if loss == "frobenius" else "mu"
    order = np.random.default_rng(0).permutation(60)
    kwargs = dict(loss=loss, solver=solver, tol=0, max_iter=100)
    plain, permuted = fit(X, **kwargs), fit(X[order], **kwargs)
    # Extrapolation makes more of rounding errors on the way.
    np.testing.assert_allclose(permuted.W, plain.W[order], rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(permuted.H, plain.H, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("init", ["nndsvda", "nndsvd", "random"])
@pytest.mark.parametrize(("solver", "loss"), METHODS)
def test_scaled_data(fit, solver, loss, init, x64):
    if (solver, init) == ("mu", "nndsvd"):
        pytest.skip("multiplicative updates cannot leave zeros")
    kwargs = dict(loss=loss, solver=solver, init=init, tol=0, max_iter=30)
    plain, scaled = fit(X, **kwargs), fit(1000 * X, **kwargs)
    np.testing.assert_allclose(scaled.W, 1000 * plain.W, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(scaled.H, plain.H, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize(
    ("solver", "loss"),
    [
        ("hals", "frobenius"),
        ("mu", "kullback-leibler"),
        pytest.param("anls", "frobenius", marks=pytest.mark.slow),
        pytest.param("mu", "frobenius", marks=pytest.mark.slow),
    ],
)
def test_blocks_change_nothing(solver, loss, x64):
    x = np.asarray(counts(120, 40).X, np.float64)

    def run(op):
        problem = Problem(op, op.stats(), loss)
        return nmf(problem, 4, solver=solver, init="random", tol=0, max_iter=30)

    def blocks(bounds, of):
        return BlockOperator(
            lambda: lambda pieces: x[np.r_[tuple(pieces)]],
            of,
            np.array(bounds),
            40,
            np.dtype(np.float64),
        )

    plain = run(DenseOperator(x))
    for op in (
        CSROperator(sp.csr_matrix(x)),
        blocks([0, 120], DenseOperator),
        blocks([0, 50, 51, 120], DenseOperator),
        blocks([0, 40, 80, 120], lambda rows: CSROperator(sp.csr_matrix(rows))),
    ):
        other = run(op)
        np.testing.assert_allclose(other.W, plain.W, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(other.H, plain.H, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(other.trace.objective, plain.trace.objective)


@pytest.mark.parametrize(("solver", "loss"), METHODS)
def test_float32_is_close_to_float64(fit, solver, loss):
    import jax

    x = np.asarray(counts(120, 40).X)
    # To the end: on the way, rounding decides where momentum begins again.
    kwargs = dict(solver=solver, loss=loss, init="random", tol=0, max_iter=200)
    single = fit(x, **kwargs)
    assert single.W.dtype == single.H.dtype == np.float32
    with jax.enable_x64(True):
        double = fit(x.astype(np.float64), **kwargs)
    assert double.W.dtype == np.float64
    fits = single.W @ single.H, double.W @ double.H
    assert np.abs(fits[0] - fits[1]).max() < 1e-4 * fits[1].max()
    np.testing.assert_allclose(
        single.trace.objective, double.trace.objective, rtol=1e-4
    )


def test_best_of_several_starts(fit, x64):
    rng = np.random.default_rng(3)
    x = rng.random((30, 20)) ** 4
    seen = []

    def callback(iteration, report):
        if iteration == 1:
            seen.append([])
        seen[-1].append(report.objective)

    kwargs = dict(init="random", tol=0, max_iter=20)
    result = fit(x, 5, n_init=6, callback=callback, **kwargs)
    last = [objectives[-1] for objectives in seen]
    assert len(last) == 6
    assert max(last) > 1.001 * min(last)
    assert result.trace.objective[-1] == min(last)
    assert frobenius(x, result.W, result.H) == pytest.approx(min(last))


def test_a_given_start_is_not_changed(fit):
    rng = np.random.default_rng(0)
    start = rng.random((60, 4)), rng.random((4, 40))
    before = [factor.copy() for factor in start]
    fit(X.astype(np.float32), init=start, max_iter=3)
    for factor, copy in zip(start, before, strict=True):
        np.testing.assert_array_equal(factor, copy)


def test_convergence_is_that_of_the_documentation(fit, x64):
    """Projected gradients relative to the products, before every iteration."""
    residuals = []
    result = fit(
        X,
        tol=1e-3,
        max_iter=2000,
        callback=lambda _, report: residuals.append(report.residual),
    )
    assert result.trace.converged
    assert residuals[-1] <= 1e-3
    assert all(r > 1e-3 for r in residuals[:-1])


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e3, 1e9])
@pytest.mark.parametrize("init", ["nndsvda", "random"])
def test_units_do_not_matter(fit, scale, init):
    """Not the result, and not when a fit has converged."""
    plain, scaled = (fit(x.astype(np.float32), init=init) for x in (X, scale * X))
    assert abs(scaled.trace.n_iter - plain.trace.n_iter) <= 2
    expected = scale * (plain.W @ plain.H)
    error = np.linalg.norm(scaled.W @ scaled.H - expected) / np.linalg.norm(expected)
    assert error < 1e-3


def test_a_start_at_the_optimum_is_converged(fit):
    """For one component the singular vectors are the solution."""
    result = fit(X.astype(np.float32), 1)
    assert result.trace.converged
    assert result.trace.n_iter <= 3


def test_interrupted_between_starts(fit, monkeypatch):
    """What earlier starts found is kept, and it is said."""
    calls = []

    def interrupt(*args, **kwargs):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return initialise(*args, **kwargs)

    monkeypatch.setattr("nonneg.models.nmf.solver.initialise", interrupt)
    result = fit(X, init="random", n_init=5)
    assert len(calls) == 3
    assert result.trace.interrupted
    assert kkt_residual(X, result.W, result.H) < 1e-2
