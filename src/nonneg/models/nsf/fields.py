"""Gaussian processes on inducing points, conditioned on Gaussian sites.

A field is ``f = B β + a (A u + ε)``: a trend, values ``u ~ N(0, K)`` at the inducing
points, carried to a location by the weights of its nearest inducing points, and the
rest ``ε ~ N(0, D)``, independent between locations :cite:p:`Snelson2006`. Where the
location is an inducing point itself, A picks it and D vanishes. Evidence comes as
one site ``exp(h f - λ f² / 2)`` per location, so that the posterior is Gaussian:
its precision at the inducing points is ``K⁻¹/a² + AᵀΛA``. Prior and weights belong to
a length scale, not to an amplitude or a factor, and are shared.

All of this runs in float64: an inverse of K in single precision is of no use.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from ..._core.typing import Floats
from ...kernels import gp
from ...kernels.covariance import Kernel
from .neighbors import quadratic_forms, spread, weighted_gram

# Parts of the variance; enough for a Cholesky factor in float64 at any length scale.
_JITTER = 1e-6

_MAX_JITTER = 1e-2

# Of the standard normal prior of trend coefficients, whose unit is the log of a
# factor over a quarter of the layout: wide, but proper.
_TREND_SD = 10.0

# Conditional distributions worked out at a time.
_ROWS = 16_384


class Layout(NamedTuple):
    """Locations and the inducing points each of them is tied to."""

    sites: Floats
    """(n_sites, n_dims)"""
    section: NDArray[np.intp]
    """(n_sites,): fields of different sections are independent."""
    inducing: Floats
    """(n_inducing, n_dims)"""
    inducing_section: NDArray[np.intp]
    neighbors: NDArray[np.intp]
    """(n_sites, n_neighbors): nearest inducing points of the section; -1 pads."""


class Prior(NamedTuple):
    """Everything about a field of unit amplitude that depends on its length scale."""

    precision: jax.Array
    """(n_inducing, n_inducing)"""
    logdet: float
    """Of the precision."""
    weights: Floats
    """(n_sites, n_neighbors)"""
    residual: Floats
    """(n_sites,): variance that the inducing points leave."""


class Posterior(NamedTuple):
    """One field, given its sites."""

    mean: Floats
    """(n_sites,)"""
    var: Floats
    trend: Floats
    """Coefficients β."""
    inducing_mean: Floats
    """(n_inducing,): of ``a u``."""
    inducing_cov: jax.Array
    log_evidence: float
    """Log of the expectation of all sites under the prior."""


def _exact() -> Any:
    return jax.enable_x64(new_val=True)


def prior(kernel: Kernel, layout: Layout, length_scale: Floats) -> Prior:
    """Prior of a field; ``length_scale`` is a number, or one for every axis."""
    z = layout.inducing / length_scale
    jitter = _JITTER
    with _exact():
        while True:
            precision, logdet = gp.prior_precision(
                kernel, jnp.asarray(z), jnp.asarray(layout.inducing_section), jitter
            )
            if np.isfinite(logdet):
                break
            jitter *= 10
            if jitter > _MAX_JITTER:
                msg = (
                    f"The covariance of {len(z)} inducing points is singular at length "
                    f"scale {np.round(length_scale, 3)}."
                )
                raise np.linalg.LinAlgError(msg)
    weights, residual = conditional(kernel, layout, length_scale, jitter)
    return Prior(precision, float(logdet), weights, residual)


def conditional(
    kernel: Kernel, layout: Layout, length_scale: Floats, jitter: float = _JITTER
) -> tuple[Floats, Floats]:
    """Weights of every site's inducing points, and the variance they leave."""
    x, z = layout.sites / length_scale, layout.inducing / length_scale
    weights = np.empty(layout.neighbors.shape)
    residual = np.empty(len(x))
    with _exact():
        for start in range(0, len(x), _ROWS):
            rows = slice(start, start + _ROWS)
            index = layout.neighbors[rows]
            w, d = gp.conditional_weights(
                kernel,
                jnp.asarray(x[rows]),
                jnp.asarray(z[index]),
                jnp.asarray(index >= 0),
                jitter,
            )
            weights[rows], residual[rows] = w, d
    return weights, residual


def carry(layout: Layout, weights: Floats, inducing_values: Floats) -> Floats:
    """``A u``: values at the sites."""
    picked = np.where(layout.neighbors >= 0, inducing_values[layout.neighbors], 0)
    return np.einsum("ip,ip->i", weights, picked)


def carry_var(layout: Layout, weights: Floats, cov: Floats | jax.Array) -> Floats:
    """``diag(A S Aᵀ)``: variances at the sites."""
    out = np.empty(len(weights))
    quadratic_forms(layout.neighbors, weights, np.asarray(cov), out)
    return out


def site_covariance(
    prior: Prior, layout: Layout, amplitude: float, precision: Floats
) -> tuple[jax.Array, float]:
    """Posterior covariance of ``a u``, and minus its log determinant."""
    residual = amplitude**2 * prior.residual
    gram = np.zeros(prior.precision.shape)
    weighted_gram(
        layout.neighbors, prior.weights, precision / (1 + precision * residual), gram
    )
    with _exact():
        cov, logdet = gp.posterior_covariance(
            prior.precision, jnp.asarray(gram), amplitude**2
        )
    return cov, float(logdet)


def predict(
    prior: Prior,
    layout: Layout,
    basis: Floats,
    amplitude: float,
    precision: Floats,
    shift: Floats,
    targets: NDArray[np.intp],
) -> tuple[Floats, Floats]:
    """Mean and variance at some sites of the layout that have no evidence.

    A fourth of the work of :func:`condition`, which also gives them.
    """
    residual = amplitude**2 * prior.residual
    damping = 1 / (1 + precision * residual)
    lam, h = precision * damping, shift * damping
    gram = np.zeros(prior.precision.shape)
    weighted_gram(layout.neighbors, prior.weights, lam, gram)
    columns = np.column_stack([lam[:, None] * basis, h])
    carried = np.zeros((len(gram), columns.shape[1]))
    spread(layout.neighbors, prior.weights, columns, carried)
    picked = np.zeros((len(gram), targets.size))
    index = layout.neighbors[targets]
    rows, columns_used = np.nonzero(index >= 0)
    picked[index[rows, columns_used], rows] = prior.weights[targets][rows, columns_used]
    with _exact():
        inner, cross, var = gp.inner_products(
            prior.precision,
            jnp.asarray(gram),
            amplitude**2,
            jnp.asarray(carried),
            jnp.asarray(picked),
        )
        inner, cross, var = (np.asarray(x) for x in (inner, cross, var))
    trend = _solve_trend(basis, columns, inner)
    mean = basis[targets] @ trend + cross[:, -1] - cross[:, :-1] @ trend
    return mean, var + residual[targets]


def _solve_trend(basis: Floats, columns: Floats, inner: Floats) -> Floats:
    """Generalised least squares: ``basisᵀ V⁻¹ (basis, y)`` less what the field takes."""
    normal = (basis.T @ columns) - inner[:-1]
    normal[:, :-1] += np.eye(basis.shape[1]) / _TREND_SD**2
    return np.linalg.solve(normal[:, :-1], normal[:, -1])


def condition(
    prior: Prior,
    layout: Layout,
    basis: Floats,
    amplitude: float,
    precision: Floats,
    shift: Floats,
) -> Posterior:
    """Posterior of a field given sites ``exp(shift f - precision f² / 2)``."""
    residual = amplitude**2 * prior.residual
    damping = 1 / (1 + precision * residual)
    # The sites as seen by the part of the field that inducing points carry.
    lam, h = precision * damping, shift * damping
    cov, logdet = site_covariance(prior, layout, amplitude, precision)

    columns = np.column_stack([lam[:, None] * basis, h])
    carried = np.zeros((len(layout.inducing), columns.shape[1]))
    spread(layout.neighbors, prior.weights, columns, carried)
    with _exact():
        solved = np.asarray(cov @ carried)
    trend = _solve_trend(basis, columns, carried.T @ solved)
    linear = carried[:, -1] - carried[:, :-1] @ trend
    inducing_mean = solved[:, -1] - solved[:, :-1] @ trend

    center = basis @ trend
    mean = center + damping * (
        carry(layout, prior.weights, inducing_mean)
        + residual * (shift - precision * center)
    )
    var = damping**2 * carry_var(layout, prior.weights, cov) + damping * residual
    log_evidence = (
        (linear @ inducing_mean - logdet + prior.logdet) / 2
        - len(layout.inducing) * np.log(amplitude)
        + (h * center - lam * center**2 / 2).sum()
        + (shift**2 * residual * damping + np.log(damping)).sum() / 2
        - (trend**2).sum() / (2 * _TREND_SD**2)
    )
    return Posterior(mean, var, trend, inducing_mean, cov, float(log_evidence))


def divergence(post: Posterior, precision: Floats, shift: Floats) -> float:
    """Kullback-Leibler divergence of the posterior from the prior."""
    sites = shift * post.mean - precision * (post.mean**2 + post.var) / 2
    return float(sites.sum()) - post.log_evidence


def sum_var(
    prior: Prior,
    layout: Layout,
    amplitude: float,
    precision: Floats,
    post: Posterior,
    weight: Floats,
) -> float:
    """Variance of ``weight @ f`` under the posterior."""
    residual = amplitude**2 * prior.residual
    damping = 1 / (1 + precision * residual)
    carried = np.zeros((len(layout.inducing), 1))
    spread(layout.neighbors, prior.weights, (weight * damping)[:, None], carried)
    field = carried[:, 0] @ np.asarray(post.inducing_cov) @ carried[:, 0]
    return float(field + (weight**2 * damping * residual).sum())
