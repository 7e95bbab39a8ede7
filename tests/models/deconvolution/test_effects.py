"""Factors of genes and of their entries, fitted with the amounts."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from nonneg.models.deconvolution.counts import CountLayer, Poisson
from nonneg.models.deconvolution.coupling import Coupling
from nonneg.models.deconvolution.effects import EffectLayer, _best
from nonneg.models.deconvolution.solver import DeconvolutionSolver
from nonneg.models.loop import drive
from nonneg.operators.dense import DenseOperator

N, K, G = 30, 3, 40
KINDS = {"genes": (0.1, 0.0), "entries": (0.0, 0.1), "both": (0.1, 0.1)}


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    b = rng.gamma(0.5, 1, (K, G)) + 0.02
    b /= b.sum(1, keepdims=True)
    factors = rng.lognormal(0, 0.5, G)
    shares = rng.dirichlet(np.full(K, 0.5), N)
    y = rng.poisson(rng.integers(200, 900, (N, 1)) * (shares @ (b * factors)))
    return y.astype(float), b


def layer_of(data, kind, group_weight=5.0):
    y, b = data
    op, size = DenseOperator(y), y.sum(1, keepdims=True)
    coupling = Coupling(
        group=jnp.zeros(N, int),
        group_size=jnp.full((1, 1), N),
        group_weight=group_weight,
    )
    return EffectLayer(
        lambda b: CountLayer(
            Poisson(op, jnp.asarray(size), jnp.asarray(b)), coupling, 1.0
        ),
        b,
        y.sum(0),
        size,
        *KINDS[kind],
        1.0,
    )


def solved(layer, *, accelerate=True, tol=1e-9, max_iter=5000):
    solver = DeconvolutionSolver(layer, tol, max_iter, accelerate)
    state, trace = drive(solver, solver.init(layer.start(np.full((N, K), K**-0.5))))
    return state, trace


@pytest.mark.parametrize("accelerate", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_objective_never_rises(kind, accelerate, data, x64):
    _, trace = solved(layer_of(data, kind), accelerate=accelerate, max_iter=300)
    objective = np.asarray(trace.objective)
    assert objective[0] - objective[-1] > 1
    assert (np.diff(objective) <= 1e-9 * abs(objective[0])).all()


@pytest.mark.parametrize("kind", KINDS)
def test_mean_factor_is_one(kind, data, x64):
    layer = layer_of(data, kind)
    state, _ = solved(layer)
    gene, entry = layer.factors(state.moved)
    if layer.gene_variance:
        assert np.average(gene, weights=layer.counted) == pytest.approx(1, abs=1e-9)
        assert gene.std() > 0.1
    if layer.entry_variance:
        np.testing.assert_allclose((layer.base * entry).sum(1), 1, atol=1e-9)


def test_strong_couplings_do_not_shrink_amounts(data, x64):
    """Larger factors would make room for smaller amounts, which are closer."""
    state, _ = solved(layer_of(data, "genes", group_weight=1e4))
    amounts = np.asarray(state.moved[0]) ** 2
    assert 0.8 < amounts.sum(1).mean() < 1.3


def test_factors_are_optimal():
    """Of a convex problem: the slope is a multiple of that of the mean."""
    rng = np.random.default_rng(1)
    counted, expected = rng.gamma(1, 20, (2, 5, 8))
    weight = rng.gamma(1, 1, (5, 8))
    weight[0, 0] = 0
    found = _best(counted, expected, 0.2, weight)
    np.testing.assert_allclose((weight * found).sum(1), weight.sum(1))
    slope = expected + 5 - (counted + 5) / found
    multiple = slope[:, -1:] / weight[:, -1:]
    np.testing.assert_allclose(slope, multiple * weight, atol=1e-6)


def test_ends_where_no_direction_leads_down(data, x64):
    """The slopes of the objective in amounts are zero, with factors at their best."""
    layer = layer_of(data, "genes")
    state, _ = solved(layer, tol=1e-12)
    roots = np.asarray(state.moved[0])
    rng = np.random.default_rng(2)
    at = float(layer((roots, None))[1])
    for _ in range(20):
        direction = rng.standard_normal(roots.shape) * (roots > 0.05)
        for length in (-1e-3, 1e-3):
            assert float(layer((roots + length * direction, None))[1]) > at
