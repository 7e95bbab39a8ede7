"""The number of components of every region, on coarse pixels first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from ..loop import drive
from .passes import place_footprints
from .problem import binned, explained
from .solver import LocaNMFSolver
from .start import start_region
from .temporal import Traces, free_traces, nonnegative_traces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..loop import Callback
    from .problem import Movie
    from .solver import Options, State


# Of energies that are the same but for rounding, as in mirrored hemispheres.
_EQUAL = 1 - 1e-6
# Passes of fits that only say where components are missing. More of them would move
# components that are held back by far more than they should be.
_ROUGH_STEPS = 5


@dataclass(frozen=True)
class Ranks:
    """How many components a region may have, and how well it must be explained."""

    smallest: NDArray[np.intp]
    """(n_regions,)"""
    largest: NDArray[np.intp]
    step: int
    r2: float
    kind: Literal["pooled", "mean"]


class Components(NamedTuple):
    """Components of all regions, region by region."""

    region: NDArray[np.intp]
    a: NDArray[np.float32]
    traces: Traces
    weight: NDArray[np.float64]
    damping: NDArray[np.float64]

    def select(self, kept: NDArray[np.intp]) -> Components:
        """Some of them."""
        return Components(
            self.region[kept],
            np.ascontiguousarray(self.a[:, kept]),
            self.traces.select(kept),
            self.weight[kept],
            self.damping[kept],
        )


class Fit(NamedTuple):
    """What a search ends with: footprints of peak 1, by region and by energy."""

    region: NDArray[np.intp]
    """(K,)"""
    a: NDArray[np.float32]
    """(n_pixels, K)"""
    traces: NDArray[np.float64]
    """(K, n_frames)"""
    weight: NDArray[np.float64]
    damping: NDArray[np.float64]
    localization: NDArray[np.float64]
    r2: NDArray[np.float64]
    """(n_regions,)"""
    objective: list[float]
    """Share of the squares that is left, after every step."""
    n_iter: int
    converged: bool
    interrupted: bool


class Loops:
    """All loops of a search, as one."""

    def __init__(self, callback: Callback | None = None) -> None:
        self.callback = callback
        self.objective: list[float] = []
        self.converged = False
        self.interrupted = False

    def drive(self, solver: LocaNMFSolver, state: State) -> State:
        """One more, which counts on from those before."""
        done, callback = len(self.objective), self.callback
        state, trace = drive(
            solver,
            state,
            None if callback is None else lambda i, r: callback(done + i, r),
        )
        self.objective += trace.objective
        self.converged, self.interrupted = trace.converged, trace.interrupted
        return state


def search(
    movie: Movie,
    ranks: Ranks,
    options: Options,
    cell: NDArray[np.intp] | None,
    callback: Callback | None = None,
) -> Fit:
    """Add components to regions until each is explained.

    With ``cell``, the coarse pixel of every pixel, on means over these; all pixels take
    over with the components found there. Interrupted, what there is has been spread over
    all pixels.
    """
    loops = Loops(callback)
    found: Components | None = None
    if cell is not None:
        coarse, group = binned(movie, cell)
        found = _search_level(coarse, found, ranks, options, loops)
        found = found._replace(a=found.a[group])
    if found is None or not loops.interrupted:
        found = _search_level(movie, found, ranks, options, loops)
    return finish(movie, found, ranks.kind, loops)


def finish(
    movie: Movie, found: Components, kind: Literal["pooled", "mean"], loops: Loops
) -> Fit:
    """Peaks of 1, components that are left, in their order."""
    peak = found.a.max(axis=0)
    alive = np.flatnonzero(peak > 0)
    found = found.select(alive)
    r2 = regional_r2(movie, found, kind)
    a = found.a / peak[alive]
    scale = movie.scale * peak[alive, None].astype(np.float64)
    full = found.traces.full
    traces = scale * (found.traces.basis @ movie.basis if full is None else full)
    energy = np.square(a, dtype=np.float64)
    total = energy.sum(axis=0)
    inside = np.where(movie.distance[:, found.region] == 0, energy, 0).sum(axis=0)
    order = np.lexsort((-total * np.square(traces).sum(axis=1), found.region))
    return Fit(
        found.region[order],
        np.ascontiguousarray(a[:, order]),
        traces[order],
        found.weight[order],
        found.damping[order],
        (inside / total)[order],
        r2,
        loops.objective,
        len(loops.objective),
        loops.converged,
        loops.interrupted,
    )


def _search_level(
    movie: Movie,
    found: Components | None,
    ranks: Ranks,
    options: Options,
    loops: Loops,
) -> Components:
    """Fits with more and more components, to one set of pixels."""
    width = int(ranks.largest.sum())
    solver = LocaNMFSolver(movie, options)
    rough = LocaNMFSolver(movie, _held(movie, options))
    settled = found is not None
    if found is None:
        number = ranks.smallest.copy()
        changed = np.arange(movie.n_regions)
    else:
        number = np.bincount(found.region, minlength=movie.n_regions)
        changed = np.empty(0, np.intp)
    while True:
        try:
            fitted = _with_new(movie, found, number, changed, options)
            current = solver if settled else rough
            footprints = place_footprints(movie, fitted.region, fitted.a, width)
            weight = fitted.weight
            if not settled:
                weight = np.full(number.sum(), rough.options.weight)
            start = (footprints, fitted.traces, weight)
            state = loops.drive(current, current.init(start))
            if not settled:
                # Time courses stay, so that no component can leave its region.
                footprints.sweep(
                    state.traces.basis, state.traces.gram,
                    solver.penalties(state._replace(weight=fitted.weight)),
                    n_sweeps=options.n_sweeps, everywhere=True,
                )  # fmt: skip
            found = fitted._replace(
                a=footprints.on_host(),
                traces=state.traces,
                weight=state.weight if settled else fitted.weight,
                damping=state.damping,
            )
            r2 = regional_r2(movie, found, ranks.kind)
            poor = (r2 < ranks.r2) & (number < ranks.largest)
            changed = _growing(movie, found, poor)
        except KeyboardInterrupt:
            # Between two fits, or before the first step of one.
            if found is None:
                raise
            loops.converged, loops.interrupted = False, True
        if loops.interrupted or (settled and not changed.size):
            return found
        settled = not changed.size
        number[changed] = np.minimum(
            number[changed] + ranks.step, ranks.largest[changed]
        )


def _held(movie: Movie, options: Options) -> Options:
    """Options while regions have too few components.

    A source that nothing explains yet draws components of other regions, and those that
    have been there come back changed. So a footprint may not go farther than to the next
    region until all sources have a component.
    """
    rough = replace(options, max_iter=min(options.max_iter, _ROUGH_STEPS))
    if options.threshold in {0, 1}:
        return rough
    weight = 1 / movie.region_size
    return replace(rough, rule="scale-free", weight=weight, adaptive=False)


def _growing(
    movie: Movie, found: Components, poor: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Regions to which most of what they lack belongs.

    A source that is not explained yet is missing in the neighbours of its region too.
    The leading direction of what is left in a region is compared among regions, and
    only where it is strongest at home does the region grow. At least one does.
    """
    regions = np.flatnonzero(poor)
    if not regions.size:
        return regions
    basis = found.traces.basis.astype(np.float32)
    left = [
        movie.data[rows] - found.a[rows] @ basis for rows in map(movie.rows, regions)
    ]
    grams = [x.T.astype(np.float64) @ x for x in left]
    leading = [np.linalg.eigh(gram)[1][:, -1] for gram in grams]
    energy = np.array([[v @ gram @ v for v in leading] for gram in grams])
    return regions[np.diagonal(energy) >= _EQUAL * energy.max(axis=0)]


def _with_new(
    movie: Movie,
    found: Components | None,
    number: NDArray[np.intp],
    changed: NDArray[np.intp],
    options: Options,
) -> Components:
    """Components with those of some regions started anew.

    They start from what the components of other regions leave.
    """
    if found is not None and not changed.size:
        return found
    n_new = int(number[changed].sum())
    kept = (
        None
        if found is None
        else found.select(np.flatnonzero(~np.isin(found.region, changed)))
    )
    region = np.repeat(changed, number[changed])
    a = np.zeros((len(movie.data), n_new), np.float32)
    basis = np.zeros((n_new, movie.data.shape[1]))
    for j in changed:
        rows, new = movie.rows(j), np.flatnonzero(region == j)
        data = movie.data[rows]
        if kept is not None:
            data = data - kept.a[rows] @ kept.traces.basis.astype(np.float32)
        a[rows, new[0] : new[-1] + 1], basis[new] = start_region(data, new.size)
    weight = _first_weight(basis, movie, options)
    if kept is not None:
        region = np.concatenate([kept.region, region])
        a = np.concatenate([kept.a, a], axis=1)
        basis = np.concatenate([kept.traces.basis, basis])
        weight = np.concatenate([kept.weight, weight])
    order = np.argsort(region, kind="stable")
    traces = free_traces(basis[order])
    if options.nonnegative:
        traces = nonnegative_traces(
            np.maximum(basis[order] @ movie.basis, 0), movie.basis
        )
    return Components(
        region[order],
        np.ascontiguousarray(a[:, order]),
        traces,
        weight[order],
        np.zeros(len(order)),
    )


def _first_weight(
    basis: NDArray[np.float64], movie: Movie, options: Options
) -> NDArray[np.float64]:
    """Penalties per distance; absolute ones begin where relative ones would."""
    weight = np.full(len(basis), options.weight)
    if options.rule in {"energy", "scale-free"}:
        return weight
    if options.relative:
        return weight * np.square(basis).sum(axis=1)
    return weight / movie.scale**2


def regional_r2(
    movie: Movie, found: Components, kind: Literal["pooled", "mean"]
) -> NDArray[np.float64]:
    """(n_regions,): share of the variance over time that is explained."""
    # What the basis does not hold of time courses is a misfit too.
    outside = found.traces.gram - found.traces.basis @ found.traces.basis.T
    basis = found.traces.basis.astype(np.float32)
    r2 = np.empty(movie.n_regions)
    for j in range(movie.n_regions):
        rows = movie.rows(j)
        a = found.a[rows]
        left = np.square(movie.data[rows] - a @ basis).sum(axis=1, dtype=np.float64)
        if found.traces.full is not None:
            left = left + np.einsum("nk,nk->n", a @ outside, a)
        r2[j] = explained(left, movie.variance[rows], movie.energy[rows], kind)
    return r2
