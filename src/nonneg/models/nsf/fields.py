"""Gaussian processes on inducing points, conditioned on Gaussian sites.

A field is ``f = B β + a (A u + ε)``: a trend, values ``u ~ N(0, K)`` at the inducing
points, carried to a location by the weights of its nearest inducing points, and the
rest ``ε ~ N(0, D)``, independent between locations :cite:p:`Snelson2006`. Where the
location is an inducing point itself, A picks it and D vanishes. Evidence comes as
one site ``exp(h f - λ f² / 2)`` per location, so that the posterior is Gaussian:
its precision at the inducing points is ``K⁻¹/a² + AᵀΛA``. Prior and weights belong to
a length scale, not to an amplitude or a factor: one serves all factors that share it.
All factors are conditioned at once.

All of this runs in float64: an inverse of K in single precision is of no use.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    """Everything about fields of unit amplitude that depends on their length scale.

    Shared by all factors, or stacked: then every array starts with their axis.
    """

    precision: jax.Array
    """(n_inducing, n_inducing)"""
    logdet: Floats
    """Of the precision."""
    weights: Floats
    """(n_sites, n_neighbors)"""
    residual: Floats
    """(n_sites,): variance that the inducing points leave."""


class Posterior(NamedTuple):
    """All fields, given their sites."""

    mean: Floats
    """(n_sites, k)"""
    var: Floats
    trend: Floats
    """(k, n_trend): coefficients β."""
    inducing_mean: Floats
    """(k, n_inducing): of ``a u``."""
    inducing_cov: jax.Array
    """(k, n_inducing, n_inducing)"""
    log_evidence: Floats
    """(k,): log of the expectation of all sites under the prior."""


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
    return Prior(precision, np.asarray(logdet), weights, residual)


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


def stack_priors(priors: Sequence[Prior]) -> Prior:
    """Priors of factors that do not share one."""
    precision, *others = zip(*priors, strict=True)
    with _exact():
        return Prior(jnp.stack(precision), *map(np.stack, others))


def _is_stacked(prior: Prior) -> bool:
    return prior.precision.ndim == 3


def _residuals(prior: Prior, amplitude: Floats) -> Floats:
    """Variance that inducing points leave, (n_sites, k)."""
    return np.atleast_2d(prior.residual).T * amplitude**2


def _weights(prior: Prior, k: int) -> Sequence[Floats]:
    return list(prior.weights) if _is_stacked(prior) else [prior.weights] * k


def interpolate(layout: Layout, weights: Sequence[Floats], values: Floats) -> Floats:
    """``A u``: values at the sites, (n_sites, k), of those at inducing points."""
    used = layout.neighbors >= 0
    columns = [
        np.einsum("ip,ip->i", w, np.where(used, v[layout.neighbors], 0))
        for w, v in zip(weights, values, strict=True)
    ]
    return np.stack(columns, axis=1)


def interpolate_var(layout: Layout, weights: Sequence[Floats], cov: Any) -> Floats:
    """``diag(A S Aᵀ)``: variances at the sites, (n_sites, k)."""
    out = np.empty((len(weights), len(layout.neighbors)))
    for row, w, s in zip(out, weights, np.asarray(cov), strict=True):
        quadratic_forms(layout.neighbors, w, s, row)
    return out.T


def _grams(prior: Prior, layout: Layout, values: Floats) -> Floats:
    """``Aᵀ diag(values) A`` of every column of values, (k, n_inducing, n_inducing)."""
    k, n_inducing = values.shape[1], len(layout.inducing)
    out = np.zeros((k, n_inducing, n_inducing))
    columns = np.ascontiguousarray(values.T)
    for gram, w, column in zip(out, _weights(prior, k), columns, strict=True):
        weighted_gram(layout.neighbors, w, column, gram)
    return out


def _sums(
    prior: Prior, layout: Layout, basis: Floats, lam: Floats, h: Floats
) -> tuple[Floats, Floats]:
    """``Aᵀ (Λ B, h)`` and ``Bᵀ (Λ B, h)`` of every factor."""
    k, n_columns = lam.shape[1], basis.shape[1] + 1
    out = np.zeros((k, len(layout.inducing), n_columns))
    normal = np.empty((k, n_columns - 1, n_columns))
    for j, weights in enumerate(_weights(prior, k)):
        columns = np.column_stack([lam[:, j, None] * basis, h[:, j]])
        spread(layout.neighbors, weights, columns, out[j])
        normal[j] = basis.T @ columns
    return out, normal


def site_covariance(
    prior: Prior, layout: Layout, amplitude: Floats, precision: Floats
) -> tuple[jax.Array, Floats]:
    """Posterior covariances of ``a u``, and minus their log determinants."""
    residual = _residuals(prior, amplitude)
    gram = _grams(prior, layout, precision / (1 + precision * residual))
    with _exact():
        cov, logdet = gp.posterior_covariance(
            prior.precision, jnp.asarray(gram), jnp.asarray(amplitude**2)
        )
    return cov, np.asarray(logdet)


def predict(
    prior: Prior,
    layout: Layout,
    basis: Floats,
    amplitude: Floats,
    precision: Floats,
    shift: Floats,
    targets: NDArray[np.intp],
) -> tuple[Floats, Floats]:
    """Means and variances at some sites of the layout that have no evidence.

    A fourth of the work of :func:`condition`, which also gives them.
    """
    residual = _residuals(prior, amplitude)
    damping = 1 / (1 + precision * residual)
    lam, h = precision * damping, shift * damping
    gram = _grams(prior, layout, lam)
    carried, normal = _sums(prior, layout, basis, lam, h)
    picked = np.zeros((*prior.weights.shape[:-2], gram.shape[1], targets.size))
    index = layout.neighbors[targets]
    rows, used = np.nonzero(index >= 0)
    picked[..., index[rows, used], rows] = prior.weights[..., targets, :][
        ..., rows, used
    ]
    with _exact():
        products = gp.inner_products(
            prior.precision,
            jnp.asarray(gram),
            jnp.asarray(amplitude**2),
            jnp.asarray(carried),
            jnp.asarray(picked),
        )
        inner, cross, var = (np.asarray(x) for x in products)
    trend = _solve_trend(normal, inner)
    mean = (basis[targets] @ trend[..., None] + cross[..., -1:])[..., 0]
    mean -= (cross[..., :-1] @ trend[..., None])[..., 0]
    return mean.T, var.T + np.broadcast_to(residual, precision.shape)[targets]


def _solve_trend(normal: Floats, inner: Floats) -> Floats:
    """Generalised least squares: ``basisᵀ V⁻¹ (basis, y)`` less what the field takes."""
    normal = normal - inner[:, :-1]
    normal[..., :-1] += np.eye(normal.shape[1]) / _TREND_SD**2
    return np.linalg.solve(normal[..., :-1], normal[..., -1:])[..., 0]


def condition(
    prior: Prior,
    layout: Layout,
    basis: Floats,
    amplitude: Floats,
    precision: Floats,
    shift: Floats,
) -> Posterior:
    """Posterior of all fields given sites ``exp(shift f - precision f² / 2)``."""
    residual = _residuals(prior, amplitude)
    damping = 1 / (1 + precision * residual)
    # The sites as seen by the part of the field that inducing points have.
    lam, h = precision * damping, shift * damping
    cov, logdet = site_covariance(prior, layout, amplitude, precision)

    carried, normal = _sums(prior, layout, basis, lam, h)
    with _exact():
        solved = np.asarray(cov @ carried)
    trend = _solve_trend(normal, carried.transpose(0, 2, 1) @ solved)
    linear = carried[..., -1] - (carried[..., :-1] @ trend[..., None])[..., 0]
    inducing_mean = solved[..., -1] - (solved[..., :-1] @ trend[..., None])[..., 0]

    center = basis @ trend.T
    weights = _weights(prior, len(amplitude))
    mean = center + damping * (
        interpolate(layout, weights, inducing_mean)
        + residual * (shift - precision * center)
    )
    var = damping**2 * interpolate_var(layout, weights, cov) + damping * residual
    log_evidence = (
        ((linear * inducing_mean).sum(1) - logdet + prior.logdet) / 2
        - len(layout.inducing) * np.log(amplitude)
        + (h * center - lam * center**2 / 2).sum(0)
        + (shift**2 * residual * damping + np.log(damping)).sum(0) / 2
        - (trend**2).sum(1) / (2 * _TREND_SD**2)
    )
    return Posterior(mean, var, trend, inducing_mean, cov, log_evidence)


def pick(post: Posterior, factors: NDArray[np.intp]) -> Posterior:
    """Some factors of a posterior, in the order given."""
    with _exact():
        return Posterior(
            post.mean[:, factors],
            post.var[:, factors],
            post.trend[factors],
            post.inducing_mean[factors],
            post.inducing_cov[factors],
            post.log_evidence[factors],
        )


def divergence(post: Posterior, precision: Floats, shift: Floats) -> Floats:
    """Kullback-Leibler divergences of the posteriors from their priors."""
    sites = shift * post.mean - precision * (post.mean**2 + post.var) / 2
    return sites.sum(0) - post.log_evidence


def sum_var(
    prior: Prior,
    layout: Layout,
    amplitude: Floats,
    precision: Floats,
    post: Posterior,
    weight: Floats,
) -> Floats:
    """Variances of ``weight @ f`` under the posteriors."""
    residual = _residuals(prior, amplitude)
    damping = 1 / (1 + precision * residual)
    nothing = np.empty((len(weight), 0))
    carried = _sums(prior, layout, nothing, damping, weight * damping)[0][..., 0]
    with _exact():
        cov = np.asarray(post.inducing_cov)
    field = np.einsum("ki,kij,kj->k", carried, cov, carried, optimize=True)
    return field + (weight**2 * damping * residual).sum(0)
