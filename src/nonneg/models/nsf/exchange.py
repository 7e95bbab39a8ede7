"""Fields and factors without space change places where that raises the bound."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .model import FactorModel
from .priors import pick_prior
from .problem import Kernels
from .spatial_share import foretold, share_of_sites
from .start import first_state

if TYPE_CHECKING:
    from .ascent import Ascent
    from .problem import NSFState


# Before factors are compared, and before a move is judged: loadings settle within.
_STEPS = 5

# By how much a bound has to rise, relative to its value, to be higher: rounding, and chance
# where it is estimated by draws.
_GAIN, _GAIN_OF_DRAWS = 1e-6, 1e-3


def exchange(ascent: Ascent, fit: NSFState) -> NSFState:
    """The least spatial field for the most spatial other factor, while the bound rises.

    Which of the starting factors become fields is a guess, and the fit cannot revise
    it: a field that has a pattern without space follows it as well as it can. Both ways
    are followed for a few steps, and the one with the higher bound is taken.
    """
    model, k = ascent.model, fit.w.shape[1]
    t = model.n_spatial
    if not 0 < t < k:
        return fit
    fit = _advance(ascent, fit)
    for _ in range(min(t, k - t)):
        pair = _most_misplaced(ascent, fit)
        if pair is None:
            break
        order = np.arange(k)
        order[list(pair)] = order[list(reversed(pair))]
        # Dispersions are those of genes, and known by now; draws are of factors.
        noise = fit.noise if model.likelihood.exact else None
        factors = fit.w[:, order], fit.mean[:, order], fit.var[:, order]
        moved = _advance(ascent, first_state(ascent, *factors, noise))
        fit = _advance(ascent, fit)
        bound = model.bound(moved)
        least = _GAIN if model.likelihood.exact else _GAIN_OF_DRAWS
        if not model.bound(fit) < bound - least * abs(bound):
            break
        fit = moved
    return fit


def _most_misplaced(ascent: Ascent, fit: NSFState) -> tuple[int, int] | None:
    """A field, and a factor that would be better foretold as such, if there is any."""
    model, kernels, prior = ascent.model, ascent.kernels, ascent.prior
    assert model.space is not None
    assert prior is not None
    assert fit.post
    t = model.n_spatial
    own = foretold(
        model.space,
        fit.post,
        *model.location_sites(kernels, fit.precision, fit.shift),
    )
    field = int(np.argmin(own))
    # All others in its place.
    n_others = fit.w.shape[1] - t
    as_fields = replace(
        ascent,
        model=FactorModel(model.likelihood, model.space, n_others),
        prior=pick_prior(prior, field),
        kernels=Kernels(
            np.repeat(kernels.length_scale[[field]], n_others, axis=0),
            np.repeat(kernels.amplitude[[field]], n_others),
            kernels.nugget,
            kernels.temperature,
        ),
    )
    others = share_of_sites(
        as_fields,
        *as_fields.model.location_sites(
            kernels, fit.precision[:, t:], fit.shift[:, t:]
        ),
    )
    best = int(np.argmax(others))
    return (field, t + best) if others[best] > own[field] else None


def _advance(ascent: Ascent, fit: NSFState) -> NSFState:
    state = ascent.init(fit)
    for _ in range(_STEPS):
        state = ascent.step(state)
    return ascent.finish(state)
