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


# Nearer locations screen those that are farther.
_N_NEIGHBORS = 16

# Locations that are left out to choose, at most: more of them choose the same.
_MAX_LEFT_OUT = 2_000

# What is tried: length scales in distances between neighbours, and shares of the variance
# that have them, even in their logits.
_LENGTHS = 2.0 ** np.arange(5)
_SHARES = expit(np.arange(-3, 5))

# Of a box of side 4: coordinates that went through single precision.
SAME = 1e-6

# Locations that are solved for at a time.
_ROWS = 4_096


class Kriged(NamedTuple):
    """Factors without space at their locations, and what these say of others."""

    mean: Floats
    """(n_locations, k): of the factors, not of their logarithms."""
    var: Floats
    """(n_locations, k): of what the fit knows of them."""
    length_scale: Floats
    """(k,)"""
    share: Floats
    """(k,): of the variance over locations, what has the length scale; 0: no space."""
    foretold: Floats
    """(k,): share of the variance that was foretold at locations that were left out."""


class _Nearest(NamedTuple):
    """Locations around some coordinates."""

    locations: NDArray[np.intp]
    """(n, m)"""
    distance: Floats
    """(n, m): infinite where there are not as many."""
    places: Floats
    """(n, 1 + m, n_dims): the coordinates, and those around them."""


class _Covariance(NamedTuple):
    """Of the values at two locations."""

    kernel: Kernel
    length_scale: float
    share: float


def krige(space: Space, mean: Floats, var: Floats, kernel: Kernel) -> Kriged:
    """Choose length scales and shares by what is foretold of locations left out.

    ``mean`` and ``var`` are of the factors at every observation.
    """
    space = space._replace(index=np.asarray(space.index))
    n = np.bincount(space.index)[:, None]
    values, spread = (space.sum_by_location(np.asarray(x)) / n for x in (mean, var))
    locations, section = (
        np.asarray(x) for x in (space.layout.locations, space.layout.section)
    )
    k = values.shape[1]
    nothing = Kriged(values, spread, np.ones(k), np.zeros(k), np.zeros(k))
    n_locations = len(locations)
    # Along an order that neither rows nor rotations change.
    every = max(n_locations // _MAX_LEFT_OUT, 1)
    rows = np.asarray(space.order)[::every]
    near = _nearest(locations, section, locations[rows], section[rows], others=True)
    first = near.distance[:, 0]
    if not np.isfinite(first).any():
        return nothing
    unit = np.median(first[np.isfinite(first)])
    center = values.mean(0)
    # Without a location, the mean is another as well.
    plain = ((values[rows] - center) * n_locations / max(n_locations - 1, 1)) ** 2
    best, chosen = plain.sum(0), nothing
    for length in _LENGTHS * unit:
        for share in _SHARES:
            covariance = _Covariance(kernel, length, share)
            found, _ = _predict(near, covariance, values, center)
            error = (values[rows] - found) ** 2
            gain = plain - error
            # By more than its standard error; squared errors have long tails.
            sure = gain.mean(0) > gain.std(0) / np.sqrt(len(rows))
            better = sure & (error.sum(0) < best)
            best = np.where(better, error.sum(0), best)
            chosen = chosen._replace(
                length_scale=np.where(better, length, chosen.length_scale),
                share=np.where(better, share, chosen.share),
                foretold=np.where(
                    better, 1 - error.sum(0) / plain.sum(0), chosen.foretold
                ),
            )
    return chosen


def elsewhere(
    kriged: Kriged,
    kernel: Kernel,
    seen: tuple[Floats, NDArray[np.intp]],
    wanted: tuple[Floats, NDArray[np.intp]],
) -> tuple[Floats, Floats]:
    """Mean and variance of the logarithms of the factors at other places.

    Of log-normal distributions with the mean and variance that the factors have there.
    Places are coordinates, and their sections: those of the fit, and those wanted.
    """
    near = _nearest(*seen, *wanted)
    center, scatter = kriged.mean.mean(0), kriged.mean.var(0)
    mean = np.broadcast_to(center, (len(near.locations), len(center))).copy()
    known = np.zeros_like(mean)
    for j in np.flatnonzero(kriged.share > 0):
        own = kriged.mean[:, [j]]
        covariance = _Covariance(kernel, kriged.length_scale[j], kriged.share[j])
        found, explained = _predict(near, covariance, own, center[[j]])
        mean[:, j], known[:, j] = found[:, 0], explained
    var = scatter * (1 - known) + kriged.var.mean(0)
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
    skip = int(others)
    index = np.zeros((len(coords), _N_NEIGHBORS), np.intp)
    distance = np.full(index.shape, np.inf)
    for s in np.unique(label):
        rows, members = np.flatnonzero(label == s), np.flatnonzero(section == s)
        n = min(_N_NEIGHBORS + skip, members.size)
        far, found = cKDTree(locations[members]).query(
            coords[rows], k=np.arange(1, n + 1)
        )
        into = rows[:, None], np.arange(n - skip)
        index[into], distance[into] = members[found[:, skip:]], far[:, skip:]
    places = np.concatenate([coords[:, None], locations[index]], axis=1)
    return _Nearest(index, distance, places)


def _predict(
    near: _Nearest, covariance: _Covariance, values: Floats, center: Floats
) -> tuple[Floats, Floats]:
    """Predicted values, (n, k), and the part of the variance that is explained, (n,)."""
    n = len(near.locations)
    found, explained = np.empty((n, values.shape[1])), np.empty(n)
    for start in range(0, n, _ROWS):
        rows = slice(start, start + _ROWS)
        missing = ~np.isfinite(near.distance[rows])
        with float64():
            weights, part = _weights(
                covariance.kernel,
                jnp.asarray(near.places[rows]),
                jnp.asarray(missing),
                jnp.array(covariance[1:]),
            )
        own = np.where(missing[..., None], center, values[near.locations[rows]])
        mean = center + np.einsum("nm,nmk->nk", np.asarray(weights), own - center)
        # Neither above nor below all that it is made of.
        low, high = np.minimum(own.min(1), center), np.maximum(own.max(1), center)
        found[rows], explained[rows] = np.clip(mean, low, high), np.asarray(part)
    return found, explained


@partial(jax.jit, static_argnames="kernel")
def _weights(
    kernel: Kernel, places: jax.Array, missing: jax.Array, scale: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Weights of neighbours, (n, m), and the part of the variance that they explain.

    ``scale`` are the length scale, and the share of the variance that it belongs to.
    """
    length, share = scale
    alone = jnp.pad(missing, ((0, 0), (1, 0)))
    cov = share * kernel_function(kernel, pairwise_distance(places, places) / length)
    cov = jnp.where(alone[:, :, None] | alone[:, None, :], 0.0, cov)
    own = jnp.where(missing, 1.0, 1 - share)[:, None] * jnp.eye(missing.shape[1])
    cross = cov[:, 1:, 0]
    weights = jnp.linalg.solve(cov[:, 1:, 1:] + own, cross[..., None])[..., 0]
    return weights, (weights * cross).sum(1)
