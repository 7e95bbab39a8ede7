"""Graphs of neighbouring locations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Locations as far as the last neighbour, up to this, are neighbours as well: on a
# lattice the choice among them would depend on its orientation.
_TIE = 1.001

# Squared distance of labels in units of their scale, for any two different ones.
_OTHER_LABEL = 4.0


def neighbour_graph(
    coords: NDArray[np.floating[Any]],
    section: NDArray[np.intp],
    *,
    n_neighbours: int = 6,
    labels: NDArray[np.intp] | None = None,
    width: float = 1.0,
    label_width: float = 1.0,
) -> sp.csr_matrix:
    """Symmetric affinities of nearest neighbours within sections, with degrees near 1.

    ``exp(-d² / (s width)²)`` with s the distance of the last neighbour, and
    ``exp(-4 / label_width²)`` times that between locations of different labels; -1
    stands for no label, which is none of the others. Affinities are divided by the roots
    of both degrees, so that a location at the margin is held as much as one inside.
    """
    edges = neighbour_edges(coords, section, n_neighbours=n_neighbours, labels=labels)
    a = np.exp(-edges.squared / width**2)
    if labels is not None:
        a = a * np.exp(-edges.other / label_width**2)
    n = len(coords)
    graph = sp.csr_matrix((a, (edges.source, edges.target)), shape=(n, n))
    return balanced(graph)


class Edges(NamedTuple):
    """Pairs of neighbours, each in both directions."""

    source: NDArray[np.intp]
    target: NDArray[np.intp]
    squared: NDArray[np.float64]
    """Squared distances, in units of that of the last neighbour."""
    other: NDArray[np.float64]
    """The same of labels: 0 where they are equal."""


def neighbour_edges(
    coords: NDArray[np.floating[Any]],
    section: NDArray[np.intp],
    *,
    n_neighbours: int = 6,
    labels: NDArray[np.intp] | None = None,
) -> Edges:
    """Nearest neighbours within sections: each pair of which one is near the other."""
    rows, columns, values = [], [], []
    for s in np.unique(section):
        inside = np.flatnonzero(section == s)
        source, target, value = _section_edges(coords[inside], n_neighbours)
        rows.append(inside[source])
        columns.append(inside[target])
        values.append(value)
    i, j = np.concatenate(rows), np.concatenate(columns)
    squared = np.concatenate(values)
    n = len(coords)
    pairs, first = np.unique(np.concatenate([i * n + j, j * n + i]), return_index=True)
    source, target = np.divmod(pairs, n)
    squared = np.concatenate([squared, squared])[first]
    other = np.zeros(squared.size)
    if labels is not None:
        other[labels[source] != labels[target]] = _OTHER_LABEL
    return Edges(source, target, squared, other)


def balanced(graph: sp.csr_matrix) -> sp.csr_matrix:
    """Affinities divided by the roots of both degrees, in single precision."""
    degree = np.asarray(graph.sum(1)).ravel()
    scale = 1 / np.sqrt(np.where(degree > 0, degree, 1))
    return sp.csr_matrix(sp.diags(scale) @ graph @ sp.diags(scale), dtype=np.float32)


def _section_edges(
    coords: NDArray[np.floating[Any]], n_neighbours: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    n = len(coords)
    wanted = min(n_neighbours, n - 1)
    if wanted < 1:
        none = np.zeros(0, np.intp)
        return none, none, np.zeros(0)
    # Twice as many: room for ties.
    n_found = min(2 * wanted + 1, n)
    distance, index = cKDTree(coords).query(coords, k=n_found)
    source = np.repeat(np.arange(n), n_found).reshape(n, n_found)
    # A location itself may come second where several share a place.
    other = index != source
    distance = np.where(other, distance, np.inf)
    order = np.argsort(distance, axis=1, kind="stable")
    distance = np.take_along_axis(distance, order, 1)
    index = np.take_along_axis(index, order, 1)
    reach = distance[:, wanted - 1 : wanted]
    kept = distance <= reach * _TIE
    scale = float(np.median(reach)) or 1.0
    return source[kept], index[kept], (distance[kept] / scale) ** 2
