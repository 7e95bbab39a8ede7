"""Which regions touch, in volumes, graphs and ontologies; sets of them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.ndimage import binary_dilation

from nonneg.models.anatomy.regions import (
    graph_adjacency,
    grid_graph,
    lift,
    volume_adjacency,
)
from nonneg.models.anatomy.sets import (
    adjacent_pairs,
    adjacent_triples,
    connected_sets,
)


def blobs(shape, n_labels, seed=0):
    """Labels of the nearest of some centres; -1 in a corner."""
    rng = np.random.default_rng(seed)
    places = np.stack(np.indices(shape), -1).reshape(-1, len(shape))
    centres = rng.uniform(0, shape, (n_labels, len(shape)))
    away = np.linalg.norm(places[:, None] - centres, axis=2)
    codes = away.argmin(1).reshape(shape)
    codes[(slice(0, 3),) * len(shape)] = -1
    return codes


@pytest.mark.parametrize("shape", [(14, 17), (7, 8, 9)])
def test_labels_touch_as_dilation_says(shape):
    codes = blobs(shape, 9)
    touch = volume_adjacency(codes, 9)
    for i, j in combinations(range(9), 2):
        assert touch[i, j] == (binary_dilation(codes == i) & (codes == j)).any()
    assert (touch == touch.T).all()
    assert not touch.diagonal().any()
    assert touch.any()


@pytest.mark.parametrize("shape", [(14, 17), (7, 8, 9)])
def test_a_grid_is_a_graph(shape):
    codes = blobs(shape, 9)
    inside = codes >= 0
    graph = grid_graph(np.argwhere(inside) + 5)
    assert graph_adjacency(codes[inside], graph, 9).tolist() == (
        volume_adjacency(codes, 9).tolist()
    )
    assert graph.max() == 1
    assert (graph != graph.T).nnz == 0


def test_nested_regions_touch_where_their_labels_do():
    """Labels a b c d in a row; regions: each, ab, abc."""
    codes = np.array([0, 0, 1, 2, 3, 3])
    members = np.vstack([np.eye(4, dtype=bool), np.zeros((2, 4), bool)])
    members[4, :2] = members[5, :3] = True
    regions = lift(members, np.bincount(codes), volume_adjacency(codes, 4))
    assert regions.size.tolist() == [2, 1, 1, 2, 3, 4]
    pairs = {tuple(pair) for pair in adjacent_pairs(regions.adjacent).tolist()}
    assert pairs == {(0, 1), (1, 2), (2, 3), (2, 4), (3, 5)}
    triples = adjacent_triples(regions.adjacent, regions.disjoint)
    assert sorted(map(sorted, triples.tolist())) == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]


@pytest.mark.parametrize("seed", range(3))
def test_triples_are_all_that_are_connected(seed):
    rng = np.random.default_rng(seed)
    disjoint = sp.random(12, 12, 0.8, rng=rng).toarray() > 0
    disjoint = np.triu(disjoint, 1)
    disjoint |= disjoint.T
    adjacent = disjoint & (rng.random((12, 12)) < 0.4)
    adjacent &= adjacent.T
    for apart in (disjoint, None):
        found = adjacent_triples(adjacent, apart).tolist()
        expected = []
        for three in combinations(range(12), 3):
            edges = [adjacent[i, j] for i, j in combinations(three, 2)]
            pairs = [disjoint[i, j] for i, j in combinations(three, 2)]
            if sum(edges) >= 2 and (apart is None or all(pairs)):
                expected.append(list(three))
        assert sorted(map(sorted, found)) == expected


def test_no_more_regions_than_asked_for():
    adjacent = ~np.eye(4, dtype=bool)
    sizes = [
        [len(some) for some in connected_sets(adjacent, adjacent, most)]
        for most in (1, 2, 3)
    ]
    assert sizes == [[4], [4, 6], [4, 6, 4]]
