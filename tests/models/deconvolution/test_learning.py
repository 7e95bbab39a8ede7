"""The unrolled network: gradients, training, and that it is what is deployed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp

from nonneg.models.deconvolution.choose import gene_dispersion
from nonneg.models.deconvolution.fit import Budget, fit_mixture
from nonneg.models.deconvolution.graph import neighbour_edges, neighbour_graph
from nonneg.models.deconvolution.maps import Cells, Law, Simulator, split_cells
from nonneg.models.deconvolution.network import example_of, network_of, stacked
from nonneg.models.deconvolution.problem import Mixture, Tuning
from nonneg.models.deconvolution.train import search, train

N, K, G = 36, 3, 40
COORDS = np.stack(np.divmod(np.arange(N), 6), 1).astype(float)
SECTION = np.zeros(N, np.intp)
LABELS = (np.arange(N) // 18).astype(np.intp)
VALUES = {
    "graph_weight": 20.0,
    "group_weight": 4.0,
    "width": 0.9,
    "label_width": 1.2,
}
LIKELIHOODS = pytest.mark.parametrize(
    "likelihood", ["poisson", pytest.param("gaussian", marks=pytest.mark.slow)]
)


def values_of(likelihood):
    skipped = {"group_weight"} if likelihood == "gaussian" else set()
    return {name: v for name, v in VALUES.items() if name not in skipped}


@pytest.fixture
def make_map():
    rng = np.random.default_rng(0)
    profile = rng.gamma(0.5, 1, (K, G)) + 0.02
    code = np.repeat(np.arange(K), 30)
    single = rng.poisson(200 * profile[code] / profile[code].sum(1, keepdims=True))
    cells = Cells(sp.csr_matrix(single, dtype=np.float32), code)
    halves = split_cells(cells, rng)
    means = halves.signatures.means(K)
    profiles = means / means.sum(1, keepdims=True)
    depths = rng.integers(50, 200, N).astype(float)
    simulate = Simulator(
        halves.locations, K, COORDS, depths, LABELS, law=Law(noise=0.0)
    )

    def make():
        drawn = simulate(rng)
        graph = neighbour_graph(
            COORDS,
            SECTION,
            labels=LABELS,
            width=VALUES["width"],
            label_width=VALUES["label_width"],
        )
        return Mixture(drawn.counts, profiles, graph, LABELS), drawn.shares

    return make


def network(likelihood, n_layers=6):
    edges = neighbour_edges(COORDS, SECTION, labels=LABELS)
    return network_of(edges, LABELS, likelihood, n_layers)


def parameters(likelihood, dtype=None):
    return {n: jnp.asarray(np.log(v), dtype) for n, v in values_of(likelihood).items()}


@LIKELIHOODS
def test_gradients_against_finite_differences(likelihood, make_map, x64):
    net, at = network(likelihood), parameters(likelihood)
    example = example_of(*make_map(), likelihood, gene_weights=False)
    slope = jax.jit(jax.grad(net.error))(at, example)
    error = jax.jit(net.error)
    step = 1e-5
    for name in at:
        up, down = (error(at | {name: at[name] + s}, example) for s in (step, -step))
        difference = float(up - down) / (2 * step)
        assert float(slope[name]) == pytest.approx(difference, rel=1e-4, abs=1e-9)
        assert abs(difference) > 1e-7


@LIKELIHOODS
def test_what_is_trained_is_what_is_deployed(likelihood, make_map):
    mixture, truth = make_map()
    example = example_of(mixture, truth, likelihood, gene_weights=True)
    trained = network(likelihood).amounts(parameters(likelihood), example)
    values = values_of(likelihood)
    deployed = fit_mixture(
        mixture,
        Tuning(values["graph_weight"], values.get("group_weight", 0.0)),
        likelihood,
        dispersion=gene_dispersion(mixture, likelihood),
        budget=Budget(-np.inf, 6),
    )
    assert deployed.trace.n_iter == 6
    np.testing.assert_allclose(np.asarray(trained), deployed.amounts, atol=1e-3)


@pytest.fixture
def lesson(make_map):
    maps = [example_of(*make_map(), "poisson", gene_weights=False) for _ in range(6)]
    return network("poisson"), stacked(maps[:4]), stacked(maps[4:])


# All locations of a region alike: far from where it should be.
BAD = VALUES | {"graph_weight": 3.0, "group_weight": 3000.0}


def trained(lesson, start=BAD, callback=None, seed=0, **kwargs):
    options = dict(batch_size=2, learning_rate=0.5, max_iter=30, patience=6)
    return train(
        *lesson,
        start,
        **options | kwargs,
        rng=np.random.default_rng(seed),
        callback=callback,
    )


def test_training_lowers_the_validation_error(lesson):
    found = trained(lesson)
    assert found.error < 0.9 * found.first_error
    assert found.error == min(found.trace.objective)
    assert found.numbers["group_weight"] < 1000
    assert len(found.losses) == found.trace.n_iter


def test_stops_when_nothing_improves(lesson):
    found = trained(lesson, VALUES, learning_rate=3.0, patience=1)
    assert found.trace.n_iter < 30
    assert found.error <= found.first_error


def test_interruption_keeps_the_best_so_far(lesson):
    def stop(iteration, report):
        if iteration == 12:
            raise KeyboardInterrupt

    found = trained(lesson, callback=stop)
    assert found.trace.interrupted
    assert found.trace.n_iter == 12
    assert found.error < found.first_error


def test_search_at_random(lesson):
    net, maps, _ = lesson
    first = search(net, maps, list(VALUES), np.random.default_rng(0), n_trials=3)
    more = search(net, maps, list(VALUES), np.random.default_rng(0), n_trials=8)
    assert first[2] == 3
    assert set(first[0]) == set(VALUES)
    assert more[1] <= first[1]


def test_cells_are_used_once():
    rng = np.random.default_rng(0)
    code = np.repeat([0, 1], [40, 3])
    counts = sp.csr_matrix(np.arange(1.0, 44)[:, None], dtype=np.float32)
    halves = split_cells(Cells(counts, code), rng)
    first, second = (set(h.counts.toarray()[h.code == 0, 0]) for h in halves)
    assert not first & second
    assert len(first) == len(second) == 20
    # Three are too few to halve.
    assert all((h.code == 1).sum() == 3 for h in halves)


def test_maps(make_map):
    mixture, shares = make_map()
    np.testing.assert_allclose(shares.sum(1), 1)
    assert mixture.counts.sum(1).min() > 0
    assert mixture.counts.dtype == np.float32
