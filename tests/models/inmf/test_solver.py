"""Integrative NMF against formulas, and implementations, of its own in NumPy."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import linear_sum_assignment
from scipy.optimize import nnls as active_set

from nonneg.models.inmf import solver, summary
from nonneg.models.inmf import start as starting
from nonneg.models.inmf.loadings import objectives, update_loadings
from nonneg.models.inmf.problem import Loadings, Part, Penalties, SufficientStatistics
from nonneg.models.inmf.scores import exact_scores, update_scores
from nonneg.models.inmf.solver import inmf
from nonneg.models.inmf.summary import summarise
from nonneg.models.nmf.problem import Problem
from nonneg.models.nmf.solver import nmf
from nonneg.operators.blocks import BlockOperator
from nonneg.operators.csr import CSROperator
from nonneg.operators.dense import DenseOperator
from testing.nonneg import frobenius, kkt_residual

RANK, N_VARS, SIZES, NAMES = 4, 30, (50, 90), ("a", "b")
LAM = np.array([5.0, 5.0])
PLAIN = Penalties(LAM, np.ones(2))
UNEQUAL = Penalties(np.array([0.7, 6.0]), np.array([1.9, 0.4]))
PENALTIES = [pytest.param(PLAIN, id="plain"), pytest.param(UNEQUAL, id="unequal")]
SOLVERS = ["hals", "anls", "mu"]


def simulate(sizes=SIZES, seed=1):
    rng = np.random.default_rng(seed)
    w = rng.gamma(0.4, 1, (RANK, N_VARS))
    arrays = []
    for n in sizes:
        v = rng.gamma(0.2, 0.6, (RANK, N_VARS))
        h = rng.gamma(0.5, 1, (n, RANK))
        arrays.append(h @ (w + v) + 0.1 * rng.random((n, N_VARS)))
    return arrays


ARRAYS = simulate()


def read(arrays, *, names=NAMES, make=DenseOperator, **kwargs):
    """Data sets one after the other, as they are unless scaling is asked for."""
    first = np.cumsum([0, *map(len, arrays)]).tolist()
    parts = [
        Part(make(x), slice(first[d], first[d + 1]), d) for d, x in enumerate(arrays)
    ]
    return read_parts(parts, names, **kwargs)


def read_parts(parts, names=NAMES, **kwargs):
    options = dict(scale_cells=False, totals=None, scale_genes=False, seed=0)
    return summarise(parts, names, **(options | kwargs))


def as_sparse(x):
    return CSROperator(sp.csr_matrix(x))


def in_blocks(x, make=DenseOperator, size=50):
    bounds = np.unique([*range(0, len(x), size), len(x)])
    return BlockOperator(
        lambda: lambda pieces: x[np.r_[tuple(pieces)]],
        make,
        bounds,
        x.shape[1],
        x.dtype,
    )


def by_batch(rows, arrays):
    return np.split(rows, np.cumsum([len(x) for x in arrays])[:-1])


def objective(arrays, model, scores, penalties):
    """As documented, from dense residuals."""
    return sum(
        weight * (np.square(x - h @ (model.W + v)).sum() + lam * np.square(h @ v).sum())
        for x, h, v, lam, weight in zip(
            arrays, by_batch(scores, arrays), model.V, *penalties, strict=True
        )
    )


def residual(arrays, model, scores, penalties):
    """Largest violation of the optimality conditions of all factors, without unit."""
    w, of_w, worst, largest = model.W, 0.0, 0.0, 0.0
    for x, h, v, lam, weight in zip(
        arrays, by_batch(scores, arrays), model.V, *penalties, strict=True
    ):
        error = h @ (w + v) - x
        of_h = error @ (w + v).T + lam * h @ v @ v.T
        of_v = h.T @ error + lam * h.T @ h @ v
        of_w = of_w + weight * h.T @ error
        scales = np.abs(x @ (w + v).T).max(), np.abs(h.T @ x).max()
        largest += weight * scales[1]
        for factor, gradient, scale in zip((h, v), (of_h, of_v), scales, strict=True):
            worst = max(worst, violation(factor, gradient / scale))
    return max(worst, violation(w, of_w / largest))


def violation(factor, gradient):
    assert factor.min() >= 0
    return float(np.abs(np.minimum(factor / factor.max(), gradient)).max())


def start_from(monkeypatch, model):
    monkeypatch.setattr(solver, "start", lambda *_, **__: model)


def finite(result):
    return all(
        np.isfinite(x).all()
        for x in (
            *result.loadings,
            result.scores,
            *result.statistics,
            result.trace.objective,
        )
    )


# --- objective --------------------------------------------------------------


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("make", [DenseOperator, as_sparse, in_blocks])
def test_objective_from_products(make, scaled, x64):
    """That of dense residuals, for factors that are anything but a fit."""
    rng = np.random.default_rng(0)
    counts = [rng.poisson(x).astype(float) for x in ARRAYS]
    found = read(counts, make=make, scale_cells=scaled, scale_genes=scaled)
    model = Loadings(rng.random((RANK, N_VARS)), rng.random((2, RANK, N_VARS)))
    scores = rng.random((sum(SIZES), RANK))
    same = lambda h, *_: h  # noqa: E731
    _, sums = update_scores(found.data, model, UNEQUAL.lam, scores, same)
    values = objectives(found.data.sq_norm, model, sums, UNEQUAL.lam)
    expected = counts
    if scaled:
        expected = by_hand(counts)
    for d in range(2):
        alone = Penalties(UNEQUAL.lam, np.eye(2)[d])
        dense = objective(expected, model, scores, alone)
        assert values[d] == pytest.approx(dense, rel=1e-12)


def by_hand(arrays):
    """Divided by the sums of cells, then by root mean squares of genes."""
    out = []
    for x in arrays:
        totals = x.sum(1, keepdims=True)
        shares = x / np.where(totals > 0, totals, 1)
        rms = np.sqrt(np.square(shares).sum(0) / (len(x) - 1))
        out.append(shares / np.where(rms > 0, rms, 1))
    return out


@pytest.mark.parametrize("penalties", PENALTIES)
@pytest.mark.parametrize("solver", SOLVERS)
def test_objective_is_that_of_the_result(solver, penalties, x64):
    result = inmf(read(ARRAYS), RANK, penalties, solver=solver, tol=0, max_iter=7)
    assert result.trace.n_iter == 7
    assert not result.trace.converged
    direct = objective(ARRAYS, result.loadings, result.scores, penalties)
    assert result.trace.objective[-1] == pytest.approx(direct, rel=1e-12)
    # The sums that are stored are those of the scores.
    for d, (x, h) in enumerate(
        zip(ARRAYS, by_batch(result.scores, ARRAYS), strict=True)
    ):
        np.testing.assert_allclose(result.statistics.gram[d], h.T @ h, rtol=1e-10)
        np.testing.assert_allclose(result.statistics.product[d], h.T @ x, rtol=1e-10)
    norm = np.linalg.norm(result.loadings.W + result.loadings.V.mean(0), axis=1)
    np.testing.assert_allclose(norm, 1)
    contribution = np.square(result.scores).sum(0)
    assert (np.diff(contribution) <= 0).all()


@pytest.mark.parametrize("solver", ["hals", "mu"])
def test_float32_is_close_to_float64(solver):
    import jax

    # Until they are at rest: which steps are undone depends on rounding.
    kwargs = dict(solver=solver, tol=-1, max_iter=200)
    found = read([x.astype(np.float32) for x in ARRAYS])
    single = inmf(found, RANK, UNEQUAL, **kwargs)
    assert single.scores.dtype == single.loadings.W.dtype == np.float32
    with jax.enable_x64(True):
        double = inmf(read(ARRAYS), RANK, UNEQUAL, **kwargs)
    assert double.scores.dtype == double.loadings.V.dtype == np.float64
    assert single.trace.objective[-1] == pytest.approx(
        double.trace.objective[-1], rel=1e-4
    )
    fits = [r.scores @ r.loadings.W for r in (single, double)]
    assert np.abs(fits[0] - fits[1]).max() < 1e-3 * fits[1].max()
    direct = objective(ARRAYS, single.loadings, single.scores, UNEQUAL)
    assert single.trace.objective[-1] == pytest.approx(direct, rel=1e-4)


# --- descent and optimality -------------------------------------------------


@cache
def long_fit(solver, unequal):
    """Goes on long after nothing but rounding is left to change."""
    penalties = UNEQUAL if unequal else PLAIN
    return inmf(read(ARRAYS), RANK, penalties, solver=solver, tol=-1, max_iter=500)


@pytest.mark.parametrize("unequal", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
def test_objective_never_rises(solver, unequal, x64):
    values = np.array(long_fit(solver, unequal).trace.objective)
    assert values.size == 500
    assert (np.diff(values) <= 1e-12 * values[:-1]).all()
    assert values[-1] < (1 - 1e-4) * values[0]


@pytest.mark.parametrize("unequal", [False, True])
@pytest.mark.parametrize("solver", ["hals", "anls"])
def test_optimality_conditions(solver, unequal, x64):
    result = long_fit(solver, unequal)
    same, other = (UNEQUAL, PLAIN) if unequal else (PLAIN, UNEQUAL)
    assert residual(ARRAYS, result.loadings, result.scores, same) < 1e-5
    # Not so for other weights.
    assert residual(ARRAYS, result.loadings, result.scores, other) > 1e-3


def test_convergence_is_that_of_the_documentation(x64):
    result = inmf(read(ARRAYS), RANK, PLAIN, tol=1e-4)
    values = np.array(result.trace.objective)
    assert result.trace.converged
    # A step that was undone does not count.
    values = values[np.diff(values, prepend=np.inf) != 0]
    small = -np.diff(values) <= 1e-4 * values[1:]
    assert small[-1]
    assert not small[:-1].any()


# --- other implementations --------------------------------------------------


def coordinate_descent(factor, target, gram, n_sweeps):
    """Exact minimisers, one row of the factor at a time."""
    factor = factor.copy()
    for _ in range(n_sweeps):
        for j in range(len(gram)):
            step = (target[j] - gram[j] @ factor) / gram[j, j]
            factor[j] = np.maximum(factor[j] + step, 0)
    return factor


def stacked(factor, target, gram, n_sweeps):
    """The same quadratic form as least squares, by an active set method."""
    root = np.linalg.cholesky(gram).T
    sides = np.linalg.solve(root.T, target)
    return np.stack([active_set(root, side)[0] for side in sides.T], axis=1)


def reference(arrays, model, penalties, n_iter, solve, *, extrapolates=False):
    """Block coordinate descent as specified, with H of shape (k, n)."""
    w, v = model.W, np.array(model.V)
    h = [np.zeros((RANK, len(x))) for x in arrays]
    sets = range(len(arrays))
    lam, weight = penalties
    last, ahead = h, (w, v)
    share, limit, n_plain = 0.5, 1.0, 5
    values = [np.inf]
    for _ in range(n_iter):
        beta = 0.0 if n_plain or not extrapolates else share
        n_plain = max(n_plain - 1, 0)
        new_w, new_v = ahead[0], list(ahead[1])
        reached = []
        for d in sets:
            both = new_w + new_v[d]
            gram = both @ both.T + lam[d] * new_v[d] @ new_v[d].T
            reached.append(solve(h[d], both @ arrays[d].T, gram, 2))
        moved = [
            np.maximum(x + beta * (x - y), 0)
            for x, y in zip(reached, last, strict=True)
        ]
        s = [x @ x.T for x in moved]
        c = [x @ y for x, y in zip(moved, arrays, strict=True)]
        for _ in range(3):
            target = sum(weight[d] * (c[d] - s[d] @ new_v[d]) for d in sets)
            new_w = solve(new_w, target, sum(weight[d] * s[d] for d in sets), 1)
            for d in sets:
                to_v = c[d] - s[d] @ new_w
                new_v[d] = solve(new_v[d], to_v, (1 + lam[d]) * s[d], 1)
        new_v = np.array(new_v)
        scores = np.concatenate([x.T for x in moved])
        value = objective(arrays, Loadings(new_w, new_v), scores, penalties)
        if beta and value > values[-1]:
            last, ahead = h, (w, v)
            share, limit, n_plain = share / 1.5, share, 1
            values.append(values[-1])
            continue
        if beta:
            share, limit = min(1.05 * share, limit), min(1, 1.01 * limit)
        ahead = (
            np.maximum(new_w + beta * (new_w - w), 0),
            np.maximum(new_v + beta * (new_v - v), 0),
        )
        w, v, h, last = new_w, new_v, moved, reached
        values.append(value)
    return values[1:]


@pytest.mark.parametrize("penalties", PENALTIES)
@pytest.mark.parametrize(
    ("solver", "solve", "n_iter"),
    [("hals", coordinate_descent, 40), ("anls", stacked, 5)],
)
def test_same_as_numpy(solver, solve, n_iter, penalties, x64):
    found = read(ARRAYS)
    model = starting.start(found.sample, RANK, penalties, seed=3, attempt=0)
    expected = reference(
        ARRAYS, model, penalties, n_iter, solve, extrapolates=solver == "hals"
    )
    result = inmf(
        found, RANK, penalties, solver=solver, seed=3, tol=-1, max_iter=n_iter
    )
    np.testing.assert_allclose(result.trace.objective, expected, rtol=1e-10)


@pytest.mark.parametrize("unequal", [False, True])
def test_all_end_alike(unequal, x64):
    penalties = UNEQUAL if unequal else PLAIN
    hals, anls = (
        long_fit(solver, unequal).trace.objective[-1] for solver in ("hals", "anls")
    )
    assert hals <= anls * (1 + 1e-6)
    assert anls == pytest.approx(hals, rel=1e-6)
    found = read(ARRAYS)
    model = starting.start(found.sample, RANK, penalties, seed=0, attempt=0)
    expected = reference(ARRAYS, model, penalties, 600, coordinate_descent)
    assert hals == pytest.approx(expected[-1], rel=1e-6)


# --- what is found ----------------------------------------------------------


def test_recovery_of_known_factors(x64):
    """Every factor has cells and genes of its own in all data sets.

    The smaller the penalty, the closer are loadings to those without it, of which the
    shared part is as large as it can be.
    """
    rng = np.random.default_rng(1)
    w = rng.random((RANK, N_VARS)) * (rng.random((RANK, N_VARS)) < 0.4)
    w[:, :RANK] = np.eye(RANK)
    own = rng.random((RANK, N_VARS)) * (w == 0) * (rng.random((RANK, N_VARS)) < 0.5)
    own[:, :RANK] = 0
    owner = rng.integers(0, 2, (RANK, N_VARS))
    v = np.stack([own * (owner == d) for d in range(2)])
    scores = [rng.random((n, RANK)) * (rng.random((n, RANK)) < 0.4) for n in SIZES]
    for h in scores:
        h[:RANK] = np.eye(RANK)
    arrays = [h @ (w + one) for h, one in zip(scores, v, strict=True)]
    norm = np.linalg.norm(w + v.mean(0), axis=1, keepdims=True)
    w, v, scores = w / norm, v / norm, np.concatenate(scores) * norm.T
    errors = []
    for lam in (0.1, 0.01):
        penalties = Penalties(np.full(2, lam), np.ones(2))
        result = inmf(read(arrays), RANK, penalties, tol=-1, max_iter=500, seed=1)
        order = linear_sum_assignment(-w @ result.loadings.W.T)[1]
        shared, specific = result.loadings.W[order], result.loadings.V[:, order]
        errors.append(
            (
                np.abs(shared - w).max(),
                np.abs(shared + specific - w - v).max(),
                np.abs(result.scores[:, order] - scores).max() / scores.max(),
            )
        )
    first, last = np.array(errors)
    assert (last < 0.02).all()
    assert (last < first / 5).all()


@pytest.mark.parametrize("solver", ["hals", "anls"])
def test_large_penalty_is_joint_nmf(solver, x64):
    penalties = Penalties(np.full(2, 1e9), np.ones(2))
    result = inmf(read(ARRAYS), RANK, penalties, solver=solver, tol=-1, max_iter=200)
    assert result.loadings.V.max() < 1e-6
    x, w = np.concatenate(ARRAYS), result.loadings.W
    joint = 2 * frobenius(x, result.scores, w)
    assert result.trace.objective[-1] == pytest.approx(joint, rel=1e-6)
    assert kkt_residual(x, result.scores, w) < 1e-4
    op = DenseOperator(x)
    further = nmf(Problem(op, op.stats(), "frobenius"), RANK, init=(result.scores, w))
    assert joint == pytest.approx(2 * further.trace.objective[-1], rel=1e-3)


def test_specific_parts_where_data_sets_differ(x64):
    """A larger penalty leaves less to data sets alone."""
    sizes = []
    for lam in (0.1, 1.0, 10.0, 100.0):
        penalties = Penalties(np.array([lam, 1.0]), np.ones(2))
        result = inmf(read(ARRAYS), RANK, penalties, tol=1e-6, max_iter=60)
        own = [
            h @ v
            for h, v in zip(
                by_batch(result.scores, ARRAYS), result.loadings.V, strict=True
            )
        ]
        sizes.append(np.linalg.norm(own[0]))
    assert (np.diff(sizes) < 0).all()


# --- factors that nothing uses ----------------------------------------------


@pytest.mark.parametrize(
    ("solver", "zero"),
    [("hals", "both"), ("anls", "both"), ("hals", "shared"), ("hals", "specific")],
)
def test_dead_factors_are_revived(solver, zero, x64, monkeypatch):
    found = read(ARRAYS)
    two = inmf(found, 2, PLAIN, tol=1e-8, max_iter=200).trace.objective[-1]
    model = starting.start(found.sample, RANK, PLAIN, seed=0, attempt=0)
    w, v = (np.array(x) for x in model)
    if zero in {"both", "shared"}:
        w[1:3] = 0
    if zero in {"both", "specific"}:
        v[:, 1:3] = 0
    start_from(monkeypatch, Loadings(w, v))
    result = inmf(found, RANK, PLAIN, solver=solver, tol=-1, max_iter=100)
    assert finite(result)
    assert (result.scores > 0).any(0).all()
    values = np.array(result.trace.objective)
    assert (np.diff(values) <= 1e-12 * values[:-1]).all()
    # As many as are alive, and two factors cannot do that.
    assert values[-1] < 0.8 * two
    if zero == "both":
        assert values[0] > two


@pytest.mark.parametrize("solver", SOLVERS)
def test_no_division_by_zero(solver, x64):
    """A factor that no cell uses, and one that a single data set does not use."""
    rng = np.random.default_rng(0)
    scores = [rng.random((n, RANK)) for n in SIZES]
    for h in scores:
        h[:, 1] = 0
    scores[0][:, 2] = 0
    sums = SufficientStatistics(
        np.stack([h.T @ h for h in scores]),
        np.stack([h.T @ x for h, x in zip(scores, ARRAYS, strict=True)]),
    )
    model = Loadings(rng.random((RANK, N_VARS)), rng.random((2, RANK, N_VARS)))
    new = update_loadings(model, sums, UNEQUAL, solver)
    assert all(np.isfinite(x).all() for x in new)
    assert max(x.max() for x in new) < 1e3
    if solver != "mu":
        assert not new.W[1].any()
        assert not new.V[:, 1].any()
        assert not new.V[0, 2].any()
    assert new.W[2].any()
    values = [
        objective(ARRAYS, m, np.concatenate(scores), UNEQUAL) for m in (model, new)
    ]
    assert values[1] < values[0]
    # Others are what they are without it.
    rest = np.array([0, 2, 3])
    without = update_loadings(
        Loadings(model.W[rest], model.V[:, rest]),
        SufficientStatistics(sums.gram[:, rest][:, :, rest], sums.product[:, rest]),
        UNEQUAL,
        solver,
    )
    np.testing.assert_allclose(new.W[rest], without.W, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(new.V[:, rest], without.V, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    "solver", ["hals", pytest.param("anls", marks=pytest.mark.slow), "mu"]
)
def test_fewer_parts_than_components(solver, x64):
    """Data of rank 2, of rank 1, a data set without counts, and none with any."""
    rng = np.random.default_rng(0)
    h = [rng.random((n, 2)) for n in SIZES]
    w = rng.random((2, N_VARS))
    low = [x @ w for x in h]
    gaps = [x * (np.arange(N_VARS) > 5) * (np.arange(len(x)) > 7)[:, None] for x in low]
    for arrays in (
        low,
        gaps,
        [np.ones_like(x) for x in low],
        [low[0], np.zeros_like(low[1])],
        [np.zeros_like(x) for x in low],
    ):
        found = read(arrays)
        result = inmf(found, RANK, PLAIN, solver=solver, tol=1e-9, max_iter=100)
        assert finite(result)
        for d, (x, y) in enumerate(
            zip(arrays, by_batch(result.scores, arrays), strict=True)
        ):
            fitted = y @ (result.loadings.W + result.loadings.V[d])
            error = np.linalg.norm(x - fitted) / max(np.linalg.norm(x), 1)
            assert error < (0.1 if solver == "mu" else 0.02)
            if solver != "mu":
                assert not y[~x.any(1)].any()


# --- order, blocks and seeds ------------------------------------------------


def assert_alike(first, second, order=slice(None), batches=slice(None), rtol=1e-6):
    np.testing.assert_allclose(first.trace.objective, second.trace.objective, rtol=rtol)
    pairs = (
        (first.loadings.W, second.loadings.W),
        (first.loadings.V[batches], second.loadings.V),
        (first.scores[order], second.scores),
        (first.statistics.gram[batches], second.statistics.gram),
        (first.statistics.product[batches], second.statistics.product),
    )
    for one, other in pairs:
        assert np.abs(one - other).max() <= rtol * np.abs(other).max()


@pytest.mark.parametrize("solver", SOLVERS)
def test_order_of_data_sets(solver, x64):
    fit = partial(inmf, rank=RANK, solver=solver, tol=-1, max_iter=40)
    plain = fit(read(ARRAYS), penalties=UNEQUAL)
    # Cells in another order, with the same numbers of data sets.
    n = SIZES[1]
    parts = [
        Part(DenseOperator(ARRAYS[1]), slice(0, n), 1),
        Part(DenseOperator(ARRAYS[0]), slice(n, sum(SIZES)), 0),
    ]
    other = fit(read_parts(parts), penalties=UNEQUAL)
    order = np.roll(np.arange(sum(SIZES)), SIZES[1])
    assert_alike(plain, other, order)
    # And with other numbers.
    turned = Penalties(*(x[::-1] for x in UNEQUAL))
    other = fit(read(ARRAYS[::-1], names=NAMES[::-1]), penalties=turned)
    assert_alike(plain, other, order, slice(None, None, -1))


@pytest.mark.parametrize("solver", SOLVERS)
def test_blocks_change_nothing(solver, x64):
    """Cells of both data sets one among the other, in memory or as they come."""
    rng = np.random.default_rng(0)
    codes = rng.permutation(np.repeat([0, 1], SIZES))
    codes[50:100] = 1
    mixed = np.concatenate(ARRAYS)
    where = [np.flatnonzero(codes == d) for d in range(2)]
    n_cells = np.bincount(codes)
    assert n_cells.min() > RANK
    in_memory = [
        Part(as_sparse(mixed[rows]), rows, d)
        for d, rows in zip((0, 1), where, strict=True)
    ]
    streamed = [Part(in_blocks(mixed, as_sparse), slice(0, len(mixed)), codes)]
    results = []
    for parts in (in_memory, streamed):
        found = read_parts(parts, scale_cells=True, scale_genes=True)
        np.testing.assert_array_equal(found.data.n_cells, n_cells)
        results.append(inmf(found, RANK, UNEQUAL, solver=solver, tol=-1, max_iter=40))
    assert_alike(*results)


def test_one_seed_one_result(x64):
    runs = [
        inmf(read(ARRAYS, seed=s), RANK, PLAIN, seed=s, tol=-1, max_iter=20)
        for s in (4, 4, 5)
    ]
    for one, other in zip(
        (*runs[0].loadings, runs[0].scores, *runs[0].statistics),
        (*runs[1].loadings, runs[1].scores, *runs[1].statistics),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    assert runs[0].trace.objective == runs[1].trace.objective
    assert runs[0].trace.objective != runs[2].trace.objective


def test_best_of_several_starts(x64):
    rng = np.random.default_rng(4)
    arrays = [rng.random((n, N_VARS)) ** 4 for n in SIZES]
    seen = []

    def callback(iteration, report):
        if iteration == 1:
            seen.append([])
        seen[-1].append(report.objective)

    kwargs = dict(tol=-1, max_iter=20)
    result = inmf(read(arrays), RANK, PLAIN, n_init=5, callback=callback, **kwargs)
    last = [values[-1] for values in seen]
    assert len(last) == 5
    assert max(last) > 1.0001 * min(last)
    # Neither the first nor the last would do.
    assert min(last) < min(last[0], last[-1])
    assert result.trace.objective[-1] == min(last)
    direct = objective(arrays, result.loadings, result.scores, PLAIN)
    assert direct == pytest.approx(min(last), rel=1e-10)


def test_an_interrupted_fit_is_complete(x64):
    def callback(iteration, _):
        if iteration == 3:
            raise KeyboardInterrupt

    result = inmf(read(ARRAYS), RANK, PLAIN, n_init=2, callback=callback)
    assert result.trace.interrupted
    assert result.trace.n_iter == 3
    direct = objective(ARRAYS, result.loadings, result.scores, PLAIN)
    assert result.trace.objective[-1] == pytest.approx(direct, rel=1e-10)


# --- scaling and starting values --------------------------------------------


@pytest.mark.parametrize("make", [DenseOperator, as_sparse, in_blocks])
def test_scaling_is_that_of_scaled_data(make, x64):
    rng = np.random.default_rng(0)
    counts = [rng.poisson(2 * x).astype(float) for x in ARRAYS]
    counts[0][3] = 0
    counts[1][:, 4] = 0
    for x in counts:
        x[:, 5] = 0
    scaled = by_hand(counts)
    fit = partial(inmf, rank=RANK, penalties=UNEQUAL, tol=-1, max_iter=40)
    plain = fit(read(scaled))
    found = read(counts, make=make, scale_cells=True, scale_genes=True)
    implicit = fit(found)
    assert_alike(implicit, plain, rtol=1e-8)
    assert found.data.gene_scale[1, 4] == 1
    assert (found.data.gene_scale[:, 5] == 1).all()
    assert not implicit.scores[3].any()
    assert implicit.scores[4].any()
    np.testing.assert_array_equal(found.expressed, [(x > 0).any(0) for x in counts])
    totals = np.concatenate([x.sum(1) for x in counts])
    given = read(counts, make=make, scale_cells=True, scale_genes=True, totals=totals)
    assert_alike(fit(given), plain, rtol=1e-8)
    # Scales that are known are not computed again.
    known = np.full((2, N_VARS), np.nan)
    known[0] = 2
    given = read(
        counts, make=make, scale_cells=True, scale_genes=True, gene_scale=known
    )
    assert (given.data.gene_scale[0] == 2).all()
    np.testing.assert_array_equal(given.data.gene_scale[1], found.data.gene_scale[1])


def test_sample_is_of_each_data_set_and_scaled(monkeypatch, x64):
    monkeypatch.setattr(summary, "SAMPLE_SIZE", 0)
    rng = np.random.default_rng(0)
    counts = [rng.poisson(2, (n, N_VARS)).astype(float) for n in (150, 430)]
    found = read(counts, make=as_sparse, scale_cells=True, scale_genes=True)
    blocks = list(found.sample.blocks())
    # At least 200 of each, or all.
    assert found.sample.n_cells.tolist() == [150, 200]
    for d, _, op, scale in blocks:
        scaled = op.x.toarray() * scale
        expected = counts[d] / counts[d].sum(1, keepdims=True)
        distance = np.abs(scaled[:, None] - expected).max(2)
        # Each is another cell, and they are in order.
        assert distance.min(1).max() < 1e-14
        assert (np.diff(distance.argmin(1)) > 0).all()
    again = read(counts[::-1], names=NAMES[::-1], make=as_sparse)
    np.testing.assert_array_equal(
        again.sample.parts[0].op.x.toarray(), found.sample.parts[1].op.x.toarray()
    )


def test_a_start_is_made_of_cells(monkeypatch, x64):
    monkeypatch.setattr(starting, "_SAMPLE_ITERATIONS", 0)
    found = read(ARRAYS, scale_genes=True)
    model = starting.start(found.sample, RANK, PLAIN, seed=0, attempt=0)
    np.testing.assert_allclose(np.linalg.norm(model.W, axis=1), 1)
    for d, x in enumerate(ARRAYS):
        cells = x * found.data.gene_scale[d]
        cells /= np.linalg.norm(cells, axis=1, keepdims=True)
        distance = np.abs(model.V[d][:, None] - cells).max(2)
        assert distance.min(1).max() < 1e-12
        assert np.unique(distance.argmin(1)).size == RANK
    other = starting.start(found.sample, RANK, PLAIN, seed=0, attempt=1)
    assert np.abs(other.W - model.W).max() > 0.01
    assert np.abs(other.V - model.V).max() > 0.01


# --- exact scores -----------------------------------------------------------


@pytest.mark.parametrize("like", ["fit", "collinear"])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_exact_scores(precision, like):
    import jax

    rng = np.random.default_rng(0)
    with jax.enable_x64(precision == "float64"):
        arrays = [x.astype(precision) for x in ARRAYS]
        found = read(arrays, scale_genes=True)
        if like == "fit":
            model = inmf(found, RANK, UNEQUAL, tol=-1, max_iter=20).loadings
        else:
            # Loadings with an angle of ten degrees between them.
            w = 1 + 0.3 * rng.random((RANK, N_VARS))
            model = Loadings(w, 0.1 * rng.random((2, RANK, N_VARS)))
        scores = np.full((sum(SIZES), RANK), np.nan)

        def keep(block, new):
            scores[block.rows] = new

        sums = exact_scores(found.data, model, UNEQUAL.lam, keep)
    first = 0
    for d, x in enumerate(ARRAYS):
        scaled = x * found.data.gene_scale[d]
        v = np.asarray(model.V[d], float)
        system = np.concatenate([model.W + v, np.sqrt(UNEQUAL.lam[d]) * v], axis=1).T
        sides = np.concatenate([scaled, np.zeros_like(scaled)], axis=1)
        exact = np.stack([active_set(system, side)[0] for side in sides])
        own = scores[first : first + len(x)]
        first += len(x)
        tolerance = 1e-8 if precision == "float64" else 1e-3
        assert np.abs(own - exact).max() < tolerance * exact.max()
        np.testing.assert_allclose(sums.gram[d], own.T @ own, rtol=1e-5)
        np.testing.assert_allclose(sums.product[d], own.T @ scaled, rtol=1e-5)
