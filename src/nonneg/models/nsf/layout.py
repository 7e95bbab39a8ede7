"""Locations and the inducing points that they depend on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from sklearn.cluster import KMeans, MiniBatchKMeans

from ..._core.typing import Floats
from .fields import Layout


def choose_inducing(
    sites: Floats, section: NDArray[np.intp], n_inducing: int, seed: int
) -> tuple[Floats, NDArray[np.intp]]:
    """All sites, or centres of k-means in every section in proportion to its size."""
    if n_inducing >= len(sites):
        return sites, section
    points, labels = [], []
    for s in np.unique(section):
        own = sites[section == s]
        n_own = max(round(n_inducing * len(own) / len(sites)), 1)
        if n_own < len(own):
            # Mini-batches are as good for covering a plane, and much faster.
            means = (KMeans if len(own) <= 10_000 else MiniBatchKMeans)(
                n_own, n_init=1, random_state=seed % 2**32
            )
            own = means.fit(own).cluster_centers_.astype(np.float64)
        points.append(own)
        labels.append(np.full(len(own), s))
    return np.concatenate(points), np.concatenate(labels)


def tie(
    sites: Floats,
    section: NDArray[np.intp],
    inducing: Floats,
    inducing_section: NDArray[np.intp],
    n_neighbors: int,
) -> Layout:
    """Find the inducing points that each site depends on."""
    sizes = np.bincount(inducing_section)
    width = min(n_neighbors, int(sizes.max()))
    neighbors = np.full((len(sites), width), -1, np.intp)
    for s in np.unique(section):
        rows, members = (np.flatnonzero(x == s) for x in (section, inducing_section))
        k = min(width, members.size)
        distance, nearest = cKDTree(inducing[members]).query(
            sites[rows], k=np.arange(1, k + 1)
        )
        neighbors[rows[:, None], np.arange(k)] = members[nearest]
        # A site at an inducing point needs no other.
        exact = rows[distance[:, 0] == 0]
        neighbors[exact, 1:] = -1
    used = int((neighbors >= 0).sum(1).max())
    return Layout(sites, section, inducing, inducing_section, neighbors[:, :used])
