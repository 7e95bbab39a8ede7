"""Regions: which observations they hold, which touch and which overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Regions(NamedTuple):
    """Regions as unions of labels, which no two observations' parts share.

    A region of an ontology holds the labels of all its descendants, and its own.
    """

    members: NDArray[np.bool_]
    """(n_regions, n_labels)"""
    size: NDArray[np.int64]
    """(n_regions,): observations in each."""
    disjoint: NDArray[np.bool_]
    """(n_regions, n_regions): have no observation in common."""
    adjacent: NDArray[np.bool_]
    """(n_regions, n_regions): are disjoint and touch."""


def volume_adjacency(
    codes: NDArray[np.integer[Any]], n_labels: int
) -> NDArray[np.bool_]:
    """Which labels of a grid touch across a face of their cells, in one pass.

    Codes below zero are background. The grid may have any number of axes.
    """
    touch = np.zeros((n_labels, n_labels), bool)
    for axis in range(codes.ndim):
        along = np.moveaxis(codes, axis, 0)
        _mark(touch, along[:-1].ravel(), along[1:].ravel())
    return touch | touch.T


def graph_adjacency(
    codes: NDArray[np.integer[Any]], graph: sp.csr_matrix, n_labels: int
) -> NDArray[np.bool_]:
    """Which labels have observations that are neighbours in a graph."""
    edges = graph.tocoo()
    touch = np.zeros((n_labels, n_labels), bool)
    _mark(touch, codes[edges.row], codes[edges.col])
    return touch | touch.T


def _mark(
    touch: NDArray[np.bool_],
    one: NDArray[np.integer[Any]],
    other: NDArray[np.integer[Any]],
) -> None:
    differ = (one >= 0) & (other >= 0) & (one != other)
    touch[one[differ], other[differ]] = True


def lift(
    members: NDArray[np.bool_],
    counts: NDArray[np.integer[Any]],
    touch: NDArray[np.bool_],
) -> Regions:
    """Regions of an ontology, from the labels that touch.

    Regions touch where labels of theirs do; one within the other are skipped, since
    their union is the larger one.
    """
    part = sp.csr_array(members.astype(np.float32))
    disjoint = (part @ part.T).toarray() == 0
    meet = (part @ sp.csr_array(touch.astype(np.float32)) @ part.T).toarray() > 0
    return Regions(
        members=members,
        size=np.asarray(members @ np.asarray(counts, np.int64)),
        disjoint=disjoint,
        adjacent=meet & disjoint,
    )


def grid_graph(position: NDArray[np.integer[Any]]) -> sp.csr_matrix:
    """Neighbours along the axes, of observations at different places of a grid."""
    n = len(position)
    place = position - position.min(axis=0) if n else position
    shape = tuple(place.max(axis=0) + 1) if n else (0,) * position.shape[1]
    volume = np.full(shape, -1, np.int64)
    volume[tuple(place.T)] = np.arange(n)
    one, other = [], []
    for axis in range(volume.ndim):
        along = np.moveaxis(volume, axis, 0)
        a, b = along[:-1].ravel(), along[1:].ravel()
        both = (a >= 0) & (b >= 0)
        one.append(a[both])
        other.append(b[both])
    i, j = np.concatenate(one), np.concatenate(other)
    ones = np.ones(2 * i.size, np.float32)
    edges = np.concatenate([i, j]), np.concatenate([j, i])
    return sp.csr_matrix((ones, edges), shape=(n, n))
