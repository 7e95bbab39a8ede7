"""Factors without space at other places, from their values nearby.

A model with too few fields leaves spatial patterns to its other factors. As independent
values they say nothing of other places, although their neighbours do: what left-out
locations show of that is used where something is predicted, by simple kriging from the
nearest locations :cite:p:`Vecchia1988`. A factor whose neighbours say nothing keeps its
mean.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial import cKDTree
from scipy.special import expit

from ..._core.precision import float64
from ..._core.typing import Floats
from ...kernels.covariance import kernel_function, pairwise_distance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...kernels.covariance import Kernel
    from .problem import Space


# Nearer locations screen those that are farther. The last of so many only says how far the
# others reach.
_N_NEIGHBORS = 24

# Of fewer locations, chance would choose.
_FEWEST_LOCATIONS = 20

# Locations that are left out to choose, at most: more of them choose the same.
_MAX_LEFT_OUT = 2_000

# What is tried: length scales in distances between neighbours, and shares of the variance
# that have them, even in their logits.
_LENGTHS = 2.0 ** np.arange(5)
_SHARES = expit(np.arange(-3, 5))

# Of a box of side 4: coordinates that went through single precision.
SAME = 1e-6

# Locations that are solved for at a time, at most and at least: few shapes to compile.
_ROWS, _FEWEST_ROWS = 4_096, 128


class Kriged(NamedTuple):
    """Factors without space at their locations, and what these say of others.

    Of the factors themselves, not of their logarithms. Several observations of a location
    have a common mean there, and scatter around it.
    """

    mean: Floats
    """(n_locations, k)"""
    var: Floats
    """(n_locations, k): of an observation, which is unknown and scatters."""
    center: Floats
    """(n_sections, k): means over the observations of every section."""
    scatter: Floats
    """(k,): variance of the means around their center, over observations."""
    rest: Floats
    """(k,): mean of the variance, over observations."""
    length_scale: Floats
    """(k,)"""
    share: Floats
    """(k,): of the scatter, what has the length scale; 0: no space."""
    foretold: Floats
    """(k,): share of the scatter that is foretold at locations that are left out."""
    trust: Floats
    """(k,): what is foretold, by what kriging says of itself that it foretells."""


class _Nearest(NamedTuple):
    """Locations around some coordinates."""

    locations: NDArray[np.intp]
    """(n, m)"""
    distance: Floats
    """(n, m): infinite where there are not as many."""
    noise: Floats
    """(n, m): by how much the nugget is larger. Infinite where the next one begins, so that
    predictions do not jump where neighbours change, or are as far as each other."""
    places: Floats
    """(n, 1 + m, n_dims): the coordinates, and those around them."""

    def pick(self, rows: NDArray[np.bool_]) -> _Nearest:
        """Some of the coordinates."""
        return _Nearest(
            self.locations[rows],
            self.distance[rows],
            self.noise[rows],
            self.places[rows],
        )


class _Covariance(NamedTuple):
    """Of the values at two locations."""

    kernel: Kernel
    length_scale: float
    share: float


def at_locations(space: Space, mean: Floats, var: Floats) -> Kriged:
    """Factors of which locations are not yet known to say anything of others.

    ``mean`` and ``var`` are of the factors at every observation.
    """
    space = space._replace(index=np.asarray(space.index))
    n = np.bincount(space.index)[:, None]
    first = space.sum_by_location(np.asarray(mean)) / n
    second = np.square(mean, dtype=np.float64) + var
    spread = np.maximum(space.sum_by_location(second) / n - first**2, 0)
    section = np.asarray(space.layout.section)
    member = (section == np.arange(section.max() + 1)[:, None]) * n.T
    center = member @ first / np.maximum(member.sum(1, keepdims=True), 1)
    left = np.square(first - center[section])
    k = first.shape[1]
    return Kriged(
        first,
        spread,
        center,
        scatter=(n * left).sum(0) / n.sum(),
        rest=(n * spread).sum(0) / n.sum(),
        length_scale=np.ones(k),
        share=np.zeros(k),
        foretold=np.zeros(k),
        trust=np.zeros(k),
    )


def krige(space: Space, plain: Kriged, kernel: Kernel, stretch: Floats) -> Kriged:
    """Choose length scales and shares by what is foretold of locations left out.

    ``stretch`` is how far correlations reach along each axis, relative to the others.
    """
    section = np.asarray(space.layout.section)
    locations = np.asarray(space.layout.locations) / stretch
    n_locations = len(locations)
    if n_locations < _FEWEST_LOCATIONS:
        return plain
    # Along an order that neither rows nor rotations change.
    rows = np.asarray(space.order)[:: -(-n_locations // _MAX_LEFT_OUT)]
    near = _nearest(locations, section, locations[rows], section[rows], others=True)
    # Those that are alone in their section say nothing.
    known = np.isfinite(near.distance[:, 0])
    near, rows = near.pick(known), rows[known]
    if not rows.size:
        return plain
    unit = np.median(near.distance[:, 0])
    weight = np.bincount(np.asarray(space.index))
    center = _center_of_others(plain, section, weight)[rows]
    error = np.square(plain.mean[rows] - center)
    least, chosen = error.sum(0), plain
    for length in _LENGTHS * unit:
        for share in _SHARES:
            covariance = _Covariance(kernel, length, share)
            found, known = _predict(near, covariance, plain.mean, center)
            new = np.square(plain.mean[rows] - found)
            gain = error - new
            # By more than its standard error; squared errors have long tails.
            sure = gain.mean(0) > gain.std(0) / np.sqrt(len(rows))
            better = sure & (new.sum(0) < least)
            least = np.where(better, new.sum(0), least)
            chosen = chosen._replace(
                length_scale=np.where(better, length, chosen.length_scale),
                share=np.where(better, share, chosen.share),
                trust=np.where(better, 1 / known.mean(), chosen.trust),
            )
    total = np.maximum(error.sum(0), np.finfo(float).tiny)
    foretold = np.where(chosen.share > 0, 1 - least / total, 0.0)
    # Errors tell little of how a scatter is divided, and variances would be too small.
    return chosen._replace(
        foretold=foretold, trust=np.minimum(chosen.trust * foretold, 1)
    )


def _center_of_others(
    plain: Kriged, section: NDArray[np.intp], weight: NDArray[np.intp]
) -> Floats:
    """Means over the observations of the same section, without those of a location."""
    own = weight[:, None]
    total = np.bincount(section, weight)[section][:, None]
    left = plain.center[section] * total - plain.mean * own
    return left / np.maximum(total - own, 1)


def stretch_of(length_scale: Floats) -> Floats:
    """How far fields reach along each axis, (k, 1 or n_dims), relative to the others."""
    logs = np.log(length_scale).mean(0)
    return np.asarray(np.exp(logs - logs.mean()))


def elsewhere(
    kriged: Kriged,
    kernel: Kernel,
    seen: tuple[Floats, NDArray[np.intp]],
    wanted: tuple[Floats, NDArray[np.intp]],
) -> tuple[Floats, Floats]:
    """Mean and variance of the logarithms of the factors at other places.

    Of log-normal distributions with the mean and variance that the factors have there.
    Places are coordinates, stretched, and their sections: those of the fit, and those
    wanted.
    """
    near = _nearest(*seen, *wanted)
    center = kriged.center[wanted[1]]
    mean, known = center.copy(), np.zeros_like(center)
    pairs = np.column_stack([kriged.length_scale, kriged.share])
    for length, share in np.unique(pairs[kriged.share > 0], axis=0):
        own = np.flatnonzero((pairs == (length, share)).all(1))
        covariance = _Covariance(kernel, length, share)
        found, explained = _predict(
            near, covariance, kriged.mean[:, own], center[:, own]
        )
        mean[:, own] = found
        known[:, own] = explained[:, None] * kriged.trust[own]
    var = kriged.scatter * (1 - known) + kriged.rest
    # What the fit says itself.
    same = near.distance[:, 0] < SAME
    mean[same], var[same] = (x[near.locations[same, 0]] for x in kriged[:2])
    return log_moments(mean, var)


def log_moments(mean: Floats, var: Floats) -> tuple[Floats, Floats]:
    """Of a log-normal distribution with this mean and variance."""
    mean = np.maximum(mean, np.finfo(np.float32).tiny)
    scale = np.log1p(var / mean / mean)
    return np.log(mean) - scale / 2, scale


def _nearest(
    locations: Floats,
    section: NDArray[np.intp],
    coords: Floats,
    label: NDArray[np.intp],
    *,
    others: bool = False,
) -> _Nearest:
    """The nearest locations of the same section; ``others``: but not the first one."""
    skip, m = int(others), _N_NEIGHBORS
    index = np.zeros((len(coords), m), np.intp)
    distance = np.full(index.shape, np.inf)
    for s in np.unique(label):
        rows, members = np.flatnonzero(label == s), np.flatnonzero(section == s)
        n = min(m + skip, members.size)
        far, found = cKDTree(locations[members]).query(
            coords[rows], k=np.arange(1, n + 1)
        )
        into = rows[:, None], np.arange(n - skip)
        index[into], distance[into] = members[found[:, skip:]], far[:, skip:]
    inside = distance < distance[:, [-1]] * (1 - SAME)
    share = np.divide(
        distance, distance[:, [-1]], out=np.ones_like(distance), where=inside
    )
    distance[~inside] = np.inf
    noise = 1 / np.maximum(1 - share**2, SAME)
    places = np.concatenate([coords[:, None], locations[index]], axis=1)
    return _Nearest(index, distance, noise, places)


def _predict(
    near: _Nearest, covariance: _Covariance, values: Floats, center: Floats
) -> tuple[Floats, Floats]:
    """Predicted values, (n, k), and the part of the variance that is explained, (n,)."""
    n = len(near.locations)
    found, explained = np.empty((n, values.shape[1])), np.empty(n)
    for start in range(0, n, _ROWS):
        rows = slice(start, min(start + _ROWS, n))
        missing = ~np.isfinite(near.distance[rows])
        used = len(missing)
        size = min(max(1 << (used - 1).bit_length(), _FEWEST_ROWS), _ROWS)
        pad = (0, size - used)
        with float64():
            solved = _weights(
                covariance.kernel,
                jnp.asarray(np.pad(near.places[rows], (pad, (0, 0), (0, 0)))),
                jnp.asarray(np.pad(missing, (pad, (0, 0)), constant_values=True)),
                jnp.asarray(np.pad(near.noise[rows], (pad, (0, 0)))),
                jnp.array(covariance[1:]),
            )
        weights, part = (np.asarray(x)[:used] for x in solved)
        here = center[rows, None]
        own = np.where(missing[..., None], here, values[near.locations[rows]])
        mean = center[rows] + np.einsum("nm,nmk->nk", weights, own - here)
        # Neither above nor below all that it is made of.
        low, high = (
            extreme(pick(own, 1), center[rows])
            for extreme, pick in ((np.minimum, np.min), (np.maximum, np.max))
        )
        found[rows], explained[rows] = np.clip(mean, low, high), part
    return found, explained


@partial(jax.jit, static_argnames="kernel")
def _weights(
    kernel: Kernel,
    places: jax.Array,
    missing: jax.Array,
    noise: jax.Array,
    scale: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Weights of neighbours, (n, m), and the part of the variance that they explain.

    ``scale`` are the length scale, and the share of the variance that it belongs to.
    """
    length, share = scale
    alone = jnp.pad(missing, ((0, 0), (1, 0)))
    cov = share * kernel_function(kernel, pairwise_distance(places, places) / length)
    cov = jnp.where(alone[:, :, None] | alone[:, None, :], 0.0, cov)
    own = jnp.where(missing, 1.0, (1 - share) * noise)
    own = own[:, None] * jnp.eye(missing.shape[1])
    cross = cov[:, 1:, 0]
    weights = jnp.linalg.solve(cov[:, 1:, 1:] + own, cross[..., None])[..., 0]
    return weights, (weights * cross).sum(1)
