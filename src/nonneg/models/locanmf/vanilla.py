"""Semi-NMF of a movie without regions, from random footprints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .passes import place_footprints
from .search import Components, Fit, Loops, finish
from .solver import LocaNMFSolver
from .temporal import free_traces, nonnegative_traces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..loop import Callback
    from .problem import Movie
    from .solver import Options

# Share of the pixels that a footprint has at the start, as published.
_SHARE = 0.1


def fit_vanilla(
    movie: Movie,
    n_components: int,
    options: Options,
    kind: Literal["pooled", "mean"],
    *,
    seed: int,
    callback: Callback | None = None,
) -> Fit:
    """Footprints of random pixels; regions are those with most of their energy."""
    rng = np.random.default_rng(seed)
    n_pixels = len(movie.data)
    a = (rng.random((n_pixels, n_components)) < _SHARE).astype(np.float32)
    basis = a.T.astype(np.float64) @ movie.data / n_pixels
    basis /= np.maximum(np.linalg.norm(basis, axis=1, keepdims=True), 1e-30)
    traces = free_traces(basis)
    if options.nonnegative:
        traces = nonnegative_traces(np.maximum(basis @ movie.basis, 0), movie.basis)
    weight = np.zeros(n_components)
    nowhere = np.zeros(n_components, np.intp)
    solver = LocaNMFSolver(movie, options.free())
    footprints = place_footprints(movie, nowhere, a, n_components)
    loops = Loops(callback)
    state = loops.drive(solver, solver.init((footprints, traces, weight)))
    a = state.footprints.on_host()
    found = Components(strongest(movie, a), a, state.traces, weight, weight)
    return finish(movie, found, kind, loops)


def strongest(movie: Movie, a: NDArray[np.floating[Any]]) -> NDArray[np.intp]:
    """(K,): the region with most of the energy of each footprint."""
    energy = np.stack(
        [
            np.square(a[movie.rows(j)]).sum(axis=0, dtype=np.float64)
            for j in range(movie.n_regions)
        ]
    )
    return np.asarray(energy.argmax(axis=0), np.intp)
