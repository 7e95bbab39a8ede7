"""Gaussian processes on inducing points, conditioned on Gaussian sites.

A field is ``f = B β + a (A u + ε)``: a trend, values ``u ~ N(0, K)`` at the inducing
points, carried to a location by the weights of its nearest inducing points, and the
rest ``ε ~ N(0, D)``, independent between locations :cite:p:`Snelson2006`. Where the
location is an inducing point itself, A picks it and D vanishes. Evidence comes as
one site ``exp(h f - λ f² / 2)`` per location, so that the posterior is Gaussian:
its precision at the inducing points is ``K⁻¹/a² + AᵀΛA``. Prior and weights belong to
a length scale, not to an amplitude or a factor: one serves all factors that share it.
All factors are conditioned at once.

All of this runs in float64, in memory of the host or of a device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri

from ..._core.namespace import namespace
from ..._core.precision import float64
from ...kernels import gp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .priors import Prior


# Of the standard normal prior of trend coefficients, whose unit is the log of a
# factor over a quarter of the layout: wide, but proper.
_TREND_SD = 10.0


class Posterior(NamedTuple):
    """All fields, given their sites."""

    mean: Any
    """(n_locations, k)"""
    var: Any
    trend: Any
    """(k, n_trend): coefficients β."""
    inducing_mean: Any
    """(k, n_inducing): of ``a u``."""
    inducing_cov: Any
    """(k, n_inducing, n_inducing)"""
    log_evidence: Any
    """(k,): log of the expectation of all sites under the prior."""


def _residuals(prior: Prior, amplitude: Any) -> Any:
    """Variance of each location's own, (n_locations, k)."""
    xp = namespace(prior.residual)
    return xp.atleast_2d(prior.residual).T * amplitude**2


def _sums(prior: Prior, basis: Any, lam: Any, h: Any) -> tuple[Any, Any]:
    """``Aᵀ (Λ B, h)`` and ``Bᵀ (Λ B, h)`` of every factor."""
    xp = namespace(lam)
    # A factor at a time: with many sections, all at once would be as large as they are.
    products = xp.stack([basis.T @ (own[:, None] * basis) for own in lam.T])
    normal = xp.concatenate([products, (h.T @ basis)[..., None]], axis=-1)
    return prior.interpolation.sums(basis, lam, h), normal


def site_covariance(prior: Prior, amplitude: Any, precision: Any) -> tuple[Any, Any]:
    """Posterior covariances of ``a u``, and minus their log determinants."""
    residual = _residuals(prior, amplitude)
    gram = prior.interpolation.gram(precision / (1 + precision * residual))
    if isinstance(gram, np.ndarray):
        return _host_covariance(np.asarray(prior.precision), gram, amplitude**2)
    with float64():
        return gp.posterior_covariance(prior.precision, gram, amplitude**2)


# Rows and columns of a matrix that are in cache together.
_TILE = 128


def _host_covariance(precision: Any, gram: Any, var: Any) -> tuple[Any, Any]:
    """The same in the memory of ``gram``, a third of the work of triangular solves."""
    logdet = np.empty(len(gram))
    each = np.broadcast_to(precision, gram.shape)
    for j, own in enumerate(each):
        cov = gram[j]
        np.add(cov, own / var[j], out=cov)
        # Transposed, as LAPACK stores matrices: what is lower there is upper here.
        factor, failed = dpotrf(cov.T, lower=True, clean=False, overwrite_a=True)
        logdet[j] = 2 * np.log(np.diagonal(factor)).sum()
        dpotri(factor, lower=True, overwrite_c=True)
        for start in range(0, len(cov), _TILE):
            stop = start + _TILE
            cov[stop:, start:stop] = cov[start:stop, stop:].T
            tile = np.triu(cov[start:stop, start:stop])
            cov[start:stop, start:stop] = tile + np.triu(tile, 1).T
        if failed:
            cov[:] = np.nan
    return gram, logdet


def predict(
    prior: Prior,
    basis: Any,
    amplitude: Any,
    precision: Any,
    shift: Any,
    targets: NDArray[np.intp],
) -> tuple[Any, Any]:
    """Means and variances at some locations of the layout that have no evidence.

    A fourth of the work of :func:`condition`, which also gives them.
    """
    xp = namespace(precision)
    residual = _residuals(prior, amplitude)
    damping = 1 / (1 + precision * residual)
    lam, h = precision * damping, shift * damping
    gram = prior.interpolation.gram(lam)
    carried, normal = _sums(prior, basis, lam, h)
    with float64():
        products = gp.inner_products(
            prior.precision,
            gram,
            amplitude**2,
            carried,
            prior.interpolation.dense_rows(targets),
        )
        inner, cross, var = (xp.asarray(x) for x in products)
    trend = _solve_trend(normal, inner)
    mean = (basis[targets] @ trend[..., None] + cross[..., -1:])[..., 0]
    mean = mean - (cross[..., :-1] @ trend[..., None])[..., 0]
    return mean.T, var.T + xp.broadcast_to(residual, precision.shape)[targets]


def _solve_trend(normal: Any, inner: Any) -> Any:
    """Generalised least squares: ``basisᵀ V⁻¹ (basis, y)`` less what the field takes."""
    xp = namespace(normal)
    normal = normal - inner[:, :-1]
    left = normal[..., :-1] + xp.eye(normal.shape[1]) / _TREND_SD**2
    return xp.linalg.solve(left, normal[..., -1:])[..., 0]


class _Means(NamedTuple):
    """Means of fields whose covariances are known."""

    mean: Any
    trend: Any
    inducing_mean: Any
    quadratic: Any
    """(k,): of the inducing means in the log evidence."""


def _means(
    prior: Prior, basis: Any, amplitude: Any, precision: Any, cov: Any, shift: Any
) -> _Means:
    residual = _residuals(prior, amplitude)
    damping = 1 / (1 + precision * residual)
    # The sites as seen by the part of the field that inducing points have.
    carried, normal = _sums(prior, basis, precision * damping, shift * damping)
    with float64():
        solved = namespace(precision).asarray(cov @ carried)
    trend = _solve_trend(normal, carried.transpose(0, 2, 1) @ solved)
    linear = carried[..., -1] - (carried[..., :-1] @ trend[..., None])[..., 0]
    inducing_mean = solved[..., -1] - (solved[..., :-1] @ trend[..., None])[..., 0]
    center = basis @ trend.T
    mean = center + damping * (
        prior.interpolation.matmul(inducing_mean)
        + residual * (shift - precision * center)
    )
    return _Means(mean, trend, inducing_mean, (linear * inducing_mean).sum(1))


def mean_change(
    prior: Prior, basis: Any, amplitude: Any, precision: Any, cov: Any, shift: Any
) -> Any:
    """By how much posterior means at the locations change with the shift of sites.

    ``cov`` is the posterior covariance that belongs to the precision of the sites. Means
    are linear in the shift: this is a product, without another factorization.
    """
    return _means(prior, basis, amplitude, precision, cov, shift).mean


def condition(
    prior: Prior,
    basis: Any,
    amplitude: Any,
    precision: Any,
    shift: Any,
    covariance: tuple[Any, Any] | None = None,
) -> Posterior:
    """Posterior of all fields given sites ``exp(shift f - precision f² / 2)``.

    ``covariance`` is what :func:`site_covariance` gives, where it is known.
    """
    xp = namespace(precision)
    cov, logdet = covariance or site_covariance(prior, amplitude, precision)
    found = _means(prior, basis, amplitude, precision, cov, shift)
    residual = _residuals(prior, amplitude)
    damping = 1 / (1 + precision * residual)
    lam, h = precision * damping, shift * damping
    var = damping**2 * prior.interpolation.variances(cov) + damping * residual
    center = basis @ found.trend.T
    log_evidence = (
        (found.quadratic - logdet + prior.logdet) / 2
        - found.inducing_mean.shape[1] * xp.log(amplitude)
        + (h * center - lam * center**2 / 2).sum(0)
        + (shift**2 * residual * damping + xp.log(damping)).sum(0) / 2
        - (found.trend**2).sum(1) / (2 * _TREND_SD**2)
    )
    return Posterior(
        found.mean, var, found.trend, found.inducing_mean, cov, log_evidence
    )


def pick(post: Posterior, factors: NDArray[np.intp]) -> Posterior:
    """Some factors of a posterior, in the order given."""
    with float64():
        return Posterior(
            post.mean[:, factors],
            post.var[:, factors],
            post.trend[factors],
            post.inducing_mean[factors],
            post.inducing_cov[factors],
            post.log_evidence[factors],
        )


def divergence(post: Posterior, precision: Any, shift: Any) -> Any:
    """Kullback-Leibler divergences of the posteriors from their priors."""
    sites = shift * post.mean - precision * (post.mean**2 + post.var) / 2
    return sites.sum(0) - post.log_evidence


def sum_var(
    prior: Prior, amplitude: Any, precision: Any, post: Posterior, weight: Any
) -> Any:
    """Variances of ``weight @ f`` under the posteriors."""
    xp = namespace(precision)
    residual = _residuals(prior, amplitude)
    damping = 1 / (1 + precision * residual)
    nothing = xp.empty((len(weight), 0))
    carried = prior.interpolation.sums(nothing, damping, weight * damping)[..., 0]
    with float64():
        cov = xp.asarray(post.inducing_cov)
        field = xp.einsum("ki,kij,kj->k", carried, cov, carried, optimize=True)
    return field + (weight**2 * damping * residual).sum(0)
