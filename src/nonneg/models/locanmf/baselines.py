"""What localised components are compared with: region means, singular vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .problem import explained
from .vanilla import strongest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .problem import Floats, Movie


class Summary(NamedTuple):
    """Components in the form of a fit."""

    region: NDArray[np.intp]
    a: NDArray[np.float32]
    traces: NDArray[np.float64]
    localization: NDArray[np.float64]
    r2: NDArray[np.float64]


def region_means(movie: Movie) -> Summary:
    """Means over the pixels of each region."""
    region = np.arange(movie.n_regions)
    basis = np.stack(
        [movie.data[movie.rows(j)].mean(axis=0, dtype=np.float64) for j in region]
    )
    a = (movie.region[:, None] == region).astype(np.float32)
    return _summarise(movie, region, a, basis)


def leading_components(movie: Movie, n_components: int) -> Summary:
    """Singular vectors with the largest singular values."""
    gram = movie.data.T.astype(np.float64) @ movie.data
    basis = np.linalg.eigh(gram)[1][:, ::-1][:, :n_components].T
    a = movie.data @ basis.T
    # The sign is free: the larger side is positive.
    top = a[np.abs(a).argmax(axis=0), np.arange(n_components)]
    top = np.where(top == 0, 1, top)
    a, basis = a / top, basis * top[:, None]
    region = strongest(movie, a)
    energy = np.square(a).sum(axis=0) * np.square(basis).sum(axis=1)
    order = np.lexsort((-energy, region))
    return _summarise(movie, region[order], a[:, order], basis[order])


def _summarise(
    movie: Movie, region: NDArray[np.intp], a: Floats, basis: NDArray[np.float64]
) -> Summary:
    energy = np.square(a, dtype=np.float64)
    inside = np.where(movie.distance[:, region] == 0, energy, 0).sum(axis=0)
    # An orthonormal basis of the time courses: all that a regression can explain.
    span = np.linalg.svd(basis, full_matrices=False)
    span = span[2][span[1] > span[1][0] * 1e-10].astype(np.float32)
    r2 = np.empty(movie.n_regions)
    for j in range(movie.n_regions):
        rows = movie.rows(j)
        data = movie.data[rows]
        left = data - (data @ span.T) @ span
        misfit = np.square(left).sum(axis=1, dtype=np.float64)
        r2[j] = explained(misfit, movie.variance[rows], movie.energy[rows])
    return Summary(
        region,
        np.ascontiguousarray(a, np.float32),
        movie.scale * (basis @ movie.basis),
        inside / energy.sum(axis=0),
        r2,
    )
