"""Kernels are chosen on held-out locations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..._core.namespace import namespace
from ..._core.typing import Floats
from ..loop import Report
from . import fields as gp
from .ascent import Ascent
from .layout import choose_inducing, make_layout
from .likelihood import Observations
from .model import FactorModel, iid_elsewhere, with_iid
from .problem import Kernels, NSFState, Options, SearchOptions, Space

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..loop import Callback
    from .likelihood import Likelihood
    from .priors import Prior, Priors


def free_parameters(options: Options) -> list[str]:
    """Names of what is to be chosen."""
    names = ("length_scale", "amplitude", "temperature")
    return [name for name in names if getattr(options, name) is None]


def coarsen(space: Space, options: Options) -> Space:
    """Fewer inducing points where there are many: kernels can be judged with those."""
    layout, n_inducing = space.layout, options.search.n_inducing
    few = len(layout.locations) <= options.search.n_small
    if len(layout.inducing) <= n_inducing or few:
        return space
    inducing = choose_inducing(
        layout.locations, layout.section, space.order, n_inducing, options.seed
    )
    return space._replace(
        layout=make_layout(
            layout.locations, layout.section, *inducing, options.n_neighbors
        )
    )


class Held(NamedTuple):
    """One way of holding out locations."""

    locations: NDArray[np.intp]
    train: NDArray[np.intp]
    """Observations at the locations that are used to fit."""
    rows: NDArray[np.intp]
    """Observations at the locations held out."""


def hold_out(
    space: Space, rng: np.random.Generator, options: SearchOptions
) -> list[Held]:
    """Disjoint sets of locations; each location once where there are few."""
    n_locations = len(space.layout.locations)
    used = space.order[rng.permutation(n_locations)[: options.max_locations]]
    n_held = min(math.ceil(options.held_out * n_locations), options.max_held_out)
    n_folds = min(math.ceil(options.n_scored / n_held), math.ceil(1 / options.held_out))
    found = []
    for fold in range(n_folds):
        held = used[fold * n_held : (fold + 1) * n_held]
        part = np.zeros(n_locations, np.int8)
        part[used] = 1
        part[held] = 2
        role = part[space.index]
        found.append(
            Held(np.sort(held), np.flatnonzero(role == 1), np.flatnonzero(role == 2))
        )
    return found


class Found(NamedTuple):
    """What a search found."""

    states: list[NSFState]
    kernels: Kernels
    tried: list[tuple[int, Kernels, float]]
    """Iteration, kernels, and the log predictive density of held-out observations."""
    scatter: Any
    """Scatter of held-out counts beyond what is expected, or `None`."""
    interrupted: bool = False


class HeldOut(NamedTuple):
    """Observations that kernels are judged on."""

    data: Observations
    targets: Any
    """Locations held out."""
    index: Any
    """Which of them each observation is at."""


class Search:
    """A fit on part of the locations, whose kernels are judged on the others, if any."""

    def __init__(
        self,
        likelihood: Likelihood,
        space: Space,
        priors: Priors,
        size: Floats,
        *,
        held: Held,
        n_spatial: int,
        options: Options,
        put: Callable[[Any], Any],
    ) -> None:
        self.held, self.priors, self.options = held, priors, options
        index = np.asarray(space.index)
        self.held_out: HeldOut | None = None
        if held.rows.size:
            self.held_out = HeldOut(
                Observations(likelihood.op.rows(held.rows), put(size[held.rows])),
                put(held.locations),
                put(np.searchsorted(held.locations, index[held.rows])),
            )
        self.likelihood = likelihood.restrict(
            likelihood.op.rows(held.train), held.train
        )
        # All locations keep their place, so that priors serve all folds; those held
        # out have no observations here.
        self.model = FactorModel(
            self.likelihood.place(put),
            space._replace(index=put(index[held.train])),
            n_spatial,
        )

    def prior(self, kernels: Kernels) -> Prior:
        """Of the spatial factors."""
        return self.priors.at(kernels.length_scale, kernels.nugget)

    def ascent(self, kernels: Kernels) -> Ascent:
        """Steps at these kernels."""
        rate = self.options.learning_rate
        return Ascent(self.model, kernels, self.prior(kernels), rate)

    def score(self, state: NSFState, kernels: Kernels) -> Any:
        """How well each held-out observation is predicted with these kernels."""
        assert self.held_out is not None
        on_device = namespace(state.mean) is jnp
        return (_compiled_score if on_device else _score)(
            self.model, self.held_out, state, kernels, self.prior(kernels)
        )

    def scatter(self, state: NSFState, kernels: Kernels) -> Any:
        """Scatter of the counts held out, beyond what the likelihood says."""
        assert self.held_out is not None
        mean, var = _predict(
            self.model, self.held_out, state, kernels, self.prior(kernels)
        )
        return self.likelihood.scatter(mean, var, state.w, self.held_out.data)


def _predict(
    model: FactorModel,
    held_out: HeldOut,
    state: NSFState,
    kernels: Kernels,
    prior: Prior,
) -> tuple[Any, Any]:
    """Means and variances of the factors of observations held out."""
    assert model.space is not None
    xp = namespace(state.mean)
    field = gp.predict(
        prior,
        model.space.basis,
        xp.asarray(kernels.amplitude),
        *model.location_sites(kernels, state.precision, state.shift),
        held_out.targets,
    )
    t = model.n_spatial
    iid = iid_elsewhere(
        state.mean[:, t:], state.var[:, t:], log_link=model.likelihood.log_link
    )
    mean, var = (
        with_iid(x[held_out.index], y) for x, y in zip(field, iid, strict=True)
    )
    return mean, var


def _score(
    model: FactorModel,
    held_out: HeldOut,
    state: NSFState,
    kernels: Kernels,
    prior: Prior,
) -> Any:
    mean, var = _predict(model, held_out, state, kernels, prior)
    return model.likelihood.score(state.noise, held_out.data, mean, var, state.w)


_compiled_score = jax.jit(_score)


def search(
    parts: list[Search],
    states: list[NSFState],
    kernels: Kernels,
    callback: Callback | None = None,
) -> Found:
    """Alternate steps of the fits with moves of the kernels that predict better.

    An interruption ends the search and keeps the best kernels so far; before the first
    step is complete it is passed on.
    """
    options = parts[0].options
    how = options.search
    free = free_parameters(options)
    tried: list[tuple[int, Kernels, float]] = []

    def score(kernels: Kernels) -> Any:
        scores = [
            part.score(state, kernels)
            for part, state in zip(parts, states, strict=True)
            if part.held_out is not None
        ]
        found = namespace(scores[0]).concatenate(scores)
        tried.append((iteration, kernels, float(found.sum())))
        return found

    def improve(candidates: list[Kernels], best: float) -> tuple[Kernels, float] | None:
        for candidate in candidates:
            value = float(score(candidate).sum())
            if value > best:
                return candidate, value
        return None

    size, iteration, stepped, interrupted = how.first_move, 0, False, False
    ascents = [
        part.ascent(kernels).init(state)
        for part, state in zip(parts, states, strict=True)
    ]
    try:
        for iteration in range(1, how.max_steps + 1):
            ascents = [
                part.ascent(kernels).step(ascent)
                for part, ascent in zip(parts, ascents, strict=True)
            ]
            states, stepped = [ascent.fit for ascent in ascents], True
            if callback is not None:
                objective = sum(float(a.objective) for a in ascents)
                callback(iteration, Report(objective, task="kernel search"))
            if iteration < how.first or (iteration - how.first) % how.every:
                continue
            best, before = float(score(kernels).sum()), kernels
            for _ in range(2):
                better = improve(moves(kernels, size, free, how), best)
                if better is None:
                    size /= 2
                else:
                    kernels, best = better
            if kernels is not before:
                ascents = [
                    part.ascent(kernels).restart(ascent)
                    for part, ascent in zip(parts, ascents, strict=True)
                ]
                states = [ascent.fit for ascent in ascents]
            if size < how.last_move:
                break
        if not options.shared_kernel:
            best = float(score(kernels).sum())
            kernels = _separate(kernels, free, improve, best, how)
    except KeyboardInterrupt:
        if not stepped:
            raise
        interrupted = True
    found = even_if_interrupted(lambda: _scatter(parts, states, kernels))
    return Found(states, kernels, tried, found[0], interrupted or found[1])


def even_if_interrupted[T](steps: Callable[[], T]) -> tuple[T, bool]:
    """What short steps give that a search must not be lost for, and if once cut short.

    They are run again then; a second interruption is passed on.
    """
    try:
        return steps(), False
    except KeyboardInterrupt:
        return steps(), True


def _scatter(parts: list[Search], states: list[NSFState], kernels: Kernels) -> Any:
    """Sums over all that were held out."""
    found = [
        part.scatter(state, kernels)
        for part, state in zip(parts, states, strict=True)
        if part.held_out is not None
    ]
    return None if found[0] is None else np.sum([np.asarray(x) for x in found], axis=0)


def _separate(
    kernels: Kernels,
    free: list[str],
    improve: Callable[[list[Kernels], float], tuple[Kernels, float] | None],
    best: float,
    how: SearchOptions,
) -> Kernels:
    """A length scale and amplitude for each factor, from common ones."""
    free = [name for name in free if name != "temperature"]
    for size in (0.5, 0.25):
        for j in range(len(kernels.amplitude)):
            candidates = []
            for candidate in moves(kernels, size, free, how):
                length, amplitude = (np.copy(x) for x in kernels[:2])
                length[j] = candidate.length_scale[j]
                amplitude[j] = candidate.amplitude[j]
                candidates.append(
                    kernels._replace(length_scale=length, amplitude=amplitude)
                )
            better = improve(candidates, best)
            if better is not None:
                kernels, best = better
    return kernels


def moves(
    kernels: Kernels, size: float, free: list[str], how: SearchOptions
) -> list[Kernels]:
    """Neighbours of the kernels at a distance on a log scale."""
    directions = [
        ({"length_scale": 1.0}),
        ({"amplitude": 1.0}),
        ({"temperature": -1.0}),
        # Fields as rough as before, but over longer or shorter distances.
        ({"length_scale": 1.0, "amplitude": 1.5}),
        ({"amplitude": 1.0, "temperature": 2.0}),
    ]
    found = []
    # Axes first: where a pattern runs along one, all lengths at once lead astray.
    n_axes = kernels.length_scale.shape[1]
    if n_axes > 1 and "length_scale" in free:
        for axis in range(n_axes):
            for sign in (1, -1):
                length = kernels.length_scale.copy()
                length[:, axis] *= np.exp(sign * size)
                found.append(
                    kernels._replace(length_scale=np.clip(length, *how.length_range))
                )
    for direction in directions:
        if not set(direction) <= set(free):
            continue
        for sign in (1, -1):
            step = {name: np.exp(sign * size * d) for name, d in direction.items()}
            moved = Kernels(
                np.clip(
                    kernels.length_scale * step.get("length_scale", 1),
                    *how.length_range,
                ),
                np.clip(
                    kernels.amplitude * step.get("amplitude", 1), *how.amplitude_range
                ),
                kernels.nugget,
                float(
                    np.clip(
                        kernels.temperature * step.get("temperature", 1),
                        *how.temperature_range,
                    )
                ),
            )
            if not (
                np.array_equal(moved.length_scale, kernels.length_scale)
                and np.array_equal(moved.amplitude, kernels.amplitude)
                and moved.temperature == kernels.temperature
            ):
                found.append(moved)
    return found
