"""Layers: objectives never rise, and end where independent solvers end."""

from __future__ import annotations

from dataclasses import fields, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import minimize

from nonneg.models.deconvolution.counts import CountLayer, NegativeBinomial, Poisson
from nonneg.models.deconvolution.coupling import Coupling
from nonneg.models.deconvolution.graph import neighbour_graph
from nonneg.models.deconvolution.least_squares import LeastSquaresLayer, Quadratic
from nonneg.models.deconvolution.solver import DeconvolutionSolver
from nonneg.models.loop import drive, run
from nonneg.operators.csr import CSROperator
from nonneg.operators.dense import DenseOperator

N, K, G = 36, 4, 30


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    b = rng.gamma(0.5, 1, (K, G)) + 0.02
    b /= b.sum(1, keepdims=True)
    shares = rng.dirichlet(np.full(K, 0.5), N)
    y = rng.poisson(rng.integers(50, 300, (N, 1)) * (shares @ b)).astype(float)
    coords = np.stack(np.divmod(np.arange(N), 6), 1).astype(float)
    graph = neighbour_graph(coords, np.zeros(N, np.intp)).toarray().astype(float)
    group = np.arange(N) % 2
    return y, b, graph, group


# What two groups are expected to hold, or their means.
TARGETS = {"mean": None, "given": np.array([[0.7, 0.1, 0.1, 0.1], [0, 0.5, 0.3, 0.2]])}
EACH_TARGET = pytest.mark.parametrize("prototypes", TARGETS.values(), ids=TARGETS)


def coupling_of(graph, group, *, weight=20.0, group_weight=5.0, prototypes=None):
    return Coupling(
        prototypes=None if prototypes is None else jnp.asarray(prototypes),
        graph=DenseOperator(jnp.asarray(graph)),
        degree=jnp.asarray(graph.sum(1, keepdims=True)),
        graph_weight=weight,
        group=jnp.asarray(group),
        group_size=jnp.asarray(np.bincount(group)[:, None].astype(float)),
        group_weight=group_weight,
    )


def layer_of(name, data, coupling=None, op=DenseOperator):
    y, b, graph, group = data
    if coupling is None:
        coupling = coupling_of(graph, group)
    size = jnp.asarray(y.sum(1, keepdims=True))
    if name == "gaussian":
        z = y / y.sum(1, keepdims=True) * G
        return LeastSquaresLayer(
            jnp.asarray(z @ b.T * G),
            jnp.asarray(b @ b.T * G**2),
            float((z**2).sum()),
            Quadratic(**{f.name: getattr(coupling, f.name) for f in fields(Quadratic)}),
            1.0,
        )
    x = op(y if op is DenseOperator else sp.csr_matrix(y))
    if name == "poisson":
        likelihood = Poisson(x, size, jnp.asarray(b))
    else:
        likelihood = NegativeBinomial(x, size, jnp.asarray(b), jnp.full(G, 2.0))
    return CountLayer(likelihood, coupling, 1.0)


def solved(layer, *, accelerate=True, tol=1e-12, max_iter=3000):
    solver = DeconvolutionSolver(layer, tol, max_iter, accelerate)
    state, trace = drive(solver, solver.init(np.full((N, K), K**-0.5)))
    return np.asarray(state.moved) ** 2, trace


LAYERS = ["poisson", "negative_binomial", "gaussian"]


@pytest.mark.parametrize(
    ("accelerate", "target"), [(False, "mean"), (True, "mean"), (True, "given")]
)
@pytest.mark.parametrize("name", LAYERS)
def test_objective_never_rises(name, accelerate, target, data, x64):
    coupling = coupling_of(*data[2:], prototypes=TARGETS[target])
    layer = layer_of(name, data, coupling)
    _, trace = solved(layer, accelerate=accelerate, max_iter=200)
    objective = np.asarray(trace.objective)
    assert objective[0] - objective[-1] > 1
    assert (np.diff(objective) <= 1e-9 * abs(objective[0])).all()


@pytest.mark.parametrize("name", LAYERS)
def test_extrapolation_ends_at_the_same_place_sooner(name, data, x64):
    plain, slow = solved(layer_of(name, data), accelerate=False, tol=1e-8)
    quick, fast = solved(layer_of(name, data), tol=1e-8)
    np.testing.assert_allclose(quick, plain, atol=1e-3)
    assert 2 * fast.n_iter < slow.n_iter


def objective_of_counts(roots, data, prototypes=None, *, weight=20.0, group_weight=5.0):
    """Written down once more, with its gradient in square roots."""
    y, b, graph, group = data
    s = roots.reshape(N, K)
    size = y.sum(1, keepdims=True)
    mean = (s**2) @ b + 1e-300
    value = (size * (s**2)).sum() - (y * np.log(mean)).sum()
    slope = 2 * s * (size - (y / mean) @ b.T)
    for i in range(N):
        for j in range(N):
            value += weight / 2 * graph[i, j] * ((s[i] - s[j]) ** 2).sum()
            slope[i] += 2 * weight * graph[i, j] * (s[i] - s[j])
    for r in range(2):
        inside = group == r
        centre = s[inside].mean(0) if prototypes is None else prototypes[r] ** 0.5
        away = s[inside] - centre
        value += group_weight * (away**2).sum()
        slope[inside] += 2 * group_weight * away
    return value, slope.ravel()


@EACH_TARGET
def test_poisson_with_couplings_against_an_independent_optimum(prototypes, data, x64):
    """The problem is convex in amounts: any descent ends at its one optimum."""
    coupling = coupling_of(*data[2:], prototypes=prototypes)
    found, trace = solved(layer_of("poisson", data, coupling))
    best = minimize(
        objective_of_counts,
        np.full(N * K, K**-0.5),
        args=(data, prototypes),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * (N * K),
        options=dict(maxiter=3000, maxfun=6000, ftol=1e-15, gtol=1e-9),
    )
    assert trace.objective[-1] == pytest.approx(best.fun, rel=1e-9)
    np.testing.assert_allclose(found, best.x.reshape(N, K) ** 2, atol=1e-4)


@EACH_TARGET
def test_couplings_are_convex(prototypes, data, x64):
    """Along the line between any two points, in amounts, by what the layer says."""
    coupling = coupling_of(*data[2:], prototypes=prototypes)

    def value(amounts):
        roots = jnp.sqrt(amounts)
        return float(coupling.bound(roots, coupling.around(roots)).value.sum())

    rng = np.random.default_rng(1)
    for _ in range(20):
        # Some of them absent, where slopes are infinite.
        a, b = rng.gamma(0.3, 1, (2, N, K)) * (rng.random((2, N, K)) < 0.8)
        ends = value(a), value(b)
        for t in (0.01, 0.3, 0.5, 0.99):
            assert value(t * a + (1 - t) * b) < t * ends[0] + (1 - t) * ends[1]


def to_simplex(v):
    u = -np.sort(-v, 1)
    c = (np.cumsum(u, 1) - 1) / np.arange(1, K + 1)
    rho = (u > c).sum(1)
    return np.maximum(v - c[np.arange(len(v)), rho - 1][:, None], 0)


@EACH_TARGET
def test_least_squares_against_projected_fista(prototypes, data, x64):
    y, b, graph, group = data
    z, signatures = y / y.sum(1, keepdims=True) * G, b * G
    laplacian = np.diag(graph.sum(1)) - graph
    gram, product = signatures @ signatures.T, z @ signatures.T
    bound = np.linalg.norm(gram, 2) + 20 * np.linalg.norm(laplacian, 2) + 5
    member = np.eye(2)[group]
    means = member @ np.diag(1 / member.sum(0)) @ member.T

    def away(v):
        return v - (means @ v if prototypes is None else prototypes[group])

    v = w = np.full((N, K), 1 / K)
    t = 1.0
    for _ in range(4000):
        slope = w @ gram - product + 20 * laplacian @ w + 5 * away(w)
        new = to_simplex(w - slope / bound)
        step = (1 + np.sqrt(1 + 4 * t * t)) / 2
        w, v, t = new + (t - 1) / step * (new - v), new, step
    coupling = coupling_of(graph, group, prototypes=prototypes)
    found, trace = solved(layer_of("gaussian", data, coupling))
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-9)
    value = ((z - v @ signatures) ** 2).sum() + 20 * np.trace(v.T @ laplacian @ v)
    value += 5 * (away(v) ** 2).sum()
    assert trace.objective[-1] == pytest.approx(value, rel=1e-7)
    np.testing.assert_allclose(found, v, atol=1e-4)


@pytest.mark.parametrize(
    "name", ["poisson", pytest.param("gaussian", marks=pytest.mark.slow)]
)
def test_gradients_of_unrolled_layers(name, data, x64):
    """Of a loss after a fixed number of layers, with respect to weights."""
    layer = layer_of(name, data, coupling_of(*data[2:], prototypes=TARGETS["given"]))
    target = jnp.asarray(np.random.default_rng(3).dirichlet(np.ones(K), N))

    @jax.jit
    def loss(logarithm):
        weights = {name: jnp.exp(value) for name, value in logarithm.items()}
        coupling = replace(layer.coupling, **weights)
        solver = DeconvolutionSolver(
            replace(layer, coupling=coupling), accelerate=False
        )
        state = run(solver, solver.init(jnp.full((N, K), K**-0.5)), n_steps=15)
        shares = state.moved**2
        shares = shares / shares.sum(1, keepdims=True)
        return ((shares - target) ** 2).sum()

    at, h = {"graph_weight": jnp.log(20.0), "group_weight": jnp.log(5.0)}, 1e-4
    slope = jax.grad(loss)(at)
    for name, value in at.items():
        up, down = (loss(at | {name: value + step}) for step in (h, -h))
        numeric = float(up - down) / (2 * h)
        assert float(slope[name]) == pytest.approx(numeric, rel=1e-5)


def test_both_loops_agree(data, x64):
    layer = layer_of("poisson", data)
    solver = DeconvolutionSolver(layer, 1e-6, 500)
    driven, trace = drive(solver, solver.init(np.full((N, K), K**-0.5)))
    found = jax.jit(run)(solver, solver.init(jnp.full((N, K), K**-0.5)))
    assert int(found.n_iter) == trace.n_iter
    np.testing.assert_allclose(found.moved, driven.moved, atol=1e-8)


def test_stored_entries_and_dense_agree(data):
    dense, _ = solved(layer_of("poisson", data), max_iter=100)
    stored, _ = solved(layer_of("poisson", data, op=CSROperator), max_iter=100)
    np.testing.assert_allclose(stored, dense, atol=2e-3)


def test_amounts_sum_to_one_without_coupling(data, x64):
    """The depth is the total count, which maximum likelihood explains exactly."""
    layer = replace(layer_of("poisson", data), coupling=Coupling())
    found, _ = solved(layer)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    "name", ["poisson", pytest.param("gaussian", marks=pytest.mark.slow)]
)
def test_depth_does_not_matter_without_coupling(name, data, x64):
    y, b, graph, group = data
    factor = np.random.default_rng(5).uniform(0.3, 3, (N, 1))
    free = coupling_of(graph, group, weight=0.0, group_weight=0.0)
    found, _ = solved(layer_of(name, data, free))
    deeper, _ = solved(layer_of(name, (factor * y, b, graph, group), free))
    np.testing.assert_allclose(deeper, found, atol=1e-4)


def test_support(data):
    support = np.zeros((N, K), np.float32)
    support[:, :2] = 1
    layer = replace(layer_of("poisson", data), support=jnp.asarray(support))
    found, _ = solved(replace(layer, coupling=Coupling()), max_iter=50)
    assert (found[:, 2:] == 0).all()
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-4)


def test_no_counts_and_no_pull():
    """Nothing is divided by zero."""
    y = np.zeros((2, 3), np.float32)
    layer = CountLayer(
        Poisson(DenseOperator(y), jnp.zeros((2, 1)), jnp.ones((2, 3))), Coupling(), 1.0
    )
    moved, value = layer(jnp.ones((2, 2)))
    assert np.isfinite(np.asarray(moved)).all()
    assert value == 0
