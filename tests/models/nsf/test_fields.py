"""Gaussian processes on inducing points, against dense formulas and other packages."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.gaussian_process.kernels import RBF, Matern

from nonneg.kernels.covariance import kernel_function
from nonneg.models.nsf import fields, interpolation
from nonneg.models.nsf.fields import Posterior
from nonneg.models.nsf.interpolation import DeviceInterpolation, HostInterpolation
from nonneg.models.nsf.layout import choose_inducing, make_layout
from nonneg.models.nsf.priors import Priors, make_priors, stack_priors

THEIRS = {"matern32": Matern(nu=1.5), "matern52": Matern(nu=2.5), "rbf": RBF()}
KERNELS = pytest.mark.parametrize(
    "kernel",
    ["matern32", pytest.param("matern52", marks=pytest.mark.slow), "rbf"],
)
TREND_SD = 10.0
AMPLITUDE = 1.7
LENGTH = np.array([0.8])


def make(n_locations=60, n_inducing=10_000, *, n_sections=1, n_neighbors=8, seed=0):
    rng = np.random.default_rng(seed)
    sites = rng.uniform(-2, 2, (n_locations, 2))
    section = np.arange(n_locations) % n_sections
    inducing = choose_inducing(sites, section, np.arange(n_locations), n_inducing, 0)
    return make_layout(sites, section, *inducing, n_neighbors)


def evidence(n_locations=60, seed=1):
    rng = np.random.default_rng(seed)
    precision = rng.gamma(1, 2, n_locations)
    return precision, precision * rng.standard_normal(n_locations)


def one_prior(kernel, layout, length_scale):
    return make_priors(kernel, layout, length_scale[None])[0]


def linear(layout):
    return np.column_stack([np.ones(len(layout.locations)), layout.locations])


def carrier(layout, weights):
    """The matrix A, dense."""
    a = np.zeros((len(layout.locations), len(layout.inducing)))
    for i, own in enumerate(layout.neighbors):
        a[i, own[own >= 0]] = weights[i, own >= 0]
    return a


def column(x):
    return np.asarray(x)[:, None]


def all_columns(post):
    """A single posterior, as that of one factor among several."""
    return Posterior(
        column(post.mean), column(post.var), *(np.asarray(x)[None] for x in post[2:])
    )


def condition(prior, layout, basis, amplitude, precision, shift):
    """Of a single factor."""
    post = fields.condition(
        prior, basis, np.array([amplitude]), column(precision), column(shift)
    )
    return Posterior(
        post.mean[:, 0], post.var[:, 0], *(np.asarray(x)[0] for x in post[2:])
    )


def predict(prior, layout, basis, amplitude, precision, shift, targets):
    amplitude = np.array([amplitude])
    given = column(precision), column(shift)
    found = fields.predict(prior, basis, amplitude, *given, targets)
    return [x[:, 0] for x in found]


def divergence(post, precision, shift):
    (value,) = fields.divergence(all_columns(post), column(precision), column(shift))
    return value


def sum_var(prior, layout, amplitude, precision, post, weight):
    (value,) = fields.sum_var(
        prior,
        np.array([amplitude]),
        column(precision),
        all_columns(post),
        column(weight),
    )
    return value


def site_covariance(prior, layout, amplitude, precision):
    found = fields.site_covariance(prior, np.array([amplitude]), column(precision))
    return [np.asarray(x)[0] for x in found]


def prior_covariance(prior, layout, amplitude=AMPLITUDE):
    a = carrier(layout, prior.interpolation.weights)
    k = np.linalg.inv(np.asarray(prior.precision))
    return amplitude**2 * (a @ k @ a.T + np.diag(prior.residual))


def textbook(c, basis, precision, shift):
    """Posterior of ``N(B β, c)`` given sites: mean, covariance, β, log evidence."""
    y = shift / precision
    v = c + np.diag(1 / precision)
    solve = np.linalg.inv(v)
    trend = np.linalg.solve(
        basis.T @ solve @ basis + np.eye(basis.shape[1]) / TREND_SD**2,
        basis.T @ solve @ y,
    )
    rest = y - basis @ trend
    log_evidence = (
        -rest @ solve @ rest
        - np.linalg.slogdet(v)[1]
        - np.log(precision).sum()
        + (shift**2 / precision).sum()
        - (trend**2).sum() / TREND_SD**2
    ) / 2
    return basis @ trend + c @ solve @ rest, c - c @ solve @ c, trend, log_evidence


@KERNELS
def test_kernel_functions(kernel):
    x = np.random.default_rng(0).standard_normal((20, 3))
    distance = np.linalg.norm(x[:, None] - x, axis=-1)
    with jax.enable_x64(True):
        ours = kernel_function(kernel, jnp.asarray(distance))
    np.testing.assert_allclose(ours, THEIRS[kernel](x), atol=1e-12)


@KERNELS
def test_prior_with_all_sites(kernel):
    layout = make()
    prior = one_prior(kernel, layout, LENGTH)
    # The jitter is 1e-6 of the variance.
    np.testing.assert_allclose(
        prior_covariance(prior, layout, 1),
        THEIRS[kernel](layout.locations / LENGTH),
        atol=1e-5,
    )
    sign, logdet = np.linalg.slogdet(np.asarray(prior.precision))
    assert sign == 1
    assert prior.logdet == pytest.approx(logdet, abs=1e-3)
    assert layout.neighbors.shape == (60, 1)
    assert prior.residual.max() < 1e-5


def test_one_length_scale_for_every_axis():
    layout = make()
    lengths = np.array([0.5, 2.0])
    prior = one_prior("matern32", layout, lengths)
    expected = Matern(lengths, nu=1.5)(layout.locations)
    np.testing.assert_allclose(prior_covariance(prior, layout, 1), expected, atol=1e-5)


def test_inducing_points_keep_the_variance_and_approximate_the_rest():
    layout = make(200, 60, n_neighbors=12)
    assert len(layout.inducing) == 60
    prior = one_prior("matern52", layout, LENGTH)
    c = prior_covariance(prior, layout, 1)
    expected = Matern(nu=2.5)(layout.locations / LENGTH)
    np.testing.assert_allclose(np.diag(c), 1, atol=1e-5)
    assert np.abs(c - expected).max() < 0.1
    a = carrier(layout, prior.interpolation.weights)
    k = Matern(nu=2.5)(layout.inducing / LENGTH)
    # Each site has its own conditional distribution, given the nearest points.
    i, own = 7, layout.neighbors[7]
    cross = Matern(nu=2.5)(
        layout.locations[[i]] / LENGTH, layout.inducing[own] / LENGTH
    )
    weights = np.linalg.solve(k[np.ix_(own, own)], cross[0])
    np.testing.assert_allclose(a[i, own], weights, atol=1e-4)
    assert prior.residual[i] == pytest.approx(1 - weights @ cross[0], abs=1e-5)


@pytest.mark.parametrize("n_inducing", [10_000, 25])
@pytest.mark.parametrize("n_sections", [1, 2])
@KERNELS
def test_condition(kernel, n_inducing, n_sections):
    layout = make(n_inducing=n_inducing, n_sections=n_sections)
    basis, (precision, shift) = linear(layout), evidence()
    prior = one_prior(kernel, layout, LENGTH)
    post = condition(prior, layout, basis, AMPLITUDE, precision, shift)
    c = prior_covariance(prior, layout)
    mean, cov, trend, log_evidence = textbook(c, basis, precision, shift)
    np.testing.assert_allclose(post.trend, trend, atol=1e-6)
    np.testing.assert_allclose(post.mean, mean, atol=1e-6)
    np.testing.assert_allclose(post.var, np.diag(cov), atol=1e-6)
    assert post.log_evidence == pytest.approx(log_evidence, abs=1e-4)


@pytest.mark.parametrize("n_inducing", [10_000, 25])
def test_divergence(n_inducing):
    """That from the prior at the trend's coefficients, and their own part."""
    layout = make(n_inducing=n_inducing)
    basis, (precision, shift) = linear(layout), evidence()
    prior = one_prior("matern32", layout, LENGTH)
    post = condition(prior, layout, basis, AMPLITUDE, precision, shift)
    c = prior_covariance(prior, layout)
    mean, cov, trend, _ = textbook(c, basis, precision, shift)
    rest = mean - basis @ trend
    expected = (
        np.linalg.slogdet(c)[1]
        - np.linalg.slogdet(cov)[1]
        - len(c)
        + np.trace(np.linalg.solve(c, cov))
        + rest @ np.linalg.solve(c, rest)
        + (trend**2).sum() / TREND_SD**2
    ) / 2
    ours = divergence(post, precision, shift)
    assert ours > 0
    assert ours == pytest.approx(expected, rel=1e-4)


def test_against_the_kernel_itself():
    """Without inducing points in between: scikit-learn's covariance."""
    layout = make()
    basis, (precision, shift) = linear(layout), evidence()
    prior = one_prior("matern32", layout, LENGTH)
    post = condition(prior, layout, basis, AMPLITUDE, precision, shift)
    c = AMPLITUDE**2 * Matern(nu=1.5)(layout.locations / LENGTH)
    mean, cov, _, log_evidence = textbook(c, basis, precision, shift)
    np.testing.assert_allclose(post.mean, mean, atol=1e-4)
    np.testing.assert_allclose(post.var, np.diag(cov), atol=1e-4)
    assert post.log_evidence == pytest.approx(log_evidence, abs=1e-2)


@KERNELS
def test_against_tinygp(kernel):
    """Conditionals at observed and at new sites."""
    tinygp = pytest.importorskip("tinygp")
    names = {"matern32": "Matern32", "matern52": "Matern52", "rbf": "ExpSquared"}
    layout, (precision, shift) = make(), evidence()
    seen, new = np.arange(45), np.arange(45, 60)
    precision[new] = shift[new] = 0
    prior = one_prior(kernel, layout, LENGTH)
    no_trend = np.zeros((60, 1))
    ours = condition(prior, layout, no_trend, AMPLITUDE, precision, shift)
    with jax.enable_x64(True):
        their_kernel = AMPLITUDE**2 * getattr(tinygp.kernels, names[kernel])(
            LENGTH[0], distance=tinygp.kernels.distance.L2Distance()
        )
        theirs = tinygp.GaussianProcess(
            their_kernel, jnp.asarray(layout.locations[seen]), diag=1 / precision[seen]
        )
        y = jnp.asarray(shift[seen] / precision[seen])
        conditioned = theirs.condition(y, jnp.asarray(layout.locations)).gp
        mean, var = np.asarray(conditioned.loc), np.asarray(conditioned.variance)
    np.testing.assert_allclose(ours.mean, mean, atol=2e-4)
    np.testing.assert_allclose(ours.var, var, atol=2e-4)
    predicted = predict(prior, layout, no_trend, AMPLITUDE, precision, shift, new)
    np.testing.assert_allclose(predicted[0], mean[new], atol=2e-4)
    np.testing.assert_allclose(predicted[1], var[new], atol=2e-4)


@pytest.mark.parametrize("n_inducing", [10_000, 25])
def test_predict_is_condition_where_there_is_no_evidence(n_inducing):
    layout, (precision, shift) = make(n_inducing=n_inducing), evidence()
    targets = np.array([2, 3, 30, 59])
    precision[targets] = shift[targets] = 0
    prior = one_prior("matern32", layout, LENGTH)
    args = prior, layout, linear(layout), AMPLITUDE, precision, shift
    post = condition(*args)
    mean, var = predict(*args, targets)
    np.testing.assert_allclose(mean, post.mean[targets], atol=1e-8)
    np.testing.assert_allclose(var, post.var[targets], atol=1e-8)


def test_sections_are_independent():
    layout, (precision, shift) = make(n_sections=2), evidence()
    # At the same places, so that only the section keeps them apart.
    sites = np.repeat(layout.locations[:30], 2, axis=0)
    layout = make_layout(sites, layout.section, sites, layout.section, 8)
    prior = one_prior("matern32", layout, LENGTH)
    c = prior_covariance(prior, layout)
    apart = layout.section[:, None] != layout.section
    assert np.abs(c[apart]).max() == 0
    other = np.where(layout.section == 1, 5.0, shift)
    no_trend = np.zeros((60, 1))
    posts = [
        condition(prior, layout, no_trend, AMPLITUDE, precision, h)
        for h in (shift, other)
    ]
    first = layout.section == 0
    np.testing.assert_allclose(posts[0].mean[first], posts[1].mean[first], atol=1e-10)
    assert np.abs(posts[0].mean - posts[1].mean)[~first].min() > 1e-3


def test_every_section_has_inducing_points():
    rng = np.random.default_rng(0)
    sites, section = rng.random((200, 2)), np.repeat([0, 1, 2], [150, 48, 2])
    inducing, label = choose_inducing(sites, section, np.arange(len(sites)), 20, 0)
    assert np.bincount(label).tolist() == [15, 5, 1]
    layout = make_layout(sites, section, inducing, label, 6)
    for i, own in enumerate(layout.neighbors):
        used = own[own >= 0]
        assert used.size == min(6, np.bincount(label)[section[i]])
        assert (label[used] == section[i]).all()
        distance = np.linalg.norm(inducing - sites[i], axis=1)
        distance[label != section[i]] = np.inf
        np.testing.assert_array_equal(
            np.sort(used), np.sort(distance.argsort()[: used.size])
        )


@pytest.mark.parametrize("stacked", [False, True], ids=["shared", "own"])
@pytest.mark.parametrize("kind", [HostInterpolation, DeviceInterpolation])
def test_interpolation(kind, stacked, x64, monkeypatch):
    """All products with A, against those of the dense matrix."""
    # Chunks of rows that do not divide their number.
    monkeypatch.setattr(interpolation, "_ROWS", 32)
    layout, rng = make(80, 20), np.random.default_rng(3)
    priors = make_priors("matern32", layout, np.array([[0.8], [0.5], [2.0]]))
    chosen = priors if stacked else [priors[0]] * 3
    a = np.stack([carrier(layout, prior.interpolation.weights) for prior in chosen])
    weights = np.stack([prior.interpolation.weights for prior in chosen])
    weights = weights if stacked else weights[0]
    if kind is HostInterpolation:
        carry = HostInterpolation(layout.neighbors, weights, 20)
    else:
        arrays = map(jnp.asarray, (layout.neighbors, weights))
        carry = DeviceInterpolation.of_layout(*arrays, 20)
    assert carry.stacked == stacked
    u, lam, h = rng.random((3, 20)), rng.random((80, 3)), rng.random((80, 3))
    root, basis = rng.random((3, 20, 20)), rng.random((80, 2))
    s = root @ root.transpose(0, 2, 1)
    at = a.transpose(0, 2, 1)
    close = partial(np.testing.assert_allclose, rtol=1e-9)
    close(carry.matmul(u).T, (a @ u[..., None])[..., 0])
    close(carry.gram(lam), at @ (lam.T[..., None] * a))
    close(carry.variances(s).T, np.diagonal(a @ s @ at, axis1=1, axis2=2))
    sums = carry.sums(basis, lam, h)
    close(sums[..., :2], at @ (lam.T[..., None] * basis))
    close(sums[..., 2], (at @ h.T[..., None])[..., 0])
    index = np.array([2, 30, 79])
    rows = np.broadcast_to(carry.dense_rows(index), (3, 20, 3))
    close(rows, at[:, :, index], atol=1e-15)


def test_variance_of_weighted_sums():
    layout, (precision, shift) = make(80, 20), evidence(80)
    prior = one_prior("matern32", layout, LENGTH)
    post = condition(prior, layout, linear(layout), AMPLITUDE, precision, shift)
    _, cov, _, _ = textbook(
        prior_covariance(prior, layout), linear(layout), precision, shift
    )
    weight = np.random.default_rng(3).random(80)
    ours = sum_var(prior, layout, AMPLITUDE, precision, post, weight)
    assert ours == pytest.approx(weight @ cov @ weight, rel=1e-5)


def test_covariance_of_inducing_values():
    layout, (precision, shift) = make(80, 20), evidence(80)
    prior = one_prior("matern32", layout, LENGTH)
    a = carrier(layout, prior.interpolation.weights)
    noise = 1 / precision + AMPLITUDE**2 * prior.residual
    expected = np.asarray(prior.precision) / AMPLITUDE**2 + a.T @ (a / noise[:, None])
    cov, minus_logdet = site_covariance(prior, layout, AMPLITUDE, precision)
    np.testing.assert_allclose(cov, np.linalg.inv(expected), atol=1e-8)
    assert minus_logdet == pytest.approx(np.linalg.slogdet(expected)[1], rel=1e-8)
    post = condition(prior, layout, linear(layout), AMPLITUDE, precision, shift)
    np.testing.assert_allclose(post.inducing_cov, cov)


@KERNELS
@pytest.mark.parametrize("length", [1e-6, 1e-2, 1e2, 1e6])
def test_any_length_scale_is_finite(kernel, length):
    """From independent sites to constant fields, where K is all ones."""
    layout, (precision, shift) = make(), evidence()
    prior = one_prior(kernel, layout, np.array([length]))
    post = condition(prior, layout, linear(layout), AMPLITUDE, precision, shift)
    for part in (post.mean, post.var, post.trend, post.log_evidence):
        assert np.isfinite(part).all()
    assert post.var.min() > 0
    assert divergence(post, precision, shift) >= 0
    if length == 1e-6:
        # Apart from the trend, every site by itself.
        expected = 1 / (1 / AMPLITUDE**2 + precision)
        np.testing.assert_allclose(post.var, expected, rtol=1e-4)
    if length == 1e6:
        rest = post.mean - linear(layout) @ post.trend
        assert np.ptp(rest) < 1e-2


def test_coincident_inducing_points():
    """Jitter makes what would be singular regular."""
    layout = make(30)
    twice = np.concatenate([layout.inducing, layout.inducing])
    section = np.zeros(60, np.intp)
    layout = make_layout(layout.locations, section[:30], twice, section, 4)
    prior = one_prior("rbf", layout, np.array([3.0]))
    assert np.isfinite(prior.logdet)
    assert np.isfinite(np.asarray(prior.precision)).all()


def test_a_singular_covariance_is_named():
    layout = make(30)
    layout.inducing[3] = np.nan
    with pytest.raises(np.linalg.LinAlgError, match=r"30 inducing points is singular"):
        one_prior("matern32", layout, LENGTH)


@pytest.mark.parametrize("lengths", [(0.8, 0.8, 0.8), (0.5, 0.8, 2.0)])
def test_factors_at_once_are_each_alone(lengths):
    layout = make(80, 30, n_sections=2)
    basis, targets = linear(layout), np.array([3, 40])
    rng = np.random.default_rng(0)
    amplitude = np.array([0.5, 1.0, 2.0])
    precision = rng.gamma(1, 2, (80, 3))
    shift = precision * rng.standard_normal((80, 3))
    precision[targets] = shift[targets] = 0
    priors = [one_prior("matern32", layout, np.array([x])) for x in lengths]
    prior = priors[0] if len(set(lengths)) == 1 else stack_priors(priors)
    post = fields.condition(prior, basis, amplitude, precision, shift)
    found = fields.predict(prior, basis, amplitude, precision, shift, targets)
    weight = rng.random((80, 3))
    variances = fields.sum_var(prior, amplitude, precision, post, weight)
    divergences = fields.divergence(post, precision, shift)
    picked = fields.pick(post, np.array([2, 0]))
    for j, own in enumerate(priors):
        args = own, layout, basis, amplitude[j], precision[:, j], shift[:, j]
        alone = condition(*args)
        np.testing.assert_allclose(post.mean[:, j], alone.mean, atol=1e-10)
        np.testing.assert_allclose(post.var[:, j], alone.var, atol=1e-10)
        for ours, theirs in zip(post[2:], alone[2:], strict=True):
            np.testing.assert_allclose(ours[j], theirs, rtol=1e-8, atol=1e-10)
        for ours, theirs in zip(found, predict(*args, targets), strict=True):
            np.testing.assert_allclose(ours[:, j], theirs, atol=1e-10)
        value = divergence(alone, precision[:, j], shift[:, j])
        assert divergences[j] == pytest.approx(value)
        value = sum_var(*args[:2], *args[3:5], alone, weight[:, j])
        assert variances[j] == pytest.approx(value)
    np.testing.assert_array_equal(picked.trend, post.trend[[2, 0]])
    np.testing.assert_array_equal(picked.mean, post.mean[:, [2, 0]])


def test_priors_are_made_once():
    """For all length scales that are new, in one call, whatever their order."""
    layout = make(60, 20)
    priors = Priors("matern32", layout, 3)
    first = priors.at(np.array([[0.5], [2.0], [0.5]]))
    assert first.interpolation.stacked
    again = priors.at(np.array([[0.5], [0.5]]))
    assert not again.interpolation.stacked
    np.testing.assert_array_equal(again.precision, first.precision[2])
    alone = one_prior("matern32", layout, np.array([2.0]))
    np.testing.assert_allclose(first.precision[1], alone.precision, rtol=1e-9)
    priors.at(np.array([[3.0], [4.0], [5.0], [6.0]]))
    assert len(priors._kept) == 4


def test_jitter_is_raised_where_it_is_needed_only():
    """A prior does not depend on the length scales that it is made with."""
    layout = make(60)
    together = make_priors("rbf", layout, np.array([[0.5], [1e5]]))
    alone = one_prior("rbf", layout, np.array([0.5]))
    np.testing.assert_allclose(together[0].precision, alone.precision, rtol=1e-9)
