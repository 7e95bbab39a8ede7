"""Variables that only some data sets have: UINMF against the published equations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.optimize import nnls as active_set

from nonneg.models.inmf import solver
from nonneg.models.inmf.problem import Loadings, Part, Penalties
from nonneg.models.inmf.solver import INMFSolver, inmf
from nonneg.models.inmf.summary import summarise
from nonneg.operators.dense import DenseOperator

RANK, N_SHARED, NAMES = 3, 20, ("a", "b", "c")
# Unshared variables: of a alone, of b and c, of none but c.
OWN = [("a",)] * 8 + [("b", "c")] * 5 + [("c",)] * 4
MEASURED = np.array(
    [[True] * N_SHARED + [name in names for names in OWN] for name in NAMES]
)
SIZES = (40, 60, 50)
PENALTIES = Penalties(np.array([0.5, 5.0, 2.0]), np.array([1.0, 0.4, 2.0]))


def simulate(seed=0, noise=0.1):
    rng = np.random.default_rng(seed)
    n_vars = MEASURED.shape[1]
    w = rng.gamma(0.4, 1, (RANK, n_vars))
    arrays, scores = [], []
    for n, has in zip(SIZES, MEASURED, strict=True):
        v = rng.gamma(0.2, 0.3, (RANK, n_vars))
        h = rng.gamma(0.4, 1, (n, RANK))
        arrays.append((h @ (w + v) + noise * rng.random((n, n_vars))) * has)
        scores.append(h)
    return arrays, scores


ARRAYS, TRUTH = simulate()


def read(arrays=ARRAYS, measured=MEASURED, *, scale=False):
    first = np.cumsum([0, *map(len, arrays)]).tolist()
    parts = [
        Part(DenseOperator(x), slice(first[d], first[d + 1]), d)
        for d, x in enumerate(arrays)
    ]
    return summarise(
        parts,
        NAMES,
        scale_cells=False,
        totals=None,
        scale_genes=scale,
        measured=measured,
        seed=0,
    )


def blocks(loadings, scores, arrays=ARRAYS):
    """The matrices of the paper, of every data set: X, Z, H, W, V, U."""
    rows = np.split(np.asarray(scores, float), np.cumsum(SIZES)[:-1])
    common = MEASURED.all(0)
    for x, h, v, has in zip(arrays, rows, loadings.V, MEASURED, strict=True):
        own = has & ~common
        yield (
            x[:, common],
            x[:, own],
            h,
            np.asarray(loadings.W)[:, common],
            v[:, common],
            v[:, own],
        )


def published(loadings, scores, penalties=PENALTIES):
    """The objective as printed, with weights of data sets."""
    total = 0.0
    found = zip(blocks(loadings, scores), *penalties, strict=True)
    for (x, z, h, w, v, u), lam, weight in found:
        value = np.square(x - h @ (w + v)).sum() + np.square(z - h @ u).sum()
        value += lam * (np.square(h @ v).sum() + np.square(h @ u).sum())
        total += weight * value
    return total


@pytest.mark.parametrize(("rule", "n_steps"), [("hals", 300), ("anls", 20), ("mu", 60)])
def test_the_published_objective_never_rises(rule, n_steps, x64):
    """Exact updates: no step is taken back, and none rises by more than rounding."""
    found = read()
    fit = INMFSolver(found, RANK, PENALTIES, rule)
    state = fit.init(0)
    values = []
    for _ in range(n_steps):
        state = fit.step(state)
        values.append(float(state.objective))
    assert values[-1] == pytest.approx(
        published(state.loadings, state.scores), rel=1e-9
    )
    assert (np.diff(values) <= 1e-11 * values[0]).all()
    # Nothing is fitted where there is nothing.
    assert not np.asarray(state.loadings.W)[:, ~MEASURED.all(0)].any()
    for v, has in zip(state.loadings.V, MEASURED, strict=True):
        assert not np.asarray(v)[:, ~has].any()


def test_first_order_conditions(x64):
    penalties = PENALTIES._replace(lam=np.array([2.0, 5.0, 3.0]))
    found = inmf(read(), RANK, penalties, tol=0, max_iter=800)
    of_w, scale, worst = 0.0, 0.0, 0.0

    def violation(factor, gradient, scale):
        relative = np.minimum(factor / factor.max(), gradient / scale)
        return np.abs(relative).max()

    each = zip(blocks(found.loadings, found.scores), *penalties, strict=True)
    for (x, z, h, w, v, u), lam, weight in each:
        of_x, of_z = h @ (w + v) - x, h @ u - z
        largest = np.abs(h.T @ x).max()
        of_h = of_x @ (w + v).T + of_z @ u.T + lam * h @ (v @ v.T + u @ u.T)
        of_v, of_u = (
            h.T @ (error + lam * h @ own) for error, own in ((of_x, v), (of_z, u))
        )
        worst = max(
            worst,
            violation(h, of_h, np.abs(x @ (w + v).T).max()),
            violation(v, of_v, largest),
            violation(u, of_u, largest),
        )
        of_w = of_w + weight * h.T @ of_x
        scale += weight * largest
    # HALS crawls at the end; 3e-5 after 1500 steps.
    assert max(worst, violation(w, of_w, scale)) < 1e-4


def test_all_shared_is_inmf(x64):
    """Exactly: the same numbers."""
    arrays = [x[:, :N_SHARED] for x in ARRAYS]
    everything = np.ones((len(SIZES), N_SHARED), bool)
    first, second = (
        inmf(read(arrays, measured), RANK, PENALTIES, max_iter=20)
        for measured in (None, everything)
    )
    for a, b in zip(
        (*first.loadings, first.scores), (*second.loadings, second.scores), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_two_implementations_agree(monkeypatch, x64):
    """Alternating exact least squares on stacked matrices, with SciPy's active sets."""
    rng = np.random.default_rng(3)
    found = read()
    start = found.data.measured(
        Loadings(
            rng.random((RANK, MEASURED.shape[1])),
            rng.random((3, RANK, MEASURED.shape[1])),
        )
    )
    monkeypatch.setattr(solver, "start", lambda *_, **__: start)
    ours = inmf(found, RANK, PENALTIES, solver="anls", tol=0, max_iter=6)
    common = MEASURED.all(0)
    w, v = np.array(start.W), np.array(start.V)
    values = []
    for _ in range(6):
        h = []
        for x, own, lam in zip(ARRAYS, v, PENALTIES.lam, strict=True):
            design = np.hstack([w + own, np.sqrt(lam) * own]).T
            right = np.hstack([x, np.zeros_like(x)])
            h.append(np.stack([active_set(design, row)[0] for row in right]))
        for _ in range(3):
            design = np.vstack(
                [np.sqrt(c) * s for s, c in zip(h, PENALTIES.weight, strict=True)]
            )
            for j in np.flatnonzero(common):
                rest = [
                    np.sqrt(c) * (x[:, j] - s @ own[:, j])
                    for x, s, own, c in zip(ARRAYS, h, v, PENALTIES.weight, strict=True)
                ]
                w[:, j] = active_set(design, np.concatenate(rest))[0]
            for d, (x, s, lam) in enumerate(zip(ARRAYS, h, PENALTIES.lam, strict=True)):
                design = np.vstack([s, np.sqrt(lam) * s])
                for j in np.flatnonzero(MEASURED[d]):
                    right = np.concatenate([x[:, j] - s @ w[:, j], np.zeros(len(s))])
                    v[d][:, j] = active_set(design, right)[0]
        values.append(published(Loadings(w, v), np.concatenate(h)))
    np.testing.assert_allclose(ours.trace.objective, values, rtol=1e-8)


def test_how_much_unshared_variables_count():
    """For given scores, what U explains counts 1 / (1 + lam) of what it would alone."""
    rng = np.random.default_rng(0)
    h, z, lam = rng.random((30, 3)), rng.random((30, 7)), 4.0
    gram = h.T @ h
    best = np.linalg.solve((1 + lam) * gram, h.T @ z)
    value = np.square(z - h @ best).sum() + lam * np.square(h @ best).sum()
    alone = np.square(h @ np.linalg.solve(gram, h.T @ z)).sum()
    assert value == pytest.approx(np.square(z).sum() - alone / (1 + lam))


def test_scales_are_those_of_the_data_sets_with_it(x64):
    scale = np.asarray(read(scale=True).data.gene_scale)
    np.testing.assert_array_equal(scale > 0, MEASURED)
    for d, (x, n) in enumerate(zip(ARRAYS, SIZES, strict=True)):
        rms = np.sqrt(np.square(x).sum(0) / (n - 1))
        np.testing.assert_allclose(scale[d][MEASURED[d]], 1 / rms[MEASURED[d]])


def test_recovery(x64):
    arrays, truth = simulate(noise=0.0)
    found = inmf(
        read(arrays),
        RANK,
        Penalties(np.full(3, 0.05), np.ones(3)),
        tol=1e-9,
        max_iter=2000,
    )
    for h, own in zip(
        truth, np.split(found.scores, np.cumsum(SIZES)[:-1]), strict=True
    ):
        r = np.corrcoef(h.T, own.T)[:RANK, RANK:]
        rows, columns = linear_sum_assignment(-r)
        assert r[rows, columns].min() > 0.97, r.round(3)


def test_dead_factors_come_back_with_shared_parts_only():
    """More factors than the data have: what is reseeded keeps to the rules."""
    rng = np.random.default_rng(1)
    arrays = [
        np.outer(rng.random(n), rng.random(MEASURED.shape[1])) * has
        for n, has in zip(SIZES, MEASURED, strict=True)
    ]
    found = inmf(read(arrays), 6, Penalties(np.ones(3), np.ones(3)), max_iter=60)
    assert not found.loadings.W[:, ~MEASURED.all(0)].any()
    values = np.array(found.trace.objective)
    # In single precision.
    assert (np.diff(values) <= 1e-5 * values[0]).all()
