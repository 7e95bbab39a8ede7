"""Kernels are chosen on held-out locations."""

from __future__ import annotations

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
from .problem import Kernels, NSFState, Options, Space

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..loop import Callback
    from .ascent import AscentState
    from .likelihood import Likelihood
    from .priors import Prior, Priors


# Held out while the kernel is chosen.
_VALIDATION = 0.2

_MAX_VALIDATION_LOCATIONS = 2_000

_MAX_SEARCH_LOCATIONS = 20_000

# Folds until so many locations were held out altogether with five of them.
_FOLD_LOCATIONS, _MAX_FOLDS = 1_200, 4

# Layouts up to this size are searched with all their inducing points.
_SMALL, _SEARCH_INDUCING = 1_500, 500

# Loadings must have settled on smooth fields before rougher ones are tried.
_SEARCH_START, _SEARCH_EVERY, _SEARCH_ITERATIONS = 8, 3, 26

_FIRST_STEP, _LAST_STEP = 1.0, 0.2

_LENGTH_RANGE, _AMPLITUDE_RANGE, _DISPERSION_RANGE = (0.02, 8.0), (0.05, 20.0), (1, 1e4)

_ROUGHEN, _TOLERANCE, _TRUSTED = 1.25, 2.0, 2.0


def free_parameters(options: Options) -> list[str]:
    """Names of what is to be chosen."""
    names = ("length_scale", "amplitude", "dispersion")
    return [name for name in names if getattr(options, name) is None]


def coarsen(space: Space, options: Options) -> Space:
    """Fewer inducing points where there are many: kernels can be judged with those."""
    layout = space.layout
    if len(layout.inducing) <= _SEARCH_INDUCING or len(layout.locations) <= _SMALL:
        return space
    inducing = choose_inducing(
        layout.locations, layout.section, _SEARCH_INDUCING, options.seed
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


def hold_out(space: Space, rng: np.random.Generator) -> list[Held]:
    """Disjoint sets of locations; several where there are few locations."""
    n_locations = len(space.layout.locations)
    used = rng.permutation(n_locations)[:_MAX_SEARCH_LOCATIONS]
    n_held = max(min(round(_VALIDATION * n_locations), _MAX_VALIDATION_LOCATIONS), 1)
    n_folds = int(np.clip(-(-_FOLD_LOCATIONS // n_locations), 1, _MAX_FOLDS))
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
    """Iteration, kernels, and the log likelihood of held-out observations."""
    interrupted: bool = False


class HeldOut(NamedTuple):
    """Observations that kernels are judged on."""

    data: Observations
    targets: Any
    """Locations held out."""
    index: Any
    """Which of them each observation is at."""


class Search:
    """A fit on part of the locations, whose kernels are judged on the others."""

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
        return self.priors.at(kernels.length_scale)

    def ascent(self, kernels: Kernels) -> Ascent:
        """Steps at these kernels."""
        rate = self.options.learning_rate
        return Ascent(self.model, kernels, self.prior(kernels), rate)

    def score(self, state: NSFState, kernels: Kernels) -> Any:
        """How well each held-out observation is predicted with these kernels."""
        on_device = namespace(state.mean) is jnp
        return (_compiled_score if on_device else _score)(
            self.model, self.held_out, state, kernels, self.prior(kernels)
        )


def _score(
    model: FactorModel,
    held_out: HeldOut,
    state: NSFState,
    kernels: Kernels,
    prior: Prior,
) -> Any:
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
    free = free_parameters(options)
    tried: list[tuple[int, Kernels, float]] = []

    def score(kernels: Kernels) -> Any:
        scores = [
            part.score(state, kernels)
            for part, state in zip(parts, states, strict=True)
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

    size, iteration, stepped = _FIRST_STEP, 0, False
    ascents = [
        part.ascent(kernels).init(state)
        for part, state in zip(parts, states, strict=True)
    ]
    try:
        for iteration in range(1, _SEARCH_ITERATIONS + 1):
            ascents = [
                part.ascent(kernels).step(ascent)
                for part, ascent in zip(parts, ascents, strict=True)
            ]
            states, stepped = [ascent.fit for ascent in ascents], True
            if callback is not None:
                callback(
                    iteration, Report(sum(float(a.best.objective) for a in ascents))
                )
            if iteration < _SEARCH_START or (iteration - _SEARCH_START) % _SEARCH_EVERY:
                continue
            best, before = float(score(kernels).sum()), kernels
            for _ in range(2):
                better = improve(moves(kernels, size, free), best)
                if better is None:
                    size /= 2
                else:
                    kernels, best = better
            if kernels is not before:
                # Another prior, another bound.
                ascents = [_forget(ascent) for ascent in ascents]
            if size < _LAST_STEP:
                break
        if "amplitude" in free:
            kernels = _roughen(kernels, score)
        if not options.shared_kernel:
            kernels = _separate(kernels, free, improve, float(score(kernels).sum()))
    except KeyboardInterrupt:
        if not stepped:
            raise
        return Found(states, kernels, tried, interrupted=True)
    return Found(states, kernels, tried)


def _forget(ascent: AscentState) -> AscentState:
    """Without the bound that the next one would be compared with."""
    objective = namespace(ascent.best.objective).full_like(
        ascent.best.objective, -np.inf
    )
    return ascent._replace(best=ascent.best._replace(objective=objective))


def _roughen(kernels: Kernels, score: Callable[[Kernels], Any]) -> Kernels:
    """The roughest fields that predict about as well, where counts are trusted.

    Held-out locations tell little between smooth and rough fields where factors
    have sharp borders; but where counts scatter as the likelihood says, fields that
    are too smooth misfit the locations that were seen.
    """
    if kernels.dispersion > _TRUSTED:
        return kernels
    best = score(kernels)
    while kernels.amplitude.max() * _ROUGHEN < _AMPLITUDE_RANGE[1]:
        candidate = kernels._replace(amplitude=kernels.amplitude * _ROUGHEN)
        loss = best - score(candidate)
        if loss.sum() > _TOLERANCE * loss.std() * np.sqrt(loss.size):
            break
        kernels = candidate
    return kernels


def _separate(
    kernels: Kernels,
    free: list[str],
    improve: Callable[[list[Kernels], float], tuple[Kernels, float] | None],
    best: float,
) -> Kernels:
    """A length scale and amplitude for each factor, from common ones."""
    free = [name for name in free if name != "dispersion"]
    for size in (0.5, 0.25):
        for j in range(len(kernels.amplitude)):
            candidates = []
            for candidate in moves(kernels, size, free):
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


def moves(kernels: Kernels, size: float, free: list[str]) -> list[Kernels]:
    """Neighbours of the kernels at a distance on a log scale."""
    directions = [
        ({"length_scale": 1.0}),
        ({"amplitude": 1.0}),
        ({"dispersion": -1.0}),
        # Fields as rough as before, but over longer or shorter distances.
        ({"length_scale": 1.0, "amplitude": 1.5}),
        ({"amplitude": 1.0, "dispersion": 2.0}),
    ]
    found = []
    for direction in directions:
        if not set(direction) <= set(free):
            continue
        for sign in (1, -1):
            step = {name: np.exp(sign * size * d) for name, d in direction.items()}
            moved = Kernels(
                np.clip(
                    kernels.length_scale * step.get("length_scale", 1), *_LENGTH_RANGE
                ),
                np.clip(
                    kernels.amplitude * step.get("amplitude", 1), *_AMPLITUDE_RANGE
                ),
                float(
                    np.clip(
                        kernels.dispersion * step.get("dispersion", 1),
                        *_DISPERSION_RANGE,
                    )
                ),
            )
            if not (
                np.array_equal(moved.length_scale, kernels.length_scale)
                and np.array_equal(moved.amplitude, kernels.amplitude)
                and moved.dispersion == kernels.dispersion
            ):
                found.append(moved)
    n_axes = kernels.length_scale.shape[1]
    if n_axes > 1 and "length_scale" in free:
        for axis in range(n_axes):
            for sign in (1, -1):
                length = kernels.length_scale.copy()
                length[:, axis] *= np.exp(sign * size)
                found.append(
                    kernels._replace(length_scale=np.clip(length, *_LENGTH_RANGE))
                )
    return found
