"""How much of a field the other locations foretell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..._core.namespace import namespace
from ..._core.random import stream
from ..._core.typing import Floats
from . import fields as gp

if TYPE_CHECKING:
    from .ascent import Ascent
    from .fields import Posterior
    from .problem import NSFState, Space


def spatial_shares(ascent: Ascent, state: NSFState) -> Floats:
    """Of the spatial factors, at least 0."""
    assert ascent.model.space is not None
    assert state.post
    sites = _sites(ascent, state)
    return np.maximum(foretold(ascent.model.space, state.post, *sites), 0)


def shares_by_chance(
    ascent: Ascent, state: NSFState, n_permutations: int, seed: int
) -> Floats:
    """What they are on average if places are permuted.

    Sites are permuted within sections at the kernels of the fit, and fields are
    conditioned on them.
    """
    space = ascent.model.space
    assert space is not None
    sites = _sites(ascent, state)
    section, along = np.asarray(space.layout.section), np.asarray(space.order)
    rng = stream(seed, "permute")
    found = []
    for _ in range(n_permutations):
        order = np.arange(len(section))
        for s in np.unique(section):
            rows = along[section[along] == s]
            order[rows] = rng.permutation(rows)
        found.append(share_of_sites(ascent, *(x[order] for x in sites)))
    return np.maximum(np.mean(found, axis=0), 0)


def _sites(ascent: Ascent, state: NSFState) -> tuple[Any, Any]:
    return ascent.model.location_sites(ascent.kernels, state.precision, state.shift)


def share_of_sites(ascent: Ascent, precision: Any, shift: Any) -> Floats:
    """The share of fields with the kernels of the fit that have these sites."""
    space, prior = ascent.model.space, ascent.prior
    assert space is not None
    assert prior is not None
    amplitude = namespace(precision).asarray(ascent.kernels.amplitude)
    post = gp.condition(prior, space.basis, amplitude, precision, shift)
    return foretold(space, post, precision, shift)


def foretold(space: Space, post: Posterior, precision: Any, shift: Any) -> Floats:
    """Share of the variance of fields that is foretold, at most 1; below 0 as by chance.

    What the others say of a location is its posterior without its own site, which
    takes no other fit. Neither its nugget nor what neighbours do not share is foretold.
    Means of sections do not count.
    """
    mean, var, precision, shift = (
        np.asarray(x) for x in (post.mean, post.var, precision, shift)
    )
    section = np.asarray(space.layout.section)
    others = np.maximum(1 / var - precision, _TINY)
    error = mean - (mean / var - shift) / others
    left = total = np.zeros(mean.shape[1])
    for s in np.unique(section):
        rows = section == s
        left = left + error[rows].var(0) * rows.sum()
        total = total + mean[rows].var(0) * rows.sum()
    return 1 - left / np.maximum(total, _TINY)


_TINY = 1e-30
