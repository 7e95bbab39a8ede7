"""Options, space and state of a fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import scipy.sparse as sp

from ..._core.typing import Floats
from .layout import choose_inducing, tie

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...kernels.covariance import Kernel
    from .fields import Layout, Posterior


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
    """Where observations lie: several may share a site."""

    layout: Layout
    site: NDArray[np.intp]
    """(n_obs,): site of every observation."""
    basis: Floats
    """(n_sites, n_trend): what the trend is linear in."""

    def sum_sites(self, values: Floats) -> Floats:
        """Sums over the observations of each site, in float64."""
        n_sites = len(self.layout.sites)
        if len(self.site) == n_sites and (self.site == np.arange(n_sites)).all():
            return values.astype(np.float64)
        shape = (n_sites, len(self.site))
        ones = np.ones(len(self.site))
        member = sp.csr_array((ones, (self.site, np.arange(shape[1]))), shape=shape)
        return member @ values.astype(np.float64)


class NSFState(NamedTuple):
    """A fit in progress."""

    w: Floats
    """(n_vars, k)"""
    mean: Floats
    """(n_obs, k): of the factors, or of their logarithms."""
    var: Floats
    precision: Floats
    """(n_obs, k): sites."""
    shift: Floats
    iid: Floats
    """(2, k - n_spatial): prior mean and variance of factors without space."""
    post: Posterior | tuple[()]
    """Of the spatial factors."""
    penalty: float
    """Divergences from the priors, as they count in the bound."""


def make_space(
    coords: Floats,
    section: NDArray[np.intp],
    options: Options,
) -> Space:
    """Unique sites, inducing points and trend of scaled coordinates."""
    keyed = np.column_stack([section, coords])
    sites, index = np.unique(keyed, axis=0, return_inverse=True)
    label, sites = sites[:, 0].astype(np.intp), np.ascontiguousarray(sites[:, 1:])
    inducing = choose_inducing(sites, label, options.n_inducing, options.seed)
    layout = tie(sites, label, *inducing, options.n_neighbors)
    return Space(
        layout,
        index.ravel(),
        trend_basis(sites, label, options.trend, int(label.max()) + 1),
    )


def trend_basis(
    sites: Floats, section: NDArray[np.intp], trend: Trend, n_sections: int
) -> Floats:
    """Columns of the trend: an intercept, and slopes, for every section."""
    member = (section[:, None] == np.arange(n_sections)).astype(float)
    if trend == "constant":
        return member
    slopes = (member[:, :, None] * sites[:, None]).reshape(len(sites), -1)
    return np.column_stack([member, slopes])
