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
    dispersion: float
    """The log likelihood is divided by it."""


@dataclass(frozen=True)
class Options:
    """How to fit."""

    kernel: Kernel = "matern32"
    trend: Trend = "linear"
    shared_kernel: bool = True
    anisotropic: bool = False
    length_scale: float | None = None
    amplitude: float | None = None
    dispersion: float | None = None
    n_inducing: int = 1000
    n_neighbors: int = 12
    batch_size: int | None = None
    learning_rate: float = 1.0
    max_iter: int = 200
    tol: float = 1e-4
    shrinkage: float = 0.2
    seed: int = 0


class Space(NamedTuple):
    """Where observations lie: several may share a location."""

    layout: Layout
    index: Any
    """(n_obs,): location of every observation."""
    basis: Any
    """(n_locations, n_trend): what the trend is linear in."""

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
    """Divergences from the priors, as they count in the bound."""


def make_space(
    coords: Floats,
    section: NDArray[np.intp],
    options: Options,
) -> Space:
    """Unique locations, inducing points and trend of scaled coordinates."""
    keyed = np.column_stack([section, coords])
    locations, index = np.unique(keyed, axis=0, return_inverse=True)
    label = locations[:, 0].astype(np.intp)
    locations = np.ascontiguousarray(locations[:, 1:])
    inducing = choose_inducing(locations, label, options.n_inducing, options.seed)
    layout = make_layout(locations, label, *inducing, options.n_neighbors)
    return Space(
        layout,
        index.ravel(),
        trend_basis(locations, label, options.trend, int(label.max()) + 1),
    )


def trend_basis(
    locations: Floats, section: NDArray[np.intp], trend: Trend, n_sections: int
) -> Floats:
    """Columns of the trend: an intercept, and slopes, for every section."""
    member = (section[:, None] == np.arange(n_sections)).astype(float)
    if trend == "constant":
        return member
    slopes = (member[:, :, None] * locations[:, None]).reshape(len(locations), -1)
    return np.column_stack([member, slopes])
