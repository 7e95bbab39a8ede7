"""Factors at other places, from their values nearby.

A model with too few fields leaves spatial patterns to its other factors. As independent
values they say nothing of other places, although their neighbours do: what left-out
locations show of that is used where something is predicted, by simple kriging from the
nearest locations :cite:p:`Vecchia1988`. A factor whose neighbours say nothing keeps its
mean.

Of fields it is a second opinion: what these expect between locations are means of
logarithms, which beside an edge are far from means of the factors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import expit

from ..._core.typing import Floats
from ...kernels.covariance import kernel_function
from .counts import row_blocks
from .lognormal import log_moments

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


class Kriged(NamedTuple):
    """Factors at their locations, and what these say of others.

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
    between: Floats
    """(n, 1 + m, 1 + m): distances of the coordinates, and those around them."""

    def pick(self, rows: NDArray[np.bool_]) -> _Nearest:
        """Some of the coordinates."""
        return _Nearest(
            self.locations[rows],
            self.distance[rows],
            self.noise[rows],
            self.between[rows],
        )


class _Seen:
    """Locations of the fit, by section."""

    def __init__(self, coords: Floats, section: NDArray[np.intp]) -> None:
        self.coords = coords
        members = {s: np.flatnonzero(section == s) for s in np.unique(section)}
        self.sections = {s: (own, cKDTree(coords[own])) for s, own in members.items()}

    def near(
        self, coords: Floats, label: NDArray[np.intp], *, others: bool = False
    ) -> _Nearest:
        """The nearest ones of the same section; ``others``: but not the first one."""
        skip, m = int(others), _N_NEIGHBORS
        index = np.zeros((len(coords), m), np.intp)
        distance = np.full(index.shape, np.inf)
        for s in np.unique(label):
            rows, (members, tree) = np.flatnonzero(label == s), self.sections[s]
            n = min(m + skip, members.size)
            far, found = tree.query(coords[rows], k=np.arange(1, n + 1))
            into = rows[:, None], np.arange(n - skip)
            index[into], distance[into] = members[found[:, skip:]], far[:, skip:]
        inside = distance < distance[:, [-1]] * (1 - SAME)
        share = np.divide(
            distance, distance[:, [-1]], out=np.ones_like(distance), where=inside
        )
        distance[~inside] = np.inf
        noise = 1 / np.maximum(1 - share**2, SAME)
        places = np.concatenate([coords[:, None], self.coords[index]], axis=1)
        # Axis by axis: all differences at once would be as many times as large.
        squared = sum(
            np.square(x[:, :, None] - x[:, None]) for x in np.moveaxis(places, -1, 0)
        )
        return _Nearest(index, distance, noise, np.sqrt(squared))


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
    near = _Seen(locations, section).near(locations[rows], section[rows], others=True)
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
        correlation = kernel_function(kernel, near.between / length)
        for share in _SHARES:
            found, known = _predict(near, correlation, share, plain.mean, center)
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
    places, (coords, label) = _Seen(*seen), wanted
    mean, var = np.empty((2, len(coords), len(kriged.share)))
    for rows in row_blocks(len(coords), (1 + _N_NEIGHBORS) ** 2):
        near = places.near(coords[rows], label[rows])
        mean[rows], var[rows] = _moments(
            kriged, kernel, near, kriged.center[label[rows]]
        )
    return log_moments(mean, var)


def _moments(
    kriged: Kriged, kernel: Kernel, near: _Nearest, center: Floats
) -> tuple[Floats, Floats]:
    """Mean and variance of the factors at some places."""
    mean, known = center.copy(), np.zeros_like(center)
    for length in np.unique(kriged.length_scale[kriged.share > 0]):
        correlation = kernel_function(kernel, near.between / length)
        alike = kriged.length_scale == length
        for share in np.unique(kriged.share[alike & (kriged.share > 0)]):
            own = np.flatnonzero(alike & (kriged.share == share))
            mean[:, own], explained = _predict(
                near, correlation, share, kriged.mean[:, own], center[:, own]
            )
            known[:, own] = explained[:, None] * kriged.trust[own]
    var = kriged.scatter * (1 - known) + kriged.rest
    # What the fit says itself.
    same = near.distance[:, 0] < SAME
    mean[same], var[same] = (x[near.locations[same, 0]] for x in kriged[:2])
    return mean, var


def _predict(
    near: _Nearest, correlation: Floats, share: float, values: Floats, center: Floats
) -> tuple[Floats, Floats]:
    """Predicted values, (n, k), and the part of the variance that is explained, (n,).

    ``correlation``, (n, 1 + m, 1 + m), is that of a ``share`` of the variance.
    """
    missing = ~np.isfinite(near.distance)
    weights, explained = _weights(
        share * correlation, (1 - share) * near.noise, missing
    )
    own = np.where(missing[..., None], center[:, None], values[near.locations])
    found = center + np.einsum("nm,nmk->nk", weights, own - center[:, None])
    # Neither above nor below all that it is made of.
    low, high = (
        extreme(pick(own, 1), center)
        for extreme, pick in ((np.minimum, np.min), (np.maximum, np.max))
    )
    return np.clip(found, low, high), explained


def _weights(
    cov: Floats, noise: Floats, missing: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Weights of neighbours, (n, m), and the part of the variance that they explain."""
    cross = np.where(missing, 0, cov[:, 1:, 0])
    among = np.where(missing[:, :, None] | missing[:, None], 0, cov[:, 1:, 1:])
    each = np.arange(missing.shape[1])
    among[:, each, each] += np.where(missing, 1, noise)
    weights = np.linalg.solve(among, cross[..., None])[..., 0]
    return weights, (weights * cross).sum(1)
