"""Likelihoods against SciPy, Monte Carlo and derivatives."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import scipy.stats as st
from scipy.special import gammaln, xlogy

from nonneg.models.nsf.gaussian import Gaussian, LinearGaussian
from nonneg.models.nsf.likelihood import Observations, column_sq_norm
from nonneg.models.nsf.negative_binomial import NegativeBinomial
from nonneg.models.nsf.poisson import Poisson, PoissonMonteCarlo
from nonneg.operators.choose import as_operator

N_OBS, N_VARS, RANK = 40, 15, 3
FORMS = {"dense": np.asarray, "csr": sp.csr_matrix}
FORM = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


@pytest.fixture
def case(x64):
    """Counts, size factors, and a present state of the fit, in float64."""
    rng = np.random.default_rng(0)
    mean = 0.5 * rng.standard_normal((N_OBS, RANK))
    var = rng.uniform(0.02, 0.3, (N_OBS, RANK))
    w = rng.gamma(0.7, 2, (N_VARS, RANK))
    size = rng.uniform(0.5, 2, N_OBS)
    x = rng.poisson(size[:, None] * np.exp(mean) @ w.T).astype(float)
    return x, size, mean, var, w


def operator(x):
    return as_operator(x, where="X")


def evidence(likelihood, mean, var, w, noise=None):
    """At the noise that the likelihood starts from, unless it is given."""
    noise = likelihood.noise if noise is None else noise
    return likelihood.evidence(noise, mean, var, w)


def local_at(likelihood, mean, var, w, noise=None):
    """What is said of factors at the present loadings, and noise if it is given."""
    found = evidence(likelihood, mean, var, w, noise)._replace(w=w)
    if noise is not None:
        found = found._replace(noise=noise)
    return likelihood.local(found, mean, var)


def precision_at(likelihood, mean, var, w):
    """Of sites, where means and variances have not moved."""
    return local_at(likelihood, mean, var, w).precision(np.zeros_like(mean))


def log_poisson(x):
    """Of the saturated model."""
    return xlogy(x, x) - x - gammaln(x + 1)


def draws(mean, var, n=4000, seed=1):
    z = np.random.default_rng(seed).standard_normal((n, *mean.shape))
    return np.exp(mean + np.sqrt(var) * z)


def poisson_bound(x, size, mean, var, w):
    """With shares at their optimum, relative to the saturated model."""
    log_mean = jnp.log(size[:, None] * (jnp.exp(mean) @ w.T))
    total = size[:, None] * (jnp.exp(mean + var / 2) @ w.T)
    saturated = xlogy(x, x) - x
    return (x * log_mean - total - saturated).sum()


@FORM
def test_poisson_value(case, form):
    x, size, mean, var, w = case
    value = evidence(Poisson(operator(form(x)), size), mean, var, w).value
    assert value == pytest.approx(float(poisson_bound(*case)), rel=1e-9)


def test_poisson_bound_is_below_the_expectation(case):
    x, size, mean, var, w = case
    value = evidence(Poisson(operator(x), size), mean, var, w).value
    rate = size[:, None] * (draws(mean, var) @ w.T)
    per_draw = (st.poisson.logpmf(x, rate) - log_poisson(x)).sum((1, 2))
    expected = per_draw.mean()
    error = per_draw.std() / np.sqrt(len(per_draw))
    assert value < expected - 3 * error
    # And not far below: the gap is that of Jensen's inequality.
    assert value > expected - 0.5 * (x * var.max()).sum()


def test_poisson_bound_is_tight_without_variance(case):
    x, size, mean, _, w = case
    value = evidence(Poisson(operator(x), size), mean, np.zeros_like(mean), w).value
    rate = size[:, None] * (np.exp(mean) @ w.T)
    expected = (st.poisson.logpmf(x, rate) - log_poisson(x)).sum()
    assert value == pytest.approx(expected, rel=1e-9)


def test_expected_counts_are_exact(case):
    """An empty matrix leaves only the mean term."""
    x, size, mean, var, w = case
    value = evidence(Poisson(operator(np.zeros_like(x)), size), mean, var, w).value
    totals = size[:, None] * draws(mean, var, 20_000) @ w.T
    totals = totals.sum((1, 2))
    error = totals.std() / np.sqrt(len(totals))
    assert abs(-value - totals.mean()) < 4 * error


@FORM
def test_poisson_loadings_are_optimal_for_the_shares(case, form):
    x, size, mean, var, w = case
    likelihood = Poisson(operator(form(x)), size)
    new, value, *_ = evidence(likelihood, mean, var, w)
    part = np.exp(mean)[:, None] * w
    shares = x[..., None] * part / part.sum(-1, keepdims=True)
    total = (size[:, None] * np.exp(mean + var / 2)).sum(0)
    np.testing.assert_allclose(new, shares.sum(0) / total, rtol=1e-9)
    better = evidence(likelihood, mean, var, new).value
    assert better > value


def slope(likelihood, mean, var, w, noise=None):
    """Derivative of the bound that separates factors, at the present mean."""
    return local_at(likelihood, mean, var, w, noise).force


def test_poisson_sites_are_the_gradient(case):
    x, size, mean, var, w = case
    ours = slope(Poisson(operator(x), size), mean, var, w)
    expected = jax.grad(poisson_bound, argnums=2)(x, size, jnp.asarray(mean), var, w)
    np.testing.assert_allclose(ours, expected, rtol=1e-8, atol=1e-8)


def test_poisson_precision_is_the_slope_in_the_variance(case):
    """Twice the derivative with respect to the variance, with the other sign."""
    x, size, mean, var, w = case
    likelihood = Poisson(operator(x), size)
    precision = precision_at(likelihood, mean, var, w)
    expected = jax.grad(poisson_bound, argnums=3)(x, size, mean, jnp.asarray(var), w)
    np.testing.assert_allclose(precision, -2 * expected, rtol=1e-8)


def test_negative_binomial_sites_are_the_gradient(case):
    x, size, mean, var, w = case
    likelihood = NegativeBinomial(operator(x), size)
    phi = np.linspace(0.1, 0.6, N_VARS)
    ours = slope(likelihood, mean, var, w, phi)

    def bound(m):
        rate = size[:, None] * (jnp.exp(m + var / 2) @ w.T)
        log_mean = jnp.log(jnp.exp(m) @ w.T)
        return (x * log_mean - (x + 1 / phi) * jnp.log1p(phi * rate)).sum()

    expected = jax.grad(bound)(jnp.asarray(mean))
    np.testing.assert_allclose(ours, expected, rtol=1e-8, atol=1e-8)


def test_gaussian_sites_are_the_gradient(case):
    """Of the bound that separates the factors of the square, at its shares."""
    x, _, mean, var, w = case
    likelihood = Gaussian(operator(x), column_sq_norm(operator(x)))
    noise = np.linspace(1, 3, N_VARS)
    ours = slope(likelihood, mean, var, w, noise)
    present = np.exp(mean + var / 2)[:, None] * w
    share = present / present.sum(-1, keepdims=True)

    def bound(m):
        factors = jnp.exp(m + var / 2)
        fitted = factors @ w.T
        square = (factors[:, None] ** 2 * w**2 / share).sum(-1)
        square += (factors**2 * jnp.expm1(var)) @ (w**2).T
        return ((x * fitted - square / 2) / noise).sum()

    expected = jax.grad(bound)(jnp.asarray(mean))
    np.testing.assert_allclose(ours, expected, rtol=1e-8, atol=1e-8)


@FORM
def test_linear_sites_are_exact(case, form):
    """With loadings orthogonal in the metric of the noise, the likelihood itself."""
    x, _, mean, var, w = case
    op, center = operator(form(x)), x.mean(0)
    likelihood = LinearGaussian(op, column_sq_norm(op), center)
    found = evidence(likelihood, mean, var, w)
    new, noise = found.w, found.noise
    gram = new.T @ (new / noise[:, None])
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-6 * gram.max())
    sites = likelihood.local(found, mean, var)

    def log_likelihood(f):
        return -(jnp.square(x - center - f @ new.T) / noise).sum() / 2

    expected = jax.grad(log_likelihood)(jnp.asarray(mean))
    ours = sites.shift - sites.precision * mean
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_change_of_the_bound_is_that_of_the_expectation(case):
    """Poisson: with the shares as they are, where means and variances have moved."""
    x, size, mean, var, w = case
    likelihood = Poisson(operator(x), size)
    local = local_at(likelihood, mean, var, w)
    move, wider = 0.3 * np.sin(mean), 0.1 * var
    rate = size[:, None] * w.sum(0)

    def separated(m, v):
        return local.observed * m - rate * np.exp(m + v / 2)

    expected = separated(mean + move, var + wider) - separated(mean, var)
    np.testing.assert_allclose(
        local.change(move, wider), expected, rtol=1e-9, atol=1e-9
    )


# --- values -----------------------------------------------------------------


def log_nb(x, rate, phi):
    return st.nbinom.logpmf(x, 1 / phi, 1 / (1 + phi * rate))


@FORM
def test_negative_binomial_value_is_a_bound(case, form):
    x, size, mean, var, w = case
    phi = 0.3
    likelihood = NegativeBinomial(operator(form(x)), size, phi)
    value = evidence(likelihood, mean, np.zeros_like(var), w).value
    rate = size[:, None] * (np.exp(mean) @ w.T)
    assert value == pytest.approx(log_nb(x, rate, phi).sum(), rel=1e-6)
    likelihood = NegativeBinomial(operator(form(x)), size, phi)
    value = evidence(likelihood, mean, var, w).value
    rates = size[:, None] * (draws(mean, var, 2000) @ w.T)
    per_draw = log_nb(x, rates, phi).sum((1, 2))
    error = per_draw.std() / np.sqrt(len(per_draw))
    assert value < per_draw.mean() - 3 * error
    assert value > per_draw.mean() - 0.5 * (x * var.max()).sum()


@pytest.mark.slow
def test_dispersion_is_found(x64):
    """At the true mean: close to that of the simulation, gene by gene."""
    rng = np.random.default_rng(0)
    n_obs, w = 3000, np.array([[20.0], [20.0], [20.0]])
    phi = np.array([0.05, 0.3, 1.0])
    x = rng.negative_binomial(1 / phi, 1 / (1 + phi * 20), (n_obs, 3)).astype(float)
    mean = np.zeros((n_obs, 1))
    likelihood = NegativeBinomial(operator(x), np.ones(n_obs))
    noise = likelihood.noise
    for _ in range(30):
        noise = evidence(likelihood, mean, mean, w, noise).noise
    np.testing.assert_allclose(noise, phi, rtol=0.15)


def test_gaussian_value_is_the_expectation(case):
    x, _, mean, var, w = case
    likelihood = Gaussian(operator(x), column_sq_norm(operator(x)))
    noise = likelihood.noise
    value = evidence(likelihood, mean, np.zeros_like(var), w).value
    fitted = np.exp(mean) @ w.T
    assert value == pytest.approx(st.norm.logpdf(x, fitted, np.sqrt(noise)).sum())
    value = evidence(likelihood, mean, var, w).value
    fitted = draws(mean, var) @ w.T
    per_draw = st.norm.logpdf(x, fitted, np.sqrt(noise)).sum((1, 2))
    error = per_draw.std() / np.sqrt(len(per_draw))
    assert abs(value - per_draw.mean()) < 4 * error


@FORM
def test_linear_value_is_the_expectation(case, form):
    x, _, mean, var, w = case
    op, center = operator(form(x)), x.mean(0)
    likelihood = LinearGaussian(op, column_sq_norm(op), center)
    noise = likelihood.noise
    np.testing.assert_allclose(noise, x.var(0))
    value = evidence(likelihood, mean, var, w).value
    fitted = np.log(draws(mean, var)) @ w.T + center
    per_draw = st.norm.logpdf(x, fitted, np.sqrt(noise)).sum((1, 2))
    error = per_draw.std() / np.sqrt(len(per_draw))
    assert abs(value - per_draw.mean()) < 4 * error


@pytest.mark.parametrize("name", ["poisson", "negative_binomial", "gaussian"])
@FORM
def test_score_differs_from_scipy_by_a_constant(case, name, form):
    x, size, mean, var, w = case
    op = operator(form(x))
    likelihood = {
        "poisson": lambda: Poisson(op, size),
        "negative_binomial": lambda: NegativeBinomial(op, size, 0.3),
        "gaussian": lambda: Gaussian(op, column_sq_norm(op)),
    }[name]()

    def expected(m):
        factors = np.exp(m + var / 2)
        rate, spread = factors @ w.T, (factors**2 * np.expm1(var)) @ (w**2).T
        if name == "gaussian":
            sd = np.sqrt(likelihood.noise + spread)
            return st.norm.logpdf(x, rate, sd).sum(1)
        # Rates with a gamma distribution of the same moments.
        rate, spread = size[:, None] * rate, size[:, None] ** 2 * spread
        phi = 0.3
        if name == "poisson":
            # What genes scatter beyond that, by moments.
            excess = ((x - rate) ** 2 - rate - spread).sum(0)
            phi = np.maximum(excess / (rate**2 + spread).sum(0), 0)
        return log_nb(x, rate, phi + (1 + phi) * spread / rate**2).sum(1)

    noise, others = likelihood.noise, Observations(op, size)
    ours = [likelihood.score(noise, others, m, var, w) for m in (mean, mean + 0.3)]
    theirs = [expected(m) for m in (mean, mean + 0.3)]
    np.testing.assert_allclose(ours[1] - ours[0], theirs[1] - theirs[0], rtol=1e-4)


def test_restriction_is_a_likelihood_of_the_rows(case):
    x, size, mean, var, w = case
    rows = np.array([3, 4, 20, 39])
    whole = Poisson(operator(x), size)
    part = whole.restrict(whole.op.rows(rows), rows)
    fresh = Poisson(operator(x[rows]), size[rows])
    args = mean[rows], var[rows], w
    assert evidence(part, *args).value == pytest.approx(evidence(fresh, *args).value)


# --- Monte Carlo ------------------------------------------------------------


def test_monte_carlo_estimates(case):
    x, size, mean, var, w = case
    likelihood = PoissonMonteCarlo(operator(x), size, 300, 0)
    found = evidence(likelihood, mean, var, w)
    new, value = found.w, found.value
    factors = draws(mean, var)
    rate = size[:, None] * (factors @ w.T)
    per_draw = (st.poisson.logpmf(x, rate) - log_poisson(x)).sum((1, 2))
    # Expected totals are exact on both sides; only the logarithm varies.
    varying = (x * np.log(rate)).sum((1, 2))
    exact = size[:, None] * (np.exp(mean + var / 2) @ w.T)
    expected = varying.mean() - exact.sum() - (xlogy(x, x) - x).sum()
    error = varying.std() * np.sqrt(1 / 600 + 1 / len(per_draw))
    assert abs(value - expected) < 4 * error
    # A better value than that of the bound.
    assert value > evidence(Poisson(operator(x), size), mean, var, w).value
    part = factors[:1000, :, None] * w
    shares = x[..., None] * part / part.sum(-1, keepdims=True)
    np.testing.assert_allclose(
        new,
        shares.mean(0).sum(0) / (size[:, None] * np.exp(mean + var / 2)).sum(0),
        rtol=0.05,
        atol=0.02,
    )
    force = local_at(likelihood, mean, var, w).force
    observed = shares.sum(2)
    rate = size[:, None] * w.sum(0) * np.exp(mean + var / 2)
    error = observed.std(0) * np.sqrt(1 / 600 + 1 / 1000)
    assert (np.abs(force - (observed.mean(0) - rate)) < 5 * error + 1e-3).all()


@pytest.mark.slow
def test_monte_carlo_precision(case):
    """Minus the expected curvature of the log likelihood."""
    x, size, mean, var, w = case
    likelihood = PoissonMonteCarlo(operator(x), size, 2000, 0)
    precision = precision_at(likelihood, mean, var, w)
    part = draws(mean, var, 500)[:, :, None] * w
    share = part / part.sum(-1, keepdims=True)
    rate = size[:, None] * w.sum(0) * np.exp(mean + var / 2)
    expected = rate - (x[..., None] * share * (1 - share)).sum(2).mean(0)
    clipped = np.maximum(expected, 0)
    np.testing.assert_allclose(precision, clipped, atol=0.1 * rate.max())
    assert np.corrcoef(precision.ravel(), clipped.ravel())[0, 1] > 0.99
