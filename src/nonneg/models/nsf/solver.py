"""A whole fit: kernels, then factors."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ..._core.namespace import set_rows
from ..._core.precision import float64
from ..._core.random import stream
from ..._core.typing import Floats
from ..loop import drive
from .ascent import Ascent
from .exchange import exchange
from .model import FactorModel, iid_elsewhere, predict_factors
from .priors import Priors
from .problem import Kernels, Options, Space
from .result import NSFResult, finish
from .search import (
    Held,
    Search,
    coarsen,
    even_if_interrupted,
    free_parameters,
    hold_out,
    search,
)
from .start import (
    TEMPERATURE_BESIDE,
    first_kernels,
    first_state,
    start_counts,
    start_real,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..loop import Callback, Trace
    from .likelihood import Likelihood
    from .problem import NSFState
    from .search import Found


_MIN_SEARCH_LOCATIONS = 20


def fit(
    likelihood: Likelihood,
    space: Space | None,
    size: Floats,
    rank: int,
    *,
    n_spatial: int,
    options: Options,
    order: Callable[[Floats, NDArray[np.intp]], NDArray[np.intp]] | None = None,
    put: Callable[[Any], Any] = np.asarray,
    callback: Callback | None = None,
) -> NSFResult:
    """Choose kernels on held-out locations where they are not given, then fit all.

    ``order`` sorts starting factors, given those and the rows that they are for;
    the first ``n_spatial`` become spatial. ``put`` moves arrays to where the fit runs:
    a device, if the operator is there.
    """
    n_obs = likelihood.op.shape[0]
    n_axes = 0 if space is None else space.layout.locations.shape[1]
    searched = (
        space is not None
        and bool(free_parameters(options))
        and len(space.layout.locations) >= _MIN_SEARCH_LOCATIONS
    )
    if 0 < n_spatial < rank:
        options = _beside_others(options)
    kernels = first_kernels(n_spatial, rank, n_axes, options, searched=searched)
    tried: list[tuple[int, Kernels, float]] = []
    chosen: Found | None = None

    def start(likelihood: Likelihood, rows: NDArray[np.intp]) -> tuple[Any, Any]:
        if not likelihood.log_link:
            w, mean = start_real(likelihood, rank, options)
        else:
            w, mean = start_counts(
                likelihood.op,
                rank,
                size[rows],
                options,
                loss=likelihood.loss,
                order=None if order is None else lambda f: order(f, rows),
            )
        return put(w), put(mean)

    def priors(space: Space) -> Priors:
        # The present one, the next, and one to come back to.
        n_kept = 3 if options.shared_kernel else n_spatial + 2
        return Priors(options.kernel, space.layout, n_kept)

    if not searched:
        starts = [start(likelihood, np.arange(n_obs))]
    else:
        assert space is not None
        coarse = coarsen(space, options)
        folds = _folds(coarse, options, rank, n_obs)
        with float64():
            placed = jax.tree.map(put, coarse)
            shared = priors(placed)
            parts = [
                Search(
                    likelihood,
                    placed,
                    shared,
                    size,
                    held=held,
                    n_spatial=n_spatial,
                    options=options,
                    put=put,
                )
                for held in folds
            ]
        starts = [start(part.likelihood, part.held.train) for part in parts]
        with float64():
            states = [
                exchange(
                    part.ascent(kernels), first_state(part.ascent(kernels), w, mean)
                )
                for part, (w, mean) in zip(parts, starts, strict=True)
            ]
            chosen = search(parts, states, kernels, callback)
            kernels, tried = chosen.kernels, chosen.tried

    def begin() -> tuple[Ascent, NSFState]:
        """Steps on all data, and the state that they start from."""
        factors: tuple[Any, ...] = starts[0]
        if chosen is not None:
            state, train = chosen.states[0], put(parts[0].held.train)
            iid = iid_elsewhere(
                state.mean[:, n_spatial:],
                state.var[:, n_spatial:],
                log_link=likelihood.log_link,
            )
            found = predict_factors(options.kernel, state, kernels, placed, iid)
            factors = (
                state.w,
                *(
                    set_rows(everywhere, train, seen).astype(np.float32)
                    for everywhere, seen in zip(
                        found, (state.mean, state.var), strict=True
                    )
                ),
            )
        whole = jax.tree.map(put, space)
        model = FactorModel(likelihood.place(put), whole, n_spatial)
        prior = whole and priors(whole).at(kernels.length_scale, kernels.nugget)
        ascent = Ascent(
            model,
            kernels,
            prior,
            options.learning_rate,
            options.tol,
            options.max_iter,
        )
        return ascent, first_state(ascent, *factors)

    with float64():
        if chosen is None:
            (ascent, state), interrupted = begin(), False
        else:
            (ascent, state), interrupted = even_if_interrupted(begin)
            interrupted |= chosen.interrupted
        state, trace = _ascend(
            ascent, state, callback, searched=searched, interrupted=interrupted
        )
        return finish(
            ascent,
            state,
            trace,
            tried,
            n_permutations=options.n_permutations,
            seed=options.seed,
            search_interrupted=interrupted,
            scatter=None if chosen is None else chosen.scatter,
            kernel=options.kernel,
        )


def _beside_others(options: Options) -> Options:
    """Of fields that have factors without space beside them."""
    limits = options.search.temperature_range[0], TEMPERATURE_BESIDE
    return replace(options, search=replace(options.search, temperature_range=limits))


def _ascend(
    ascent: Ascent,
    state: NSFState,
    callback: Callback | None,
    *,
    searched: bool,
    interrupted: bool,
) -> tuple[NSFState, Trace]:
    """Iterate at fixed kernels; after an interruption once, for what the search found."""
    if not interrupted:
        try:
            state = exchange(ascent, state)
            ascended, trace = drive(ascent, ascent.init(state), callback)
            return ascent.finish(ascended), trace
        except KeyboardInterrupt:
            if not searched:
                raise
    once = replace(ascent, max_iter=1)
    ascended, trace = drive(once, once.init(state), callback)
    return once.finish(ascended), trace._replace(converged=False, interrupted=True)


def _folds(space: Space, options: Options, rank: int, n_obs: int) -> list[Held]:
    """Ways of holding out locations, each of which leaves enough to fit.

    With several of them there are so few locations that factors of one hang on what it
    holds out: the first fit holds out nothing, and is where that of all data begins.
    """
    folds = hold_out(space, stream(options.seed, "hold out"), options.search)
    n_train = min(len(held.train) for held in folds)
    if rank > n_train:
        msg = (
            f"n_components={rank} is more than the {n_train} of {n_obs} observations "
            "that remain when locations are held out to choose the kernel. Take "
            "fewer, or give length_scale, amplitude and temperature."
        )
        raise ValueError(msg)
    if len(folds) == 1:
        return folds
    nothing = np.empty(0, np.intp)
    return [Held(nothing, np.arange(n_obs), nothing), *folds]
