"""A whole fit: kernels, then factors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..._core.typing import Floats
from .ascent import ascend
from .model import FactorModel
from .problem import Kernels, Options, Space
from .result import NSFResult, finish
from .search import Search, coarsen, free_parameters, hold_out, search
from .start import first_kernels, first_state, start_counts, start_real

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..loop import Callback
    from .likelihood import Likelihood


_MIN_SEARCH_SITES = 20


def fit(
    likelihood: Likelihood,
    space: Space | None,
    size: Floats,
    rank: int,
    *,
    n_spatial: int,
    options: Options,
    order: Callable[[Floats, NDArray[np.intp]], NDArray[np.intp]] | None = None,
    callback: Callback | None = None,
) -> NSFResult:
    """Choose kernels on held-out sites where they are not given, then fit all.

    ``order`` sorts starting factors, given those and the rows that they are for;
    the first ``n_spatial`` become spatial.
    """
    rng = np.random.default_rng(options.seed)
    n_obs = likelihood.op.shape[0]
    n_axes = 0 if space is None else space.layout.sites.shape[1]
    searched = (
        space is not None
        and bool(free_parameters(options))
        and len(space.layout.sites) >= _MIN_SEARCH_SITES
    )
    kernels = first_kernels(n_spatial, n_axes, options, searched=searched)
    model = FactorModel(likelihood, space, n_spatial, options)
    tried: list[tuple[int, Kernels, float]] = []

    def start(likelihood: Likelihood, rows: NDArray[np.intp]) -> tuple[Floats, Floats]:
        if not likelihood.log_link:
            return start_real(likelihood, rank, options)
        picked = None if order is None else lambda f: order(f, rows)
        loss = likelihood.loss
        return start_counts(
            likelihood.op, rank, size[rows], options, loss=loss, order=picked
        )

    everything = np.arange(n_obs)
    if searched:
        assert space is not None
        coarse = coarsen(space, options)
        parts = [
            Search(
                likelihood,
                coarse,
                size,
                held=held,
                n_spatial=n_spatial,
                options=options,
            )
            for held in hold_out(coarse, rng)
        ]
        states = []
        for part in parts:
            w, mean = start(part.likelihood, part.held.train)
            states.append(first_state(part.model, w, mean, kernels))
        states, kernels, tried = search(parts, states, kernels, callback)
        part, state = parts[0], states[0]
        mean, var = part.model.predict(state, kernels, coarse, n_obs)
        mean[part.held.train], var[part.held.train] = state.mean, state.var
        state = first_state(model, state.w, mean.astype(np.float32), kernels, var)
    else:
        w, mean = start(likelihood, everything)
        state = first_state(model, w, mean, kernels)
    state, trace = ascend(model, state, kernels, callback=callback)
    return finish(model, state, kernels, trace, tried)
