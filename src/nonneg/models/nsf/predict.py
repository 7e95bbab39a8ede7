"""Fields at new locations, from what a fit has stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from ..._core.typing import Floats
from . import fields as gp
from .kriging import SAME
from .layout import Layout, make_layout
from .likelihood import expected
from .lognormal import at_most
from .model import predict_field
from .priors import Priors
from .problem import Space, trend_basis

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...kernels.covariance import Kernel
    from .problem import Trend

# Of the variance of locations: less of it, across a line, is none.
_FLAT = 1e-9

# Its square is above zero.
_LEAST = 1e-150

# To the precision of the coordinates.
_N_BISECTIONS = 60


class Fields(NamedTuple):
    """Stored spatial factors, under the names that they are stored with.

    A site is there the place of observations, which the code calls a location.
    """

    kernel: Kernel
    trend_kind: Trend
    n_neighbors: int
    length_scale: Floats
    """(k, 1 or n_dims)"""
    amplitude: Floats
    """(k,)"""
    nugget: float
    inducing: Floats
    inducing_section: NDArray[np.integer[Any]]
    inducing_mean: Floats
    """(k, n_inducing)"""
    trend: Floats
    """(k, n_trend)"""
    sites: Floats
    site_section: NDArray[np.integer[Any]]
    site_precision: Floats
    """(n_locations, k)"""
    site_mean: Floats
    site_var: Floats


def predict_fields(
    fields: Fields, coords: Floats, section: NDArray[np.intp], *, log_link: bool
) -> tuple[Floats, Floats]:
    """Mean and variance of every field at scaled coordinates, (n, k) each.

    Of logarithms with ``log_link``: factors are nowhere above what they are somewhere in the
    fit. The covariance at inducing points is not stored: it follows from the precision of
    the sites.
    """
    inducing_section = fields.inducing_section.astype(np.intp)

    def layout(locations: Floats, label: NDArray[np.integer[Any]]) -> Layout:
        return make_layout(
            locations,
            label.astype(np.intp),
            fields.inducing,
            inducing_section,
            fields.n_neighbors,
        )

    seen = layout(fields.sites, fields.site_section)
    # As many columns as the fit had, whichever sections are asked for.
    n_sections = int(inducing_section.max()) + 1
    at = coords if fields.trend_kind == "constant" else _near(coords, section, fields)
    basis = trend_basis(at, section, fields.trend_kind, n_sections)
    new = Space(layout(coords, section), np.arange(len(coords)), basis, ())
    scales = fields.length_scale
    prior = Priors(fields.kernel, seen, len(scales)).at(scales, fields.nugget)
    cov, _ = gp.site_covariance(prior, fields.amplitude, fields.site_precision)
    mean, var = predict_field(
        fields.kernel,
        new,
        scales,
        fields.amplitude,
        fields.nugget,
        trend=fields.trend,
        inducing_mean=fields.inducing_mean,
        inducing_cov=cov,
    )
    if log_link:
        largest = expected(fields.site_mean, fields.site_var).max(0)
        mean, var = at_most(mean, var, largest)
    # Observed locations know more than their inducing points.
    for s in np.unique(section):
        rows, own = (
            np.flatnonzero(section == s),
            np.flatnonzero(fields.site_section == s),
        )
        found = cKDTree(fields.sites[own]).query(coords[rows])
        distance, nearest = (np.asarray(x) for x in found)
        exact = distance < SAME
        mean[rows[exact]] = fields.site_mean[own[nearest[exact]]]
        var[rows[exact]] = fields.site_var[own[nearest[exact]]]
    return mean, var


def _near(coords: Floats, section: NDArray[np.intp], fields: Fields) -> Floats:
    """Coordinates where the trend is taken: its own, but no farther than the tissue reaches.

    A straight line, of logarithms at that, would grow without limit. So places outside of the
    ellipsoid around a section, in the shape of its covariance and as large as its outermost
    location asks, have the trend of its nearest point. Turned sections have a turned one.
    """
    near = np.array(coords, np.float64)
    for s in np.unique(section):
        rows, own = section == s, fields.sites[fields.site_section == s]
        center = own.mean(0)
        variance, axes = np.linalg.eigh(np.atleast_2d(np.cov(own.T, bias=True)))
        variance = np.where(variance > _FLAT * variance.sum(), variance, 0)
        places = np.square((own - center) @ axes)
        reach = (places / np.where(variance > 0, variance, np.inf)).sum(1).max()
        point = (near[rows] - center) @ axes
        found = _nearest_inside(point, variance * reach)
        moved = (found != point).any(1, keepdims=True)
        near[rows] = np.where(moved, center + found @ axes.T, near[rows])
    return near


def _nearest_inside(points: Floats, half: Floats) -> Floats:
    """The nearest points of an ellipsoid, whose squared half axes are given, 0 of flat ones.

    Along each axis they are ``half / (half + t)`` of the way, with the ``t`` that leads to the
    surface; 0 inside.
    """
    weight = half * np.square(points)
    low, high = np.zeros(len(points)), np.sqrt(weight.sum(1))

    def divisor(t: Floats) -> Floats:
        return np.maximum(half + t[:, None], _LEAST)

    inside = (weight / np.square(divisor(low))).sum(1) <= 1
    for _ in range(_N_BISECTIONS):
        middle = (low + high) / 2
        beyond = (weight / np.square(divisor(middle))).sum(1) > 1
        low, high = np.where(beyond, middle, low), np.where(beyond, high, middle)
    t = np.where(inside, 0, high)
    share = np.where(half > 0, half / divisor(t), 0)
    return np.where(share == 1, points, points * share)
