"""Fields at new locations, from what a fit has stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from ..._core.typing import Floats
from . import fields as gp
from .kriging import SAME
from .layout import Layout, make_layout
from .model import predict_field
from .priors import Priors
from .problem import Space, trend_basis

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...kernels.covariance import Kernel
    from .problem import Trend


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
    fields: Fields, coords: Floats, section: NDArray[np.intp]
) -> tuple[Floats, Floats]:
    """Mean and variance of every field at scaled coordinates, (n, k) each.

    The covariance at inducing points is not stored: it follows from the precision of
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
    basis = trend_basis(coords, section, fields.trend_kind, n_sections)
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
