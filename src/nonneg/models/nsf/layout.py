"""Locations and the inducing points that they depend on."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from sklearn.cluster import KMeans, MiniBatchKMeans

from ..._core.typing import Floats


class Layout(NamedTuple):
    """Locations and the inducing points that each of them depends on."""

    locations: Any
    """(n_locations, n_dims)"""
    section: Any
    """(n_locations,): fields of different sections are independent."""
    inducing: Any
    """(n_inducing, n_dims)"""
    inducing_section: Any
    neighbors: Any
    """(n_locations, n_neighbors): nearest inducing points of the section; -1 pads."""


def choose_inducing(
    locations: Floats,
    section: NDArray[np.intp],
    order: NDArray[np.intp],
    n_inducing: int,
    seed: int,
) -> tuple[Floats, NDArray[np.intp]]:
    """All locations, or centres of k-means in every section in proportion to its size.

    The start of k-means is drawn along ``order``.
    """
    if n_inducing >= len(locations):
        return locations, section
    points, labels = [], []
    for s in np.unique(section):
        own = locations[order[section[order] == s]]
        n_own = max(round(n_inducing * len(own) / len(locations)), 1)
        if n_own < len(own):
            # Mini-batches are as good for covering a plane, and much faster.
            means = (KMeans if len(own) <= 10_000 else MiniBatchKMeans)(
                n_own, n_init=1, random_state=seed % 2**32
            )
            own = means.fit(own).cluster_centers_.astype(np.float64)
        points.append(own)
        labels.append(np.full(len(own), s))
    return np.concatenate(points), np.concatenate(labels)


def make_layout(
    locations: Floats,
    section: NDArray[np.intp],
    inducing: Floats,
    inducing_section: NDArray[np.intp],
    n_neighbors: int,
) -> Layout:
    """Find the inducing points that each location depends on."""
    sizes = np.bincount(inducing_section)
    width = min(n_neighbors, int(sizes.max()))
    neighbors = np.full((len(locations), width), -1, np.intp)
    for s in np.unique(section):
        rows, members = (np.flatnonzero(x == s) for x in (section, inducing_section))
        k = min(width, members.size)
        distance, nearest = cKDTree(inducing[members]).query(
            locations[rows], k=np.arange(1, k + 1)
        )
        neighbors[rows[:, None], np.arange(k)] = members[nearest]
        # A location at an inducing point needs no other.
        exact = rows[distance[:, 0] == 0]
        neighbors[exact, 1:] = -1
    used = int((neighbors >= 0).sum(1).max())
    return Layout(locations, section, inducing, inducing_section, neighbors[:, :used])
