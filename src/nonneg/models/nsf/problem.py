"""Options, space and state of a fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from ..._core.typing import Floats
from .layout import Layout, choose_inducing, make_layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...kernels.covariance import Kernel
    from .fields import Posterior


type Trend = Literal["linear", "constant"]


class Kernels(NamedTuple):
    """Covariance of the spatial factors, and the trust in counts."""

    length_scale: Floats
    """(n_spatial, 1 or n_dims)"""
    amplitude: Floats
    """(n_spatial,)"""
    nugget: float
    """Variance of each location's own, by ``amplitude²``."""
    temperature: float
    """The log likelihood is divided by it."""


@dataclass(frozen=True)
class SearchOptions:
    """How kernels are chosen on held-out locations, and why so."""

    held_out: float = 0.2
    """Part of the locations in a fold: with much less, scores are of few locations; with
    much more, of fits to data sparser than those that are fitted in the end."""
    max_held_out: int = 2_000
    """Beyond it, the kernel is limited by what it can say, not by the noise of scores."""
    max_locations: int = 20_000
    """That take part: a search need not take longer than the fit that follows."""
    n_scored: int = 240
    """Locations that are scored at least, over folds: the noise of the difference between
    two kernels is then smaller than that of a step on the log scale."""
    n_small: int = 1_500
    """Up to so many locations, all are inducing points, as in the fit."""
    n_inducing: int = 500
    """With more: kernels that differ are told apart with them, in a fraction of the time."""
    first: int = 8
    """Steps of the fit before the first move: loadings must have settled on smooth fields
    before rougher ones are tried, which could take over what others should have."""
    every: int = 3
    """Steps between moves: sites, which moves leave as they are, have to follow."""
    max_steps: int = 26
    """Of the fit during the search: seven rounds of moves reach any corner from the
    start, in steps of one on the log scale."""
    first_move: float = 1.0
    last_move: float = 0.2
    """Moves on the log scale, the first and the smallest: values that differ by less
    predict the same."""
    length_range: tuple[float, float] = (0.02, 8.0)
    """In a layout of side 4: from below the distance of neighbours to a field that is
    constant."""
    amplitude_range: tuple[float, float] = (0.05, 20.0)
    """Of logarithms: 5 %, and beyond what counts can show."""
    temperature_range: tuple[float, float] = (1.0, 1e4)
    """At 1 the likelihood is as it is."""


@dataclass(frozen=True)
class Options:
    """How to fit."""

    kernel: Kernel = "matern32"
    trend: Trend = "linear"
    shared_kernel: bool = True
    anisotropic: bool = False
    length_scale: float | None = None
    amplitude: float | None = None
    nugget: float = 0.0
    temperature: float | None = None
    n_inducing: int = 1000
    n_neighbors: int = 12
    learning_rate: float = 1.0
    max_iter: int = 200
    tol: float = 5e-3
    shrinkage: float = 0.2
    seed: int = 0
    n_permutations: int = 0
    """Of places, to tell how spatial fields are by chance."""
    search: SearchOptions = SearchOptions()


class Space(NamedTuple):
    """Where observations lie: several may share a location."""

    layout: Layout
    index: Any
    """(n_obs,): location of every observation."""
    basis: Any
    """(n_locations, n_trend): what the trend is linear in."""
    order: Any
    """(n_locations,): locations in an order that depends on what was measured only."""

    def sum_by_location(self, values: Any) -> Any:
        """Sums over the observations of each location, in float64."""
        n_locations = len(self.layout.locations)
        if not isinstance(values, np.ndarray):
            values = values.astype(jnp.float64)
            return jax.ops.segment_sum(values, self.index, n_locations)
        values = values.astype(np.float64)
        if np.array_equal(self.index, np.arange(n_locations)):
            return values
        shape = (n_locations, len(self.index))
        ones = np.ones(len(self.index))
        member = sp.csr_array((ones, (self.index, np.arange(shape[1]))), shape=shape)
        return member @ values


class NSFState(NamedTuple):
    """A fit in progress."""

    w: Any
    """(n_vars, k)"""
    mean: Any
    """(n_obs, k): of the factors, or of their logarithms."""
    var: Any
    precision: Any
    """(n_obs, k): sites."""
    shift: Any
    noise: Any
    """What the likelihood has learned of the noise."""
    iid: Any
    """(2, k - n_spatial): prior mean and variance of factors without space."""
    post: Posterior | tuple[()]
    """Of the spatial factors."""
    penalty: Any
    """(k,): divergences from the priors, as they count in the bound."""


def make_space(
    coords: Floats,
    section: NDArray[np.intp],
    options: Options,
    totals: Floats | None = None,
) -> Space:
    """Unique locations, inducing points and trend of scaled coordinates.

    ``totals`` of the observations order locations that are as far from the centre.
    """
    keyed = np.column_stack([section, coords])
    locations, index = np.unique(keyed, axis=0, return_inverse=True)
    label = locations[:, 0].astype(np.intp)
    locations = np.ascontiguousarray(locations[:, 1:])
    if totals is None:
        totals = np.zeros(len(coords))
    by_location = np.bincount(index.ravel(), totals, len(locations))
    order = invariant_order(locations, label, by_location)
    inducing = choose_inducing(
        locations, label, order, options.n_inducing, options.seed
    )
    layout = make_layout(locations, label, *inducing, options.n_neighbors)
    return Space(
        layout,
        index.ravel(),
        trend_basis(locations, label, options.trend, int(label.max()) + 1),
        order,
    )


def invariant_order(
    locations: Floats, section: NDArray[np.intp], totals: Floats
) -> NDArray[np.intp]:
    """Locations in an order that rotations, mirroring, shifts and scales do not change.

    By the distance from the centre of the section, then by totals; neither does the
    order of rows count. What is drawn at random along it is the same for all of them.
    """
    distance = np.zeros(len(locations))
    for s in np.unique(section):
        own = section == s
        from_center = np.linalg.norm(locations[own] - locations[own].mean(0), axis=1)
        distance[own] = from_center / max(from_center.max(), 1e-300)
    # Rounded, so that rounding of the coordinates does not count.
    return np.lexsort((totals, np.round(distance, _DIGITS), section))


# Of distances, as fractions of the radius: single precision has seven.
_DIGITS = 5


def trend_basis(
    locations: Floats, section: NDArray[np.intp], trend: Trend, n_sections: int
) -> Floats:
    """Columns of the trend: an intercept, and slopes, for every section."""
    member = (section[:, None] == np.arange(n_sections)).astype(float)
    if trend == "constant":
        return member
    slopes = (member[:, :, None] * locations[:, None]).reshape(len(locations), -1)
    return np.column_stack([member, slopes])
