"""One step, two loops: driven on the host, or compiled, vmapped and differentiated."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp

from nonneg.models.factor.alternate import update_factor
from nonneg.models.factor.penalty import Penalty
from nonneg.models.factor.start import initialise
from nonneg.models.factor.traced_start import traced_start
from nonneg.models.loop import drive, run
from nonneg.models.nmf.frobenius import FrobeniusSolver
from nonneg.models.nmf.problem import Problem
from nonneg.models.nmf.solver import make_solver, nmf
from nonneg.operators.blocks import BlockOperator
from nonneg.operators.csr import CSROperator
from nonneg.operators.dense import DenseOperator
from nonneg.operators.weighted import WeightedOperator, weight_variables
from testing.nonneg import low_rank

RANK = 4
X = low_rank(60, 40, RANK)
RULES = {
    "hals": ("hals", "hals"),
    "mu": ("mu", "mu"),
    "anls": ("anls", "anls"),
    "seminmf": ("hals", "unconstrained"),
}


def start(x, seed=0):
    op = DenseOperator(np.asarray(x))
    rng = np.random.default_rng(seed)
    return initialise(op, RANK, init="nndsvda", stats=op.stats(), rng=rng)


def solver_of(op, rules, **kwargs):
    stats = op.stats()
    return FrobeniusSolver(op, stats.sq_norm, stats.row_sums, rules, **kwargs)


def compiled(solver, factors):
    return jax.jit(run)(solver, solver.init(tuple(map(jnp.asarray, factors))))


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_both_loops_agree(rules, x64):
    solver = solver_of(DenseOperator(X), rules, tol=1e-4, max_iter=150)
    factors = start(X)
    driven, trace = drive(solver, solver.init(factors))
    found = compiled(solver, factors)
    assert int(found.n_iter) == trace.n_iter > 3
    np.testing.assert_allclose(found.W, driven.W, rtol=0, atol=1e-9 * driven.W.max())
    np.testing.assert_allclose(found.H, driven.H, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.objective, driven.objective, rtol=1e-8)


def test_both_loops_agree_on_the_divergence(x64):
    op = DenseOperator(X)
    problem = Problem(op, op.stats(), "kullback-leibler")
    solver = make_solver(problem, "mu", tol=1e-3, max_iter=150)
    factors = start(X)
    driven, trace = drive(solver, solver.init(factors))
    found = compiled(solver, factors)
    assert int(found.n_iter) == trace.n_iter < 150
    np.testing.assert_allclose(found.W, driven.W, rtol=0, atol=1e-9 * driven.W.max())
    np.testing.assert_allclose(found.objective, driven.objective, rtol=1e-9)


def test_dead_components_are_revived_in_both(x64):
    w, h = start(X)
    h[2] = 0
    solver = solver_of(DenseOperator(X), RULES["hals"], tol=0, max_iter=4)
    driven, _ = drive(solver, solver.init((w, h)))
    found = compiled(solver, (w, h))
    assert driven.reseeds.tolist() == np.asarray(found.reseeds).tolist() == [0, 0, 1, 0]
    assert np.asarray(driven.H)[2].max() > 0
    np.testing.assert_allclose(found.H, driven.H, atol=1e-9)
    unaided = replace(solver, revives=False)
    assert np.asarray(drive(unaided, unaided.init((w, h)))[0].H)[2].max() == 0


def weight_vectors(n=8):
    """Bootstrap multiplicities."""
    rng = np.random.default_rng(1)
    return rng.multinomial(X.shape[1], np.full(X.shape[1], 1 / X.shape[1]), n)


@pytest.mark.slow
def test_a_batch_of_weights_is_as_many_fits(x64, compiled_as_users_do):
    """Each replicate starts from the data that it is weighted to."""
    op = DenseOperator(X)
    key = jax.random.key(0)

    def fit(scale, n_steps):
        weighted = WeightedOperator(op, scale)
        w, h = traced_start(weighted, RANK, key)
        sq_norm = (weighted.square_rmatmul(jnp.ones((X.shape[0], 1)))).sum()
        row_sums = weighted.matmul(jnp.ones((X.shape[1], 1)))[:, 0]
        solver = FrobeniusSolver(weighted, sq_norm, row_sums, tol=1e-5, max_iter=500)
        return run(solver, solver.init((w, h)), n_steps)

    scales = np.sqrt(weight_vectors())
    batch = jax.jit(jax.vmap(partial(fit, n_steps=30)))(jnp.asarray(scales))
    settled = jax.jit(jax.vmap(partial(fit, n_steps=None)))(jnp.asarray(scales))
    assert len(set(np.asarray(settled.n_iter).tolist())) > 1
    for i, scale in enumerate(scales):
        explicit = DenseOperator(X * scale)
        w, h = traced_start(explicit, RANK, key)
        solver = solver_of(explicit, RULES["hals"], tol=1e-5, max_iter=500)
        alone = jax.jit(run, static_argnums=2)(solver, solver.init((w, h)), 30)
        product = np.asarray(alone.W @ alone.H)
        np.testing.assert_allclose(
            batch.W[i] @ batch.H[i], product, rtol=0, atol=1e-8 * product.max()
        )
        driven, trace = drive(solver, solver.init((w, h)))
        # Rounding may move the step in which the tolerance is met.
        assert abs(int(settled.n_iter[i]) - trace.n_iter) <= 2
        np.testing.assert_allclose(settled.objective[i], driven.objective, rtol=1e-4)


def test_weights_are_repeated_variables(x64):
    times = weight_vectors(1)[0]
    repeated = np.repeat(X, times, axis=1)
    op = DenseOperator(repeated)
    expected = nmf(Problem(op, op.stats()), RANK, tol=1e-7, max_iter=2000)
    for base in (DenseOperator(X), CSROperator(sp.csr_matrix(X))):
        weighted = weight_variables(base, times)
        found = nmf(Problem(weighted, weighted.stats()), RANK, tol=1e-7, max_iter=2000)
        np.testing.assert_allclose(
            found.trace.objective[-1], expected.trace.objective[-1], rtol=1e-6
        )
        # Loadings are those of the scaled matrix.
        loadings = found.H[:, times > 0] / np.sqrt(times[times > 0])
        product = found.W @ loadings
        theirs = (expected.W @ expected.H)[:, np.cumsum(times)[times > 0] - 1]
        np.testing.assert_allclose(product, theirs, rtol=0, atol=1e-3 * theirs.max())


@pytest.mark.parametrize("rule", ["hals", "mu"])
def test_gradients_through_an_unrolled_fit(rule, x64):
    op = DenseOperator(X)
    factors = tuple(map(jnp.asarray, start(X)))

    def loss(parameters):
        l1, l2, scale = parameters
        weighted = WeightedOperator(op, scale)
        solver = FrobeniusSolver(
            weighted,
            1.0,
            None,
            (rule, rule),
            (Penalty(l1, l2), Penalty(0.0, 0.0)),
            max_iter=20,
            revives=False,
        )
        state = run(solver, solver.init(factors), n_steps=20)
        return jnp.square(jnp.asarray(X) - state.W @ (state.H / scale)).sum()

    at = (0.3, jnp.linspace(0.1, 0.5, RANK), jnp.linspace(0.5, 1.5, X.shape[1]))
    gradient = jax.jit(jax.grad(loss))(at)
    value = jax.jit(loss)
    for i in range(3):
        direction = np.random.default_rng(i).standard_normal(np.shape(at[i]))

        def moved(step, i=i, direction=direction):
            parameters = list(at)
            parameters[i] = at[i] + step * direction
            return float(value(tuple(parameters)))

        numeric = (moved(1e-5) - moved(-1e-5)) / 2e-5
        exact = float(np.sum(np.asarray(gradient[i]) * direction))
        assert abs(exact) > 1e-3
        assert exact == pytest.approx(numeric, rel=1e-4)


def kept(state):
    """The state of the solver inside, where steps are extrapolated."""
    return getattr(state, "kept", state)


def penalties(kind):
    """Weights of W: one, per component, or per row and component."""
    per_component = np.array([0.1, 0.5, 0.2, 2.0])
    per_entry = np.random.default_rng(2).random((X.shape[0], RANK))
    return {"number": 0.3, "component": per_component, "entry": per_entry}[kind]


@pytest.mark.parametrize("rule", ["hals", "mu"])
@pytest.mark.parametrize(
    "kind", ["number", pytest.param("component", marks=pytest.mark.slow), "entry"]
)
def test_penalties_of_rows_and_components(rule, kind, x64):
    """The optimality conditions hold, with the penalties written out."""
    l1, l2 = 0.5 * penalties(kind), penalties(kind)
    op = DenseOperator(X)
    problem = Problem(op, op.stats(), penalties=(Penalty(l1, l2), Penalty(0.1, 0.2)))
    solver = make_solver(problem, rule, tol=0, max_iter=20_000)
    state = kept(jax.jit(run)(solver, solver.init(tuple(map(jnp.asarray, start(X))))))
    w, h = np.asarray(state.W), np.asarray(state.H)
    error = w @ h - X
    of_w = error @ h.T + l1 + l2 * w
    of_h = w.T @ error + 0.1 + 0.2 * h
    for factor, gradient in ((w, of_w), (h, of_h)):
        # Multiplicative updates approach zeros slowly: entries count as they are large.
        weight = 1.0 if rule == "hals" else factor / factor.max()
        size = np.abs(weight * np.where(factor > 0, gradient, np.minimum(gradient, 0)))
        assert size.max() < (1e-6 if rule == "hals" else 1e-4) * np.abs(X @ h.T).max()
    expected = np.square(error).sum() / 2 + np.sum(l1 * w + l2 / 2 * w**2)
    expected += np.sum(0.1 * h + 0.1 * h**2)
    assert float(state.objective) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("rule", ["hals", "mu"])
def test_constant_penalties_in_every_form_are_the_same(rule, x64):
    full = np.full((X.shape[0], RANK), 0.4)
    found = [
        nmf(
            Problem(op, op.stats(), penalties=(Penalty(some, some), Penalty(0.4, 0.4))),
            RANK,
            solver=rule,
            tol=0,
            max_iter=30,
        )
        for op in [DenseOperator(X)]
        for some in (0.4, full[0], full)
    ]
    for other in found[1:]:
        np.testing.assert_allclose(other.W, found[0].W, atol=1e-10)


def test_a_large_penalty_empties_its_entries(x64):
    l2 = np.zeros((X.shape[0], RANK))
    l2[:20, 1] = 1e12
    op = DenseOperator(X)
    solver = make_solver(
        Problem(op, op.stats(), penalties=(Penalty(0.0, l2), Penalty())),
        "hals",
        tol=0,
        max_iter=50,
    )
    w = np.asarray(kept(drive(solver, solver.init(start(X)))[0]).W)
    assert w[:20, 1].max() < 1e-9
    assert w[20:, 1].max() > 0.1


def test_exact_rules_refuse_penalties_of_rows():
    l2 = np.ones((X.shape[0], RANK))
    op = DenseOperator(X)
    problem = Problem(op, op.stats(), penalties=(Penalty(0.0, l2), Penalty()))
    with pytest.raises(ValueError, match=r"differ between rows.*Use 'hals' or 'mu'"):
        nmf(problem, RANK, solver="anls")


def test_other_settings_compile_nothing():
    """Tolerances, numbers of iterations, penalties and seeds are values."""
    x = X.astype(np.float32)
    op = DenseOperator(x)

    def fit(penalty=0.1, tol=1e-3, max_iter=5, seed=0):
        problem = Problem(
            op, op.stats(), penalties=(Penalty(0.0, penalty), Penalty(0.0, penalty))
        )
        nmf(
            problem,
            RANK,
            init="random",
            tol=tol,
            max_iter=max_iter,
            seed=seed,
            n_init=2,
        )

    fit()
    before = update_factor._cache_size()
    fit(penalty=0.7, tol=1e-5, max_iter=9, seed=3)
    assert update_factor._cache_size() == before
    compiled_run = jax.jit(run)
    factors = tuple(map(jnp.asarray, start(x)))
    sizes = []
    for tol, max_iter in ((1e-3, 10), (1e-6, 30)):
        solver = solver_of(op, RULES["hals"], tol=tol, max_iter=max_iter)
        compiled_run(solver, solver.init(factors))
        sizes.append(compiled_run._cache_size())
    assert sizes[0] == sizes[1]


def streamed(x, size):
    """A matrix in blocks of rows, the last one shorter."""
    bounds = np.minimum(np.arange(-(-len(x) // size) + 1) * size, len(x))
    return BlockOperator(
        lambda: lambda rows: np.concatenate([x[r] for r in rows]),
        DenseOperator,
        bounds,
        x.shape[1],
        x.dtype,
    )


def test_streamed_blocks_compile_once():
    """Blocks of unequal length are padded to one shape."""
    x = low_rank(70, 33, RANK).astype(np.float32)

    def fit(x):
        op = streamed(x, 16)
        nmf(Problem(op, op.stats()), RANK, tol=0, max_iter=3)

    fit(x)
    before = update_factor._cache_size()
    fit(x[:61])
    fit(x[:50])
    # The last block differs in length, the loadings do not.
    assert update_factor._cache_size() == before


@pytest.mark.parametrize("rule", ["hals", "mu"])
def test_a_huge_penalty_of_one_component_leaves_the_others(rule):
    """In single precision too, where it dwarfs all else."""
    op = DenseOperator(X.astype(np.float32))
    l2 = np.array([0, 1e15, 0, 0], np.float32)
    problem = Problem(op, op.stats(), penalties=(Penalty(0.0, l2), Penalty()))
    solver = make_solver(problem, rule, tol=0, max_iter=20)
    state, _ = drive(solver, solver.init(start(X.astype(np.float32))))
    w = np.asarray(kept(state).W)
    assert w[:, 1].max() < 1e-6
    assert (w[:, [0, 2, 3]].max(0) > 0.1).all()


@pytest.mark.parametrize("where", ["scores", "loadings"])
@pytest.mark.parametrize("loss", ["frobenius", "kullback-leibler"])
def test_penalties_of_rows_in_streamed_blocks(where, loss, x64):
    """The rows of a block get their own."""
    shape = (X.shape[0] if where == "scores" else X.shape[1], RANK)
    some = Penalty(0.1, np.random.default_rng(3).random(shape))
    penalties = (
        (some, Penalty(0.1, 0.1)) if where == "scores" else (Penalty(0.1, 0.1), some)
    )
    fits = []
    for op in (DenseOperator(X), streamed(X, 17)):
        problem = Problem(op, op.stats(), loss, penalties)
        rule = "hals" if loss == "frobenius" else "mu"
        fits.append(nmf(problem, RANK, solver=rule, tol=0, max_iter=15))
    np.testing.assert_allclose(fits[1].W, fits[0].W, atol=1e-8)
    np.testing.assert_allclose(fits[1].trace.objective, fits[0].trace.objective)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(7), r"40 variables, but weights have shape \(7,\)"),
        (np.full(40, -1.0), "not negative"),
        (np.full(40, np.nan), "finite"),
        (np.zeros(40), "not all zero"),
    ],
)
def test_weights_that_are_none(weights, message):
    with pytest.raises(ValueError, match=message):
        weight_variables(DenseOperator(X), weights)


def test_weights_are_for_least_squares():
    op = weight_variables(DenseOperator(X), np.ones(40))
    with pytest.raises(NotImplementedError, match="for least squares"):
        nmf(Problem(op, op.stats(), "kullback-leibler"), RANK, solver="mu")
