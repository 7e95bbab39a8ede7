from __future__ import annotations

import numpy as np
import pytest

from nonneg.models.deconvolution.graph import neighbour_graph

ONE = np.zeros(49, np.intp)


@pytest.fixture
def lattice():
    return np.stack(np.divmod(np.arange(49), 7), 1).astype(float)


def test_symmetric_with_empty_diagonal(lattice):
    graph = neighbour_graph(lattice, ONE)
    assert abs(graph - graph.T).max() < 1e-7
    assert graph.diagonal().max() == 0
    assert graph.min() >= 0


def test_degrees_are_near_one(lattice):
    degree = np.asarray(neighbour_graph(lattice, ONE).sum(1))
    assert degree.min() > 0.7
    assert degree.max() < 1.3


def test_all_neighbours_at_one_distance(lattice):
    """Eight around a square: which two of four corners are nearest is chance."""
    graph = neighbour_graph(lattice, ONE, n_neighbours=6)
    assert graph[24].nnz == 8


def test_rotation_and_unit_do_not_matter(lattice):
    rng = np.random.default_rng(0)
    points = rng.random((49, 2))
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    for coords in (lattice, points):
        graph = neighbour_graph(coords, ONE).toarray()
        turned = neighbour_graph(250 * coords @ turn + 3, ONE).toarray()
        np.testing.assert_allclose(turned, graph, atol=1e-5)


def test_sections_have_no_edge_in_common(lattice):
    section = (np.arange(49) % 3).astype(np.intp)
    graph = neighbour_graph(lattice, section).tocoo()
    assert (section[graph.row] == section[graph.col]).all()


def test_labels_weaken_edges(lattice):
    labels = (lattice[:, 0] > 3).astype(np.intp)
    plain = neighbour_graph(lattice, ONE).tocoo()
    graph = neighbour_graph(lattice, ONE, labels=labels).tocoo()
    across = labels[graph.row] != labels[graph.col]
    crossing = labels[plain.row] != labels[plain.col]
    assert graph.data[across].sum() < 0.1 * plain.data[crossing].sum()


@pytest.mark.parametrize("n", [1, 2])
def test_few_locations(n):
    graph = neighbour_graph(np.arange(2.0 * n).reshape(n, 2), np.zeros(n, np.intp))
    assert graph.shape == (n, n)
    assert graph.nnz == (n - 1) * 2


def test_shared_places():
    coords = np.repeat(np.arange(5.0)[:, None], 4, 0) * [1, 0]
    graph = neighbour_graph(coords, np.zeros(20, np.intp), n_neighbours=3)
    assert np.isfinite(graph.data).all()
    assert graph.diagonal().max() == 0
