"""Online iNMF: mini-batches, sums that forget, and where it ends."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import nnls as active_set

from nonneg.models.inmf import minibatches, summary
from nonneg.models.inmf.loadings import add, objectives
from nonneg.models.inmf.minibatches import MinibatchSampler
from nonneg.models.inmf.normalise import rescale
from nonneg.models.inmf.online import OnlineSolver, fit
from nonneg.models.inmf.problem import Loadings, Part, Penalties, SufficientStatistics
from nonneg.models.inmf.solver import inmf
from nonneg.models.inmf.start import start
from nonneg.models.inmf.summary import summarise
from nonneg.operators.blocks import BlockOperator
from nonneg.operators.csr import CSROperator
from nonneg.operators.dense import DenseOperator

RANK, N_VARS, SIZES, NAMES = 4, 30, (1400, 600), ("a", "b")
PLAIN = Penalties(np.full(2, 5.0), np.ones(2))


def simulate(sizes=SIZES, seed=0):
    rng = np.random.default_rng(seed)
    w = rng.gamma(0.4, 1, (RANK, N_VARS))
    arrays = []
    for n in sizes:
        v = rng.gamma(0.2, 0.5, (RANK, N_VARS))
        h = rng.dirichlet(np.full(RANK, 0.3), n)
        arrays.append(rng.poisson(8 * h @ (w + v)) / 2)
    return arrays


ARRAYS = simulate()


def as_sparse(x):
    return CSROperator(sp.csr_matrix(x))


def streamed(x, make=as_sparse, size=64):
    """Stored in pieces of 16 rows, read in blocks of more."""
    bounds, pieces = (
        np.unique([*range(0, len(x), step), len(x)]) for step in (size, 16)
    )
    return BlockOperator(
        lambda: lambda chosen: x[np.r_[tuple(chosen)]],
        make,
        bounds,
        x.shape[1],
        x.dtype,
        pieces,
    )


def read(arrays, *, names=NAMES, make=as_sparse, sets=None, **kwargs):
    """One part per array, one after the other."""
    first = np.cumsum([0, *map(len, arrays)]).tolist()
    sets = range(len(arrays)) if sets is None else sets
    parts = [
        Part(make(x), slice(*rows), d)
        for x, rows, d in zip(arrays, pairwise(first), sets, strict=True)
    ]
    return read_parts(parts, names, **kwargs)


def read_parts(parts, names=NAMES, **kwargs):
    options = dict(scale_cells=False, totals=None, scale_genes=False, seed=0)
    return summarise(parts, names, **(options | kwargs))


def solver_of(found, minibatch_size, penalties=PLAIN, **kwargs):
    sampler = MinibatchSampler(found.data, minibatch_size, 0)
    return OnlineSolver(sampler, found.sample, penalties, **kwargs)


def start_of(found, penalties=PLAIN):
    loadings = start(found.sample, RANK, penalties, seed=0, attempt=0)
    return solver_of(found, 100, penalties).begin(loadings)


def value_of(found, scored, penalties=PLAIN):
    value = objectives(
        found.data.sq_norm, scored.loadings, scored.statistics, penalties.lam
    )
    return float(penalties.weight @ value)


def exact(arrays, model, penalties):
    """Scores of all cells by an active set method, and the objective."""
    scores, value = [], 0.0
    for x, v, lam, weight in zip(arrays, model.V, *penalties, strict=True):
        system = np.concatenate([model.W + v, np.sqrt(lam) * v], axis=1).T
        sides = np.concatenate([x, np.zeros_like(x)], axis=1)
        solved = [active_set(system, side) for side in sides]
        scores.append(np.stack([h for h, _ in solved]))
        value += weight * sum(norm**2 for _, norm in solved)
    return scores, value


def residual_of_loadings(arrays, model, scores, penalties):
    """Largest violation of the optimality conditions of W and V, without unit."""
    of_w, worst, largest = 0.0, 0.0, 0.0
    for x, h, v, lam, weight in zip(arrays, scores, model.V, *penalties, strict=True):
        error = h.T @ (h @ (model.W + v) - x)
        scale = np.abs(h.T @ x).max()
        own = np.minimum(v / v.max(), (error + lam * h.T @ h @ v) / scale)
        worst = max(worst, np.abs(own).max())
        of_w, largest = of_w + weight * error, largest + weight * scale
    shared = np.minimum(model.W / model.W.max(), of_w / largest)
    return max(worst, np.abs(shared).max())


def assert_equal_states(first, second):
    for one, other in zip(
        (*first.loadings, *first.running, first.n_effective, first.step),
        (*second.loadings, *second.running, second.n_effective, second.step),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(first.objective, second.objective)
    np.testing.assert_array_equal(first.change, second.change)


# --- mini-batches -----------------------------------------------------------


def numbered(n, first=0):
    """Cells that can be told apart."""
    rng = np.random.default_rng(first)
    x = rng.random((n, 5))
    x[:, 0] = np.arange(first, first + n)
    return x


def mixed_codes(n, n_batches=2):
    return np.random.default_rng(0).choice(n_batches, n, p=[0.7, 0.3])


def case(name):
    """Parts, the number of cells per mini-batch and of windows."""
    n = 230
    x = numbered(n)
    a, b = slice(0, 160), slice(160, n)
    two = [(a, 0), (b, 1)]
    codes = mixed_codes(n)
    interleaved = [np.flatnonzero(codes == d) for d in range(2)]
    small = [(slice(0, 220), 0), (slice(220, 223), 1), (slice(223, n), 1)]
    tiny = [(slice(0, 222), 0), (slice(222, 229), 1), (slice(229, n), 1)]
    parts = {
        "memory": [Part(as_sparse(x[r]), r, d) for r, d in two],
        "dense": [Part(DenseOperator(x[r]), r, d) for r, d in two],
        "rows": [
            Part(as_sparse(x[r]), r, d)
            for r, d in zip(interleaved, (0, 1), strict=True)
        ],
        "streamed": [Part(streamed(x[r]), r, d) for r, d in two],
        "streamed-and-memory": [
            Part(streamed(x[a]), a, 0),
            Part(as_sparse(x[b]), b, 1),
        ],
        "streamed-and-dense": [
            Part(streamed(x[a], DenseOperator), a, 0),
            Part(DenseOperator(x[b]), b, 1),
        ],
        "mixed": [Part(streamed(x), slice(0, n), codes)],
        "mixed-and-memory": [
            Part(streamed(x[a]), a, codes[a]),
            Part(as_sparse(x[b]), b, 1),
        ],
        "small": [Part(as_sparse(x[r]), r, d) for r, d in small],
        "small-streamed": [Part(streamed(x[r]), r, d) for r, d in small],
        "tiny-in-memory": [
            Part((streamed if i == 0 else as_sparse)(x[r]), r, d)
            for i, (r, d) in enumerate(tiny)
        ],
        "tiny-dense": [
            Part(streamed(x[r], DenseOperator) if i == 0 else DenseOperator(x[r]), r, d)
            for i, (r, d) in enumerate(tiny)
        ],
    }[name]
    labels = np.empty(n, int)
    for part in parts:
        labels[part.rows] = part.batch
    return x, labels, read_parts(parts).data


IN_MEMORY = ["memory", "dense", "rows", "small"]
STREAMED = [
    "streamed",
    "streamed-and-memory",
    "streamed-and-dense",
    "mixed",
    "mixed-and-memory",
    "small-streamed",
    "tiny-in-memory",
    "tiny-dense",
]


@pytest.mark.parametrize(
    ("name", "window_bytes", "minibatch_size"),
    [
        *((name, 2**24, size) for name in IN_MEMORY + STREAMED for size in (23, 1000)),
        *((name, n_bytes, 23) for name in STREAMED for n_bytes in (1, 3000)),
    ],
)
def test_every_cell_once_per_epoch(
    name, window_bytes, minibatch_size, monkeypatch, x64
):
    monkeypatch.setattr(minibatches, "_WINDOW_BYTES", window_bytes)
    x, labels, data = case(name)
    sampler = MinibatchSampler(data, minibatch_size, 7)
    assert sampler.n_steps == (10 if minibatch_size == 23 else 1)
    orders = []
    for epoch in range(2):
        steps = list(sampler.steps(epoch, 0))
        assert len(steps) == sampler.n_steps
        blocks = [block for step in steps for block in step]
        order = np.concatenate([np.arange(len(x))[block.rows] for block in blocks])
        np.testing.assert_array_equal(np.sort(order), np.arange(len(x)))
        orders.append(order)
        for block in blocks:
            held = block.op.x
            held = held.toarray() if sp.issparse(held) else np.asarray(held)
            np.testing.assert_array_equal(held, x[block.rows])
            assert (labels[block.rows] == block.batch).all()
        # A data set is in one mini-batch once per part.
        for step in steps:
            pairs = [block.batch for block in step]
            assert len(pairs) <= len(data.parts) * 2
    if minibatch_size == 23:
        assert (orders[0] != orders[1]).any()


@pytest.mark.parametrize("window_bytes", [1, 3000, 2**24])
@pytest.mark.parametrize("name", ["memory", "small", "streamed", "mixed"])
def test_steps_may_be_skipped(name, window_bytes, monkeypatch, x64):
    monkeypatch.setattr(minibatches, "_WINDOW_BYTES", window_bytes)
    _, _, data = case(name)
    sampler = MinibatchSampler(data, 23, 7)

    def listed(first):
        return [
            [
                (block.batch, np.arange(len(data.parts) * 1000)[block.rows].tolist())
                for block in step
            ]
            for step in sampler.steps(1, first)
        ]

    everything = listed(0)
    assert len(everything) == 10
    for first in range(10):
        assert listed(first) == everything[first:]


def test_steps_hold_data_sets_in_proportion(monkeypatch, x64):
    """In memory exactly, and where pieces of files are drawn, nearly so."""
    arrays = [numbered(1400), numbered(600, 1400)]

    def sizes(found):
        steps = MinibatchSampler(found.data, 100, 0).steps(0, 0)
        counted = np.zeros((20, 2), int)
        for i, step in enumerate(steps):
            for block in step:
                counted[i, block.batch] += block.op.shape[0]
        return counted

    assert (sizes(read(arrays)) == [70, 30]).all()
    # Both data sets in several parts.
    thirds = [arrays[0][:703], arrays[1][:201], arrays[0][703:], arrays[1][201:]]
    assert np.abs(sizes(read(thirds, sets=[0, 1, 0, 1])) - [70, 30]).max() <= 2
    # Five windows.
    monkeypatch.setattr(minibatches, "_WINDOW_BYTES", 2000 * 5 * 8 // 5)
    assert np.abs(sizes(read(arrays, make=streamed)) - [70, 30]).max() <= 6
    codes = mixed_codes(2000)
    mixed = [Part(streamed(np.concatenate(arrays)), slice(0, 2000), codes)]
    shares = sizes(read_parts(mixed))
    np.testing.assert_array_equal(shares.sum(0), np.bincount(codes))
    assert np.abs(shares.sum(1) - 100).max() <= 6
    assert np.abs(shares[:, 0] - 70).max() <= 10


def test_many_small_data_sets_are_spread_over_mini_batches(x64):
    """Fewer cells in each than there are mini-batches, all of which are as large."""
    x = numbered(600)
    parts = [
        Part(as_sparse(x[first : first + 15]), slice(first, first + 15), d)
        for d, first in enumerate(range(0, 600, 15))
    ]
    found = read_parts(parts, [f"{d:02}" for d in range(40)])
    sampler = MinibatchSampler(found.data, 30, 0)
    for epoch in range(2):
        steps = list(sampler.steps(epoch, 0))
        assert [sum(b.op.shape[0] for b in step) for step in steps] == [30] * 20
        # At most one cell of each.
        assert max(block.op.shape[0] for step in steps for block in step) == 1


def test_windows_are_read_once_and_partly(monkeypatch, x64):
    """What is skipped is not read."""
    monkeypatch.setattr(minibatches, "_WINDOW_BYTES", 3000)
    x = numbered(230)
    op = streamed(x)
    data = read_parts([Part(op, slice(0, 230), mixed_codes(230))]).data
    seen = []
    op._open_rows = lambda: (
        lambda pieces: seen.extend(np.r_[tuple(pieces)]) or x[np.r_[tuple(pieces)]]
    )
    assert len(list(MinibatchSampler(data, 23, 0).steps(0, 0))) == 10
    assert sorted(seen) == list(range(230))
    seen.clear()
    assert len(list(MinibatchSampler(data, 23, 0).steps(0, 8))) == 2
    assert 40 < len(seen) < 120


# --- fit --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("minibatch_size", "n_epochs"), [(50, 5), (340, 8), (2000, 20), (5000, 20)]
)
def test_online_ends_near_batch(minibatch_size, n_epochs, monkeypatch, x64):
    # A start on a few cells leaves something to do.
    monkeypatch.setattr(summary, "SAMPLE_SIZE", 0)
    found = read(ARRAYS)
    state = start_of(found)
    _, at_start = exact(ARRAYS, state.loadings, PLAIN)
    solver = solver_of(found, minibatch_size)
    state, interrupted = fit(solver, state, n_epochs=n_epochs)
    assert not interrupted
    n_steps = -(-2000 // minibatch_size)
    assert state.step == n_epochs * n_steps == state.change.size
    assert state.objective.size == state.seconds.size == n_epochs
    scores = np.full((2000, RANK), np.nan)

    def keep(block, new):
        scores[block.rows] = new

    scored = solver.finish(state, keep, sort=True)
    dense, value = exact(ARRAYS, scored.loadings, PLAIN)
    assert value_of(found, scored) == pytest.approx(value, rel=1e-8)
    np.testing.assert_allclose(scores, np.concatenate(dense), atol=1e-6)
    for d, (h, x) in enumerate(zip(dense, ARRAYS, strict=True)):
        np.testing.assert_allclose(scored.statistics.gram[d], h.T @ h, rtol=1e-6)
        np.testing.assert_allclose(scored.statistics.product[d], h.T @ x, rtol=1e-6)
    norm = np.linalg.norm(scored.loadings.W + scored.loadings.V.mean(0), axis=1)
    np.testing.assert_allclose(norm, 1)
    full = inmf(found, RANK, PLAIN, tol=1e-7, max_iter=500)
    assert value_of(found, scored) < 1.005 * full.trace.objective[-1]
    # What it was estimated to be on the way, from sums in which recent cells count
    # more than others unless all come at once.
    rel = 1e-3 if n_steps == 1 else 0.05
    assert state.objective[-1] == pytest.approx(value, rel=rel)
    assert at_start > 1.01 * full.trace.objective[-1]


def test_order_is_kept_unless_asked_for(x64):
    found = read(ARRAYS)
    solver = solver_of(found, 340)
    state, _ = fit(solver, start_of(found), n_epochs=1)
    sorted_, kept = (
        solver.finish(state, lambda *_: None, sort=sort) for sort in (True, False)
    )
    assert value_of(found, kept) == pytest.approx(value_of(found, sorted_), rel=1e-10)
    cosine = np.einsum("kg,kg->k", kept.loadings.W, state.loadings.W) / (
        np.linalg.norm(kept.loadings.W, axis=1)
        * np.linalg.norm(state.loadings.W, axis=1)
    )
    np.testing.assert_allclose(cosine, 1)
    norm = np.linalg.norm(state.loadings.W + state.loadings.V.mean(0), axis=1)
    order = np.argsort(-np.einsum("dkk->k", state.running.gram) * norm**2)
    assert (order != np.arange(RANK)).any()
    np.testing.assert_allclose(sorted_.loadings.W, kept.loadings.W[order])
    np.testing.assert_allclose(sorted_.loadings.V, kept.loadings.V[:, order])


def test_sums_forget_over_an_epoch(x64):
    """They approach sums over all cells, of which there are as many in effect."""
    found = read(ARRAYS)
    full = inmf(found, RANK, PLAIN, tol=1e-8, max_iter=300)
    states = []
    state, _ = fit(
        solver_of(found, 200),
        solver_of(found, 200).begin(full.loadings),
        n_epochs=6,
        save=states.append,
    )
    assert len(states) == 60
    for i, one in enumerate(states, 1):
        share = 1 - 0.9**i
        np.testing.assert_allclose(one.n_effective, share * np.array(SIZES))
    for sums, exact_sums in zip(state.running, full.statistics, strict=True):
        for d in range(2):
            error = np.abs(sums[d] - exact_sums[d]).max()
            assert error < 0.05 * exact_sums[d].max()
    # Nothing moves much from where all is at its best.
    assert np.linalg.norm(state.loadings.W - full.loadings.W) < 0.02 * np.sqrt(RANK)


@pytest.mark.parametrize("make", [as_sparse, streamed])
def test_going_on_from_any_state(make, monkeypatch):
    """Bit by bit what it would have been, in float32 as users have it."""
    monkeypatch.setattr(minibatches, "_WINDOW_BYTES", 30_000)
    arrays = [x.astype(np.float32) for x in ARRAYS]
    found = read(arrays, make=make)
    states = [start_of(found)]
    solver = solver_of(found, 340)
    last, _ = fit(solver, states[0], n_epochs=2, save=states.append)
    assert len(states) == 1 + 12
    assert last is states[-1]
    for state in states:
        again, _ = fit(solver_of(found, 340), state, n_epochs=2)
        assert_equal_states(again, last)
    # More epochs than there were.
    more, _ = fit(solver, last, n_epochs=3)
    at_once, _ = fit(solver, states[0], n_epochs=3)
    assert_equal_states(more, at_once)
    assert more.step == 18


def test_going_on_with_a_dead_factor(x64):
    """Revived at the same time, whether or not the fit was interrupted."""
    found = read(ARRAYS)
    w, v = (np.array(x) for x in start_of(found).loadings)
    w[1], v[:, 1] = 0, 0
    states = []
    first = solver_of(found, 340).begin(Loadings(w, v))
    last, _ = fit(solver_of(found, 340), first, n_epochs=3, save=states.append)
    dead = [not np.einsum("dkk->k", s.running.gram)[1] for s in states]
    assert dead[:6] == [True] * 6
    assert not any(dead[6:])
    assert np.isfinite(last.loadings.W).all()
    assert last.loadings.W[1].any()
    for state in states:
        again, _ = fit(solver_of(found, 340), state, n_epochs=3)
        assert_equal_states(again, last)
    # It is of use.
    values = last.objective
    assert values[-1] < 0.9 * values[0]


def test_an_interrupted_fit_is_the_last_complete_state(x64):
    found = read(ARRAYS)
    first, states = start_of(found), []
    last, _ = fit(solver_of(found, 340), first, n_epochs=2, save=states.append)
    for n in (1, 6, 8):

        def stop(step, _, n=n):
            if step == n:
                raise KeyboardInterrupt

        solver = solver_of(found, 340)
        state, interrupted = fit(solver, first, n_epochs=2, callback=stop)
        assert interrupted
        assert_equal_states(state, states[n - 1])
        again, interrupted = fit(solver, state, n_epochs=2)
        assert not interrupted
        assert_equal_states(again, last)
    seen = []
    fit(
        solver_of(found, 340),
        first,
        n_epochs=2,
        callback=lambda step, report: seen.append((step, report.objective)),
    )
    assert [step for step, _ in seen] == list(range(1, 13))
    assert [value for _, value in seen[:5]] == [None] * 5
    assert [value for _, value in seen[5:]] == [
        *[last.objective[0]] * 6,
        last.objective[1],
    ]


def test_an_interruption_in_a_step(monkeypatch, x64):
    found = read(ARRAYS)
    first, states = start_of(found), []
    fit(solver_of(found, 340), first, n_epochs=1, save=states.append)
    step = OnlineSolver.step

    def interrupt_at(n):
        def run(solver, state, blocks):
            if state.step == n:
                raise KeyboardInterrupt
            return step(solver, state, blocks)

        monkeypatch.setattr(OnlineSolver, "step", run)

    interrupt_at(4)
    state, interrupted = fit(solver_of(found, 340), first, n_epochs=1)
    assert interrupted
    assert_equal_states(state, states[3])
    # There is nothing to keep.
    interrupt_at(0)
    with pytest.raises(KeyboardInterrupt):
        fit(solver_of(found, 340), first, n_epochs=1)


def test_one_seed_one_result(x64):
    found = read(ARRAYS)

    def run(seed):
        sampler = MinibatchSampler(found.data, 340, seed)
        return fit(
            OnlineSolver(sampler, found.sample, PLAIN), start_of(found), n_epochs=1
        )[0]

    assert_equal_states(run(0), run(0))
    assert np.abs(run(1).loadings.W - run(0).loadings.W).max() > 0


# --- weights ----------------------------------------------------------------


@pytest.mark.slow
def test_equal_weights_are_another_objective(x64):
    n = np.array(SIZES)
    equal = Penalties(PLAIN.lam, n.sum() / (2 * n))
    found = read(ARRAYS)
    for penalties, other in ((PLAIN, equal), (equal, PLAIN)):
        full = inmf(found, RANK, penalties, tol=-1, max_iter=250)
        scores = np.split(full.scores, np.cumsum(SIZES)[:-1])
        assert residual_of_loadings(ARRAYS, full.loadings, scores, penalties) < 1e-5
        assert residual_of_loadings(ARRAYS, full.loadings, scores, other) > 1e-3
        _, value = exact(ARRAYS, full.loadings, penalties)
        assert full.trace.objective[-1] == pytest.approx(value, rel=1e-6)
        solver = solver_of(found, 340, penalties)
        state, _ = fit(solver, start_of(found, penalties), n_epochs=6)
        scored = solver.finish(state, lambda *_: None, sort=True)
        assert value_of(found, scored, penalties) == pytest.approx(value, rel=0.005)
        dense, own = exact(ARRAYS, scored.loadings, penalties)
        assert value_of(found, scored, penalties) == pytest.approx(own, rel=1e-8)
        # Nearer to the optimum of its own objective.
        nearness = [
            residual_of_loadings(ARRAYS, scored.loadings, dense, p)
            for p in (penalties, other)
        ]
        assert nearness[0] < nearness[1] / 2


# --- data sets that arrive later --------------------------------------------


@pytest.fixture
def joint(x64):
    """Three data sets at their common optimum, of which the last is to arrive."""
    arrays = simulate((700, 400, 500), seed=0)
    penalties = Penalties(np.full(3, 5.0), np.ones(3))
    full = inmf(
        read(arrays, names=("a", "b", "c")), RANK, penalties, tol=-1, max_iter=250
    )
    known = SufficientStatistics(*(np.array(x) for x in full.statistics))
    for x in known:
        x[2] = 0
    arriving = read([arrays[2]], names=("a", "b", "c"), sets=[2])
    active = np.array([False, False, True])
    return arrays, penalties, full, known, arriving, active


@pytest.mark.slow
def test_known_sums_hold_the_optimum(joint):
    arrays, penalties, full, known, arriving, active = joint
    model, scores = full.loadings, np.split(full.scores, [700, 1100])
    assert residual_of_loadings(arrays, model, scores, penalties) < 1e-5
    solver = solver_of(arriving, 100, penalties, known=known, active=active)
    alone = solver_of(arriving, 100, penalties, active=active)

    def moved(solver, n_epochs):
        state, _ = fit(solver, solver.begin(model), n_epochs=n_epochs)
        np.testing.assert_array_equal(state.loadings.V[:2], model.V[:2])
        assert (state.loadings.V[2] != model.V[2]).any()
        distance = np.linalg.norm(state.loadings.W - model.W)
        return state, distance / np.linalg.norm(model.W)

    _, distance = moved(solver, 2)
    assert distance < 0.02
    # Old cells hold it there: without them it goes away.
    assert moved(alone, 2)[1] > 5 * distance
    # In units of their own, which are fixed again at the end.
    unit = np.array([1.0, 2.0, 0.5, 3.0])
    model = Loadings(*(x * unit[:, None] for x in model))
    known = rescale(known, 1 / unit, np.arange(RANK))
    solver = solver_of(arriving, 100, penalties, known=known, active=active)
    state, _ = moved(solver, 8)
    scored = solver.finish(state, lambda *_: None, sort=False)
    assert not scored.statistics.gram[:2].any()
    # Old sums come in the scale of the model: the objective is the one before.
    both = add(scored.statistics, scored.known)
    sq_norm = np.array([np.square(x).sum() for x in arrays])
    values = objectives(sq_norm, scored.loadings, both, penalties.lam)
    assert values.sum() == pytest.approx(full.trace.objective[-1], rel=0.002)
    assert value_of(arriving, scored, penalties) == pytest.approx(values[2])


def test_a_new_data_set_finds_its_part(joint):
    """From a start that knows nothing of it, beside what is known of the others."""
    arrays, penalties, full, known, arriving, active = joint
    v = np.array(full.loadings.V)
    v[2] = np.random.default_rng(0).random(v[2].shape) / 10
    solver = solver_of(arriving, 50, penalties, known=known, active=active)
    state, _ = fit(solver, solver.begin(Loadings(full.loadings.W, v)), n_epochs=10)
    np.testing.assert_array_equal(state.loadings.V[:2], v[:2])
    _, value = exact(arrays, state.loadings, penalties)
    assert value == pytest.approx(full.trace.objective[-1], rel=0.005)
    _, before = exact(arrays, Loadings(full.loadings.W, v), penalties)
    assert before > 1.05 * value
