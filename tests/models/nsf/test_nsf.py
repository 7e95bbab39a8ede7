"""The NSF family: never falling, recovering, and what is at either end of a kernel."""

from __future__ import annotations

import anndata as ad
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nonneg as nng
from nonneg.models.loop import drive
from nonneg.models.loop import run as run_loop
from nonneg.models.nsf.ascent import Ascent
from nonneg.models.nsf.gaussian import Gaussian, LinearGaussian
from nonneg.models.nsf.likelihood import Local, column_sq_norm, expected
from nonneg.models.nsf.model import FactorModel
from nonneg.models.nsf.negative_binomial import NegativeBinomial
from nonneg.models.nsf.poisson import Poisson, PoissonMonteCarlo
from nonneg.models.nsf.predict import Fields, predict_fields
from nonneg.models.nsf.priors import Priors
from nonneg.models.nsf.problem import Kernels, Options, make_space
from nonneg.models.nsf.solver import fit
from nonneg.models.nsf.start import first_state
from nonneg.operators.choose import as_operator
from nonneg.operators.dense import DenseOperator
from nonneg.operators.threads import computing

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# No search of the kernel.
FIXED = dict(length_scale=2.0, amplitude=1.0, temperature=1.0)
LIKELIHOODS = pytest.mark.parametrize(
    "likelihood", ["poisson", "negative_binomial", "gaussian"]
)


@pytest.fixture(scope="module")
def adata():
    return nng.datasets.ggblocks(12, 40)


@pytest.fixture(scope="module")
def searched(adata):
    """A fit whose kernel was searched."""
    return run(adata)[0]


@pytest.fixture(
    scope="module", params=[pytest.param("ggblocks", marks=pytest.mark.slow), "quilt"]
)
def simulated(request):
    return getattr(nng.datasets, request.param)(18, 60)


def scaled(adata):
    coords = adata.obsm["spatial"] - adata.obsm["spatial"].mean(0)
    return coords * 4 / np.ptp(coords, axis=0)


def likelihood_of(name, op, size, draws=0):
    center = op.stats().col_sums / op.shape[0]
    return {
        "poisson": lambda: Poisson(op, size),
        "negative_binomial": lambda: NegativeBinomial(op, size),
        "gaussian": lambda: Gaussian(op, column_sq_norm(op)),
        **dict.fromkeys(
            ["linear", "interacting"],
            lambda: LinearGaussian(op, column_sq_norm(op), center),
        ),
        "monte_carlo": lambda: PoissonMonteCarlo(op, size, 3, draws),
    }[name]()


def run(
    adata,
    likelihood="poisson",
    rank=4,
    n_spatial=None,
    *,
    total=True,
    draws=0,
    **kwargs,
):
    """A fit, and the size factors it was given."""
    totals = np.asarray(adata.X.sum(1)).ravel()
    size = (totals / np.median(totals) if total else 0 * totals + 1).astype(np.float32)
    op = as_operator(adata.X, where="X")
    model = likelihood_of(likelihood, op, size, draws)
    options = Options(**kwargs)
    n_spatial = rank if n_spatial is None else n_spatial
    space = None
    if n_spatial:
        space = make_space(scaled(adata), np.zeros(adata.n_obs, np.intp), options)
    with computing():
        result = fit(model, space, size, rank, n_spatial=n_spatial, options=options)
    return result, size


def fitted(result, size):
    return size[:, None] * (expected(result.mean, result.var) @ result.W.T)


def similarity(truth, found):
    match = nng.metrics.match_factors(truth, found, metric="pearson")
    assert len(match.similarity) == truth.shape[1]
    return match.similarity


# --- optimisation -----------------------------------------------------------


EVERY_MODEL = pytest.mark.parametrize(
    ("likelihood", "n_spatial"),
    [
        *((name, t) for name in ("poisson", "negative_binomial") for t in (4, 2, 0)),
        *(("gaussian", t) for t in (4, 2, 0)),
        ("linear", 4),
        ("linear", 0),
        ("interacting", 4),
    ],
)


def ascend(adata, likelihood, n_spatial, n_steps, **kernel):
    """Bounds, and what is left after some steps from a start that fits badly."""
    ascent, state = _ascent(adata, likelihood, n_spatial, **kernel)
    bounds = []
    for _ in range(n_steps):
        state = ascent.step(state)
        bounds.append(float(state.objective))
    return np.array(bounds), state


def falls(bounds):
    """Largest fall of a bound in a step, relative to its value."""
    return (-np.diff(bounds) / np.abs(bounds[:-1])).max()


@EVERY_MODEL
def test_bound_never_falls(adata, likelihood, n_spatial):
    """And no factor is left as it was to make it so."""
    bounds, state = ascend(adata, likelihood, n_spatial, 40)
    assert np.isfinite(bounds).all()
    assert falls(bounds) < 1e-6
    assert bounds[-1] > bounds[0]
    assert int(state.n_refused) == 0


def test_factors_that_interact_have_the_mean_of_all_together(adata):
    """At given loadings, turns lead to the posterior mean of one large regression."""
    n, k, rng = adata.n_obs, 3, np.random.default_rng(0)
    options = Options(trend="constant")
    space = make_space(scaled(adata), np.zeros(n, np.intp), options)
    lengths = np.array([[0.5], [1.0], [4.0]])
    kernels = Kernels(lengths, np.ones(k), 0.1, 2.0)
    prior = Priors("matern32", space.layout, k).at(lengths, 0.1)
    op = as_operator(adata.X, where="X")
    ascent = Ascent(
        FactorModel(likelihood_of("linear", op, None), space, k), kernels, prior
    )
    likelihood = ascent.model.likelihood_of(prior)
    w = rng.standard_normal((adata.n_vars, k)).astype(np.float32)
    mean = rng.standard_normal((n, k)).astype(np.float32)
    state = first_state(ascent, w, mean)
    evidence = likelihood.evidence(state.noise, mean, state.var, w)
    sites = likelihood.local(evidence, mean, state.var)
    off = sites.gram - np.diag(np.diag(sites.gram))
    assert np.abs(off).max() > 0.05 * np.diag(sites.gram).max()
    for _ in range(30):
        state = ascent.model._in_turn(state, sites, kernels, prior)

    # Sites and locations come in different orders.
    index = space.index
    together = np.kron(sites.gram, np.eye(n)) / kernels.temperature
    for j in range(k):
        a = prior.interpolation.pick(j)
        carried = np.zeros((n, a.n_inducing))
        used = a.neighbors >= 0
        rows = np.nonzero(used)[0]
        carried[rows, a.neighbors[used]] = a.weights[used]
        cov = carried @ np.linalg.inv(np.asarray(prior.precision[j])) @ carried.T
        cov += np.diag(prior.residual[j]) + 100 * np.ones((n, n))
        own = slice(j * n, (j + 1) * n)
        together[own, own] += np.linalg.inv(cov[np.ix_(index, index)])
    shift = np.asarray(sites.shift, float).T.ravel() / kernels.temperature
    expected_mean = np.linalg.solve(together, shift).reshape(k, n).T
    np.testing.assert_allclose(state.mean, expected_mean, atol=2e-3)


@pytest.mark.slow
@EVERY_MODEL
def test_bound_never_falls_in_500_steps(adata, likelihood, n_spatial):
    bounds, state = ascend(adata, likelihood, n_spatial, 500)
    assert falls(bounds) < 1e-6
    assert int(state.n_refused) == 0


@LIKELIHOODS
def test_wild_fields_are_rarely_left_as_they_were(adata, likelihood):
    """Amplitudes of logarithms that let variances explode."""
    bounds, state = ascend(adata, likelihood, 4, 100, amplitude=5.0, nugget=0.1)
    assert falls(bounds) < 2e-6
    assert int(state.n_refused) <= 12


def test_counts_far_beyond_what_is_expected(adata):
    """The fit is where the derivative of the bound vanishes: no step is cut short."""
    adata = adata.copy()
    adata.X = adata.X.toarray()
    adata.X[70] *= 50
    for kernel in (dict(amplitude=0.3), dict(amplitude=3.0)):
        ascent, state = _ascent(adata, **kernel)
        for _ in range(300):
            state = ascent.step(state)
        assert int(state.n_refused) == 0
        fit = state.fit
        rows, _, _ = ascent.model.likelihood.op.allocate(np.exp(fit.mean), fit.w.T)
        rate = expected(fit.mean, fit.var) * fit.w.sum(0)
        # What pulls at a factor is what the prior pulls back with.
        pull = fit.shift - fit.precision * fit.mean
        scale = np.sqrt(rate) + 1
        assert (np.abs(rows - rate - pull) / scale).max() < 0.05
        assert (np.abs(fit.precision - rate) / scale).max() < 0.05


@pytest.mark.parametrize(
    "likelihood",
    [
        "poisson",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("gaussian", "negative_binomial")
        ),
    ],
)
def test_everything_is_finite_after_a_search(adata, likelihood):
    result, _ = run(adata, likelihood)
    for part in (result.W, result.mean, result.var, result.total_var):
        assert np.isfinite(part).all()
    # Factors and loadings on the scale of the data: nothing ran away.
    factors = expected(result.mean, result.var)
    assert factors.max() * result.W.max() < 10 * adata.X.max()
    assert np.isfinite([score for _, _, score in result.tried]).all()


def test_a_smaller_step_leads_to_the_same_bound(adata):
    whole, _ = run(adata, tol=1e-3, **FIXED)
    half, _ = run(adata, learning_rate=0.5, tol=1e-3, max_iter=300, **FIXED)
    assert half.trace.objective[-1] == pytest.approx(
        whole.trace.objective[-1], rel=1e-2
    )


@pytest.mark.parametrize(
    ("likelihood", "kernel"),
    [
        pytest.param("poisson", {}, marks=pytest.mark.slow),
        ("poisson", FIXED),
        ("monte_carlo", FIXED),
    ],
)
def test_same_seed_same_result(adata, likelihood, kernel):
    first, _ = run(adata, likelihood, seed=3, max_iter=20, **kernel)
    second, _ = run(adata, likelihood, seed=3, max_iter=20, **kernel)
    for name in ("W", "mean", "var"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.trace._replace(seconds=[]) == second.trace._replace(seconds=[])


def test_draws_converge_to_the_bound(adata):
    """Within their noise, which is how much fits by other draws differ."""
    kernel = dict(nugget=0.1, **FIXED)
    bound, size = run(adata, tol=1e-4, max_iter=400, **kernel)
    found = [
        run(adata, "monte_carlo", draws=seed, tol=1e-3, **kernel)[0]
        for seed in range(3)
    ]
    assert all(result.trace.converged for result in found)
    truth = fitted(bound, size)
    means = [fitted(result, size) for result in found]
    noise = np.abs(means[0] - means[1]).mean() / truth.mean()
    for mean in means:
        assert np.abs(mean - truth).mean() / truth.mean() < max(2 * noise, 0.004)
    assert noise < 0.01


def test_draws_that_drift_are_no_convergence(adata):
    """Weights that have become small do not make averages what is expected."""
    ascent, state = _ascent(adata, "monte_carlo", nugget=0.1)
    for _ in range(20):
        state = ascent.step(state)
    noise = state.fit.noise
    more = np.float32(1.3)
    shares = tuple(more * x for x in noise.shares)
    frozen = noise._replace(n_steps=np.uint32(10**9), shares=shares)
    state = state._replace(fit=state.fit._replace(noise=frozen))
    for _ in range(80):
        state = ascent.step(state)
        assert not ascent.finished(state)
    # All else has come to rest.
    assert float(state.residual) < 1e-3
    assert float(state.fit.noise.drift) > 1e-2


def test_both_loops_agree(adata, x64):
    """An ascent driven on the host, and in one compiled loop."""
    op = DenseOperator(adata.X.toarray().astype(float))
    options = Options(n_inducing=50)
    space = make_space(scaled(adata), np.zeros(adata.n_obs, np.intp), options)
    space = jax.tree.map(jnp.asarray, space)
    kernels = Kernels(np.full((4, 1), 2.0), np.ones(4), 0.0, 1.0)
    prior = Priors("matern32", space.layout, 1).at(kernels.length_scale)
    likelihood = Poisson(op, np.ones(adata.n_obs)).place(jnp.asarray)
    ascent = Ascent(FactorModel(likelihood, space, 4), kernels, prior, max_iter=60)
    rng = np.random.default_rng(0)
    w, mean = rng.gamma(2, 1, (40, 4)), 0.1 * rng.standard_normal((144, 4))
    state = ascent.init(first_state(ascent, jnp.asarray(w), jnp.asarray(mean)))
    driven, trace = drive(ascent, state)
    found = jax.jit(run_loop)(ascent, state)
    assert int(found.n_steps) == trace.n_iter > 3
    assert trace.converged
    np.testing.assert_allclose(found.fit.w, driven.fit.w, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found.fit.mean, driven.fit.mean, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(found.objective, driven.objective, rtol=1e-10)


def test_a_fit_that_would_break_is_left_as_it_was(adata, monkeypatch):
    ascent, state = _ascent(adata)
    for _ in range(3):
        state = ascent.step(state)
    local = Poisson.local

    def broken(self, *args):
        found = local(self, *args)
        return found._replace(observed=found.observed / 0)

    monkeypatch.setattr(Poisson, "local", broken)
    with np.errstate(all="ignore"):
        after = ascent.step(state)
    assert int(after.n_refused) > int(state.n_refused)
    assert (after.rate == state.rate / 2).all()
    np.testing.assert_array_equal(after.fit.mean, state.fit.mean)
    assert np.isfinite(after.fit.w).all()
    assert not ascent.finished(after)


def test_slow_steps_are_no_convergence(adata):
    """What is left to go does not depend on how much of it a step goes."""
    ascent, state = _ascent(adata)
    slow = state._replace(rate=np.full(4, 1e-17, np.float32))
    for _ in range(2):
        state, slow = ascent.step(state), ascent.step(slow)
        assert not ascent.finished(slow)
    assert float(slow.residual) > 0.1 * float(state.residual)


def test_a_factor_that_would_fall_is_left_as_it_was(adata, monkeypatch):
    """The others move on."""
    ascent, state = _ascent(adata)
    for _ in range(3):
        state = ascent.step(state)
    precision = Local.precision

    def wrong(self, *args):
        found = precision(self, *args)
        return np.concatenate([1e3 * found[:, :1] + 1e3, found[:, 1:]], axis=1)

    monkeypatch.setattr(Local, "precision", wrong)
    after = ascent.step(state)
    assert int(after.n_refused) == int(state.n_refused) + 1
    np.testing.assert_array_equal(after.rate, [0.5, 1, 1, 1])
    moved = (after.fit.mean != state.fit.mean).any(0)
    np.testing.assert_array_equal(moved, [False, True, True, True])
    same = after.fit.post.inducing_cov == state.fit.post.inducing_cov
    np.testing.assert_array_equal(same.all((1, 2)), ~moved)


def _ascent(
    adata,
    likelihood="poisson",
    n_spatial=4,
    *,
    amplitude=1.0,
    nugget=0.0,
    tol=5e-3,
):
    """At fixed kernels, before its first step."""
    options = Options(n_inducing=50)
    space = make_space(scaled(adata), np.zeros(adata.n_obs, np.intp), options)
    lengths = np.full((n_spatial, 1), 2.0)
    if likelihood == "interacting":
        # Each has a prior of its own.
        lengths *= np.arange(1, n_spatial + 1)[:, None]
    kernels = Kernels(lengths, np.full(n_spatial, amplitude), nugget, 1.0)
    prior = None
    if n_spatial:
        priors = Priors("matern32", space.layout, n_spatial)
        prior = priors.at(kernels.length_scale, nugget)
    op = as_operator(adata.X, where="X")
    model = likelihood_of(likelihood, op, np.ones(144, np.float32))
    space = space if n_spatial else None
    ascent = Ascent(FactorModel(model, space, n_spatial), kernels, prior, tol=tol)
    rng = np.random.default_rng(0)
    w = rng.gamma(2, 1, (40, 4)).astype(np.float32)
    mean = 0.1 * rng.standard_normal((144, 4)).astype(np.float32)
    return ascent, ascent.init(first_state(ascent, w, mean))


# --- recovery ---------------------------------------------------------------


def test_recovery(simulated):
    # Totals of the simulation follow its patterns.
    result, size = run(simulated, total=False, temperature=1.0)
    factors = expected(result.mean, result.var)
    # Blocks of 3 x 3 locations have mostly borders, which fields round off.
    assert similarity(simulated.obsm["truth"], factors).min() > 0.92
    assert similarity(simulated.varm["truth"], result.W).min() > 0.99
    truth = simulated.uns["truth"]["params"]["background"] + (
        simulated.obsm["truth"] @ simulated.varm["truth"].T
    )
    error = np.abs(fitted(result, size) - truth).mean()
    assert error < 0.7 * np.abs(simulated.X.toarray() - truth).mean()


@LIKELIHOODS
def test_recovery_at_a_fixed_kernel(simulated, likelihood):
    kernel = dict(length_scale=1.0, amplitude=5.0, temperature=1.0)
    result, _ = run(simulated, likelihood, total=False, **kernel)
    factors = expected(result.mean, result.var)
    assert similarity(simulated.obsm["truth"], factors).min() > 0.97


@pytest.mark.slow
def test_recovery_with_few_inducing_points(simulated):
    result, _ = run(simulated, total=False, n_inducing=150)
    factors = expected(result.mean, result.var)
    assert similarity(simulated.obsm["truth"], factors).min() > 0.9


@pytest.mark.slow
def test_hybrid_puts_each_kind_where_it_belongs():
    adata = nng.datasets.ggblocks(24, 200, n_nonspatial=3, mixing=0.55)
    kernel = dict(length_scale=1.0, amplitude=5.0, temperature=1.0)
    nng.tl.nsfh(adata, 7, n_spatial=4, size_factors=None, **kernel)
    found = adata.obsm["X_nsfh"]
    assert similarity(adata.obsm["truth"][:, :4], found[:, :4]).min() > 0.95
    assert similarity(adata.obsm["truth"][:, 4:], found[:, 4:]).min() > 0.9


# --- both ends of the kernel ------------------------------------------------


def test_length_scale_to_zero_is_pnmf(adata):
    plain, size = run(adata, n_spatial=0, max_iter=300)
    amplitude = float(np.sqrt(plain.iid[1].mean()))
    kernel = dict(length_scale=1e-6, amplitude=amplitude, temperature=1.0)
    spatial, _ = run(adata, trend="constant", max_iter=300, **kernel)
    ours, theirs = fitted(spatial, size), fitted(plain, size)
    assert np.abs(ours - theirs).mean() < 0.03 * theirs.mean()
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.998


@pytest.mark.parametrize("kernel", ["matern32", "matern52", "rbf"])
def test_length_scale_to_infinity_is_constant(adata, kernel):
    given = dict(length_scale=1e6, amplitude=1.0, temperature=1.0)
    result, _ = run(adata, trend="constant", kernel=kernel, **given)
    assert np.ptp(result.mean, axis=0).max() < 0.05


def test_linear_trend_remains(adata):
    """Where fields are constant, log factors are linear in the coordinates."""
    result, _ = run(adata, length_scale=1e6, amplitude=1.0, temperature=1.0)
    basis = np.column_stack([np.ones(adata.n_obs), scaled(adata)])
    rest = result.mean - basis @ np.linalg.lstsq(basis, result.mean)[0]
    assert np.abs(rest).max() < 0.05
    assert np.ptp(result.mean, axis=0).max() > 0.5


def test_temperature_widens(adata):
    """Counts that are trusted less leave more uncertainty."""
    sure, _ = run(adata, **FIXED)
    unsure, _ = run(adata, **FIXED | {"temperature": 10.0})
    assert np.median(unsure.var) > 2 * np.median(sure.var)


# --- options and results ----------------------------------------------------


def test_given_kernels_are_kept(adata):
    result, _ = run(adata, length_scale=1.5)
    np.testing.assert_array_equal(result.kernels.length_scale, np.full((4, 1), 1.5))
    assert result.tried
    assert {k.length_scale[0, 0] for _, k, _ in result.tried} == {1.5}
    result, _ = run(adata, **FIXED)
    assert not result.tried
    np.testing.assert_array_equal(result.kernels.amplitude, np.ones(4))
    assert result.kernels.temperature == 1


@pytest.mark.slow
def test_shared_kernel_is_one(searched):
    assert np.ptp(searched.kernels.length_scale) == 0
    assert np.ptp(searched.kernels.amplitude) == 0


@pytest.mark.slow
def test_private_kernels_predict_no_worse(adata, searched):
    private, _ = run(adata, shared_kernel=False)
    assert private.kernels.length_scale.shape == (4, 1)
    best = max(score for _, _, score in searched.tried)
    assert max(score for _, _, score in private.tried) >= best


def test_priors_that_are_alike_are_one(adata):
    """Whether or not each factor might have had its own: loadings are rotated."""
    found = [
        run(adata, "linear", shared_kernel=shared, **FIXED)[0].trace.objective[-1]
        for shared in (True, False)
    ]
    assert found[0] == found[1]


@pytest.mark.slow
def test_real_factors_with_kernels_of_their_own():
    """Broad and narrow ones: held-out locations are predicted better than with one."""
    n, rng = 14, np.random.default_rng(0)
    xy = np.stack(np.meshgrid(np.arange(n), np.arange(n)), -1).reshape(-1, 2)
    distance = np.linalg.norm(xy[:, None] - xy, axis=-1) * np.sqrt(3)
    factors = []
    for length in (1.5, 12.0):
        cov = (1 + distance / length) * np.exp(-distance / length)
        root = np.linalg.cholesky(cov + 1e-8 * np.eye(len(xy)))
        factors.append(root @ rng.standard_normal(len(xy)))
    values = np.transpose(factors) @ rng.standard_normal((2, 20)) + 20
    values += 0.3 * rng.standard_normal(values.shape)
    adata = ad.AnnData(values.astype(np.float32), obsm={"spatial": xy.astype(float)})
    best = {}
    for shared in (True, False):
        nng.tl.rsf(adata, 2, log_normalized=True, shared_kernel=shared)
        best[shared] = adata.uns["rsf"]["search"]["score"].max()
    assert best[False] > best[True] + 10
    lengths = adata.uns["rsf"]["kernel"]["length_scale"].ravel()
    truth = np.abs(np.corrcoef(factors, adata.obsm["X_rsf"].T)[:2, 2:])
    assert lengths[truth[1].argmax()] > 1.5 * lengths[truth[0].argmax()]
    assert truth.max(1).min() > 0.9


def test_anisotropic_kernels_have_one_scale_for_every_axis(adata):
    result, _ = run(adata, anisotropic=True, max_iter=10)
    assert result.kernels.length_scale.shape == (4, 2)


@pytest.mark.slow
def test_anisotropy_is_found():
    """Stripes along y: rough along x, smooth along y."""
    rng = np.random.default_rng(0)
    adata = nng.datasets.ggblocks(20, 30)
    x = adata.obsm["spatial"][:, 0]
    stripe = np.stack([x % 4 < 2, x % 4 >= 2], axis=1)
    adata.X = rng.poisson(stripe @ rng.gamma(1, 8, (2, 30)) + 0.5).astype(np.float32)
    result, _ = run(adata, rank=2, anisotropic=True)
    along_x, along_y = result.kernels.length_scale[0]
    assert along_y > 2 * along_x


def test_factors_come_by_mass_within_their_kind(adata):
    result, _ = run(adata, n_spatial=2, **FIXED)
    mass = expected(result.mean, result.var).sum(0) * result.W.sum(0)
    assert mass[0] >= mass[1]
    assert mass[2] >= mass[3]
    assert result.iid.shape == (2, 2)
    assert len(result.post.trend) == 2


def test_loadings_are_nonnegative_with_zeros(adata):
    result, _ = run(adata, **FIXED)
    assert result.W.min() == 0
    # Every gene of the simulation follows one pattern.
    assert (result.W == 0).mean() > 0.05


@pytest.mark.parametrize("likelihood", ["poisson", "linear"])
def test_variance_of_sums(adata, likelihood):
    """Neighbours vary together, so sums vary more than if they did not."""
    result, _ = run(adata, likelihood, **FIXED)
    if likelihood == "linear":
        independent = result.var.sum(0)
    else:
        mean = expected(result.mean, result.var).astype(np.float64)
        independent = (mean**2 * np.expm1(result.var)).sum(0)
    assert (result.total_var > 0.5 * independent).all()
    assert result.total_var.max() > independent.min()


def test_duplicates_share_a_location(adata):
    twice = nng.datasets.ggblocks(12, 40)
    twice.obsm["spatial"] = np.repeat(twice.obsm["spatial"][::2], 2, axis=0)
    options = Options()
    space = make_space(scaled(twice), np.zeros(144, np.intp), options)
    assert len(space.layout.locations) == 72
    np.testing.assert_allclose(space.layout.locations[space.index], scaled(twice))
    values = np.random.default_rng(0).random((144, 3))
    summed = space.sum_by_location(values)
    np.testing.assert_allclose(summed[space.index[::2]], values[::2] + values[1::2])
    result, _ = run(twice, **FIXED)
    np.testing.assert_array_equal(result.mean[::2], result.mean[1::2])


@pytest.mark.parametrize("n_inducing", [10_000, 50])
def test_predictions_between_sites_are_those_of_a_process(adata, n_inducing):
    """Close to a site: its value; far away: the trend and the whole variance."""
    result, _ = run(adata, trend="constant", n_inducing=n_inducing, **FIXED)
    coords, section = scaled(adata), np.zeros(adata.n_obs, np.intp)
    options = Options(trend="constant", n_inducing=n_inducing, **FIXED)
    layout = make_space(coords, section, options).layout
    fields = Fields(
        kernel="matern32",
        trend_kind="constant",
        n_neighbors=options.n_neighbors,
        length_scale=result.kernels.length_scale,
        amplitude=result.kernels.amplitude,
        nugget=0.0,
        inducing=layout.inducing,
        inducing_section=layout.inducing_section,
        inducing_mean=result.post.inducing_mean,
        trend=result.post.trend,
        sites=layout.locations,
        site_section=layout.section,
        site_precision=result.location_precision,
        site_mean=result.post.mean,
        site_var=result.post.var,
    )
    mean, var = predict_fields(fields, coords, section, log_link=False)
    np.testing.assert_allclose(mean, result.mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(var, result.var, rtol=1e-5, atol=1e-5)
    far = np.array([[1e4, 1e4]])
    mean, var = predict_fields(fields, far, section[:1], log_link=False)
    np.testing.assert_allclose(mean[0], result.post.trend[:, 0], atol=1e-8)
    np.testing.assert_allclose(var, 1, atol=1e-5)
    if n_inducing > 144:
        mean, var = predict_fields(fields, coords + 1e-4, section, log_link=False)
        np.testing.assert_allclose(mean, result.mean, atol=1e-2)
        np.testing.assert_allclose(var, result.var, atol=1e-2)


# --- coverage ---------------------------------------------------------------


@pytest.mark.slow
def test_intervals_cover():
    """Held-out log factors of data drawn from the model, after matching scale."""
    from anndata import AnnData
    from scipy.spatial.distance import cdist

    inside = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        coords = rng.uniform(0, 4, (300, 2))
        t = np.sqrt(3) * cdist(coords, coords)
        root = np.linalg.cholesky((1 + t) * np.exp(-t) + 1e-8 * np.eye(300))
        f = root @ rng.standard_normal((300, 2))
        w = rng.gamma(0.5, 2, (60, 2)) + 0.1
        x = rng.poisson(np.exp(f) @ w.T).astype(np.float32)
        adata = AnnData(x, obsm={"spatial": coords})
        train, held = adata[:240].copy(), adata[240:]
        nng.tl.nsf(
            train,
            2,
            size_factors=None,
            temperature=1.0,
            length_scale=1.0,
            amplitude=1.0,
            nugget=0,
            trend="constant",
        )
        found = nng.tl.predict(train, held.obsm["spatial"])
        order = nng.metrics.match_factors(
            f[:240], np.log(train.obsm["X_nsf"])
        ).permutation
        mean, std = (np.asarray(x)[:, order] for x in (found.X, found.layers["std"]))
        var = np.log1p((std / mean) ** 2)
        log_mean = np.log(mean) - var / 2
        shift = (np.log(train.obsm["X_nsf"][:, order]) - f[:240]).mean(0)
        z = (f[240:] + shift - log_mean) / np.sqrt(var)
        inside.append(np.abs(z) < 1.6449)
    assert 0.80 <= np.mean(inside) <= 0.97
