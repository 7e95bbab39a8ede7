"""Factor models with Gaussian-process priors: NSF, NSFH, PNMF, RSF, FA.

Variational inference by coordinates, each in closed form or by a natural-gradient
step: entries are shared out among factors, loadings follow, then every log factor is
a Gaussian process with one Gaussian site per observation. No step size for loadings,
no draws, no kernel gradients. What the bound cannot choose well, the kernel and how
far counts are to be trusted (``dispersion``), is chosen on locations held out within
the data, before all of them are fitted: the bound trusts a misspecified model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import scipy.sparse as sp

from ..kernels import gp
from ..kernels.init import right_singular_vectors
from ..kernels.likelihoods import expected, ratio
from ..kernels.loop import Report, iterate
from .nmf import Problem, nmf

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..kernels.gp import Kernel, Layout, Posterior, Prior
    from ..kernels.likelihoods import Likelihood, Loss
    from ..kernels.loop import Callback, Trace
    from ..kernels.operators import MatrixOperator

type Floats = NDArray[np.floating[Any]]
type Trend = Literal["linear", "constant"]

# Held out while the kernel is chosen.
_VALIDATION = 0.2
_MAX_VALIDATION_SITES = 2_000
_MAX_SEARCH_SITES = 20_000
# Folds until so many sites were held out altogether with five of them.
_FOLD_SITES, _MAX_FOLDS = 1_200, 4
# Layouts up to this size are searched with all their inducing points.
_SMALL, _SEARCH_INDUCING = 1_500, 500
# Where the search begins: smooth fields that follow their data loosely.
_LENGTH_SCALE, _AMPLITUDE, _DISPERSION = 1.0, 1.0, 100.0
# Loadings must have settled on smooth fields before rougher ones are tried.
_SEARCH_START, _SEARCH_EVERY, _SEARCH_ITERATIONS = 8, 3, 26
_FIRST_STEP, _LAST_STEP = 1.0, 0.2
_LENGTH_RANGE, _AMPLITUDE_RANGE, _DISPERSION_RANGE = (0.02, 8.0), (0.05, 20.0), (1, 1e4)
# How far one step may raise a rate, at first; the bound is loosened every time.
_LIMIT, _LOOSEN, _MAX_LIMIT = 2.0, 1.3, 10.0
_ROUGHEN, _TOLERANCE, _TRUSTED = 1.25, 2.0, 2.0
_MIN_PRECISION = 1e-10
_MIN_SEARCH_SITES = 20
# Share of a gene's mean.
_NEGLIGIBLE = 1e-5
_SLACK, _RECOVER = 1e-6, 1.2


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


class State(NamedTuple):
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
    posts: tuple[Posterior, ...]
    penalty: float
    """Divergences from the priors, as they count in the bound."""


class NSFResult(NamedTuple):
    """A fitted model, columns of spatial factors first."""

    W: Floats
    mean: Floats
    """(n_obs, k): of the factors, or of their logarithms."""
    var: Floats
    iid: Floats
    total_var: Floats
    """(k,): variance of the sum of every factor over the observations."""
    kernels: Kernels
    posts: tuple[Posterior, ...]
    site_precision: Floats
    """(n_sites, n_spatial)"""
    trace: Trace
    tried: list[tuple[int, Kernels, float]]
    """Iteration, kernels, and the log likelihood of held-out observations."""


def make_space(
    coords: Floats,
    section: NDArray[np.intp],
    options: Options,
) -> Space:
    """Unique sites, inducing points and trend of scaled coordinates."""
    keyed = np.column_stack([section, coords])
    sites, index = np.unique(keyed, axis=0, return_inverse=True)
    label, sites = sites[:, 0].astype(np.intp), np.ascontiguousarray(sites[:, 1:])
    inducing = gp.choose_inducing(sites, label, options.n_inducing, options.seed)
    layout = gp.tie(sites, label, *inducing, options.n_neighbors)
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


# --- one iteration ----------------------------------------------------------


class Model:
    """A likelihood on a space: the steps of a fit."""

    def __init__(
        self,
        likelihood: Likelihood,
        space: Space | None,
        n_spatial: int,
        options: Options,
    ) -> None:
        self.likelihood, self.space = likelihood, space
        self.n_spatial, self.options = n_spatial, options
        self._priors: dict[tuple[float, ...], Prior] = {}

    @property
    def learned(self) -> list[Any]:
        """What the likelihood has learned of the noise."""
        return [self.likelihood.scatter]

    @learned.setter
    def learned(self, values: list[Any]) -> None:
        (self.likelihood.scatter,) = values

    def prior(self, length_scale: Floats) -> Prior:
        """Prior at a length scale; the last few are kept."""
        assert self.space is not None
        key = tuple(length_scale.tolist())
        if key not in self._priors:
            while len(self._priors) >= (
                3 if self.options.shared_kernel else self.n_spatial + 2
            ):
                self._priors.pop(next(iter(self._priors)))
            self._priors[key] = gp.prior(
                self.options.kernel, self.space.layout, length_scale
            )
        return self._priors[key]

    def fields(
        self, kernels: Kernels, precision: Floats, shift: Floats
    ) -> list[tuple[Posterior, float]]:
        """Posterior of every spatial factor, and its divergence from the prior."""
        assert self.space is not None
        weight = 1 / kernels.dispersion
        lam = np.maximum(weight * self.space.sum_sites(precision), _MIN_PRECISION)
        h = weight * self.space.sum_sites(shift)
        found = []
        for j in range(self.n_spatial):
            post = gp.condition(
                self.prior(kernels.length_scale[j]),
                self.space.layout,
                self.space.basis,
                float(kernels.amplitude[j]),
                lam[:, j],
                h[:, j],
            )
            found.append((post, gp.divergence(post, lam[:, j], h[:, j])))
        return found

    def step(
        self, state: State, kernels: Kernels, limit: float, rate: float
    ) -> tuple[State, float]:
        """Loadings, then factors; also the bound before."""
        w, value = self.likelihood.loadings(state.mean, state.var, state.w)
        objective = value - state.penalty
        mean, var = state.mean, state.var
        if not self.likelihood.log_link:
            mean = (mean @ self.likelihood.rotation).astype(mean.dtype)
        sites = self.likelihood.sites(mean, var, w, limit)
        precision = (1 - rate) * state.precision + rate * sites.precision
        shift = (1 - rate) * state.shift + rate * sites.shift
        return self.settle(state._replace(w=w), kernels, precision, shift), objective

    def settle(
        self, state: State, kernels: Kernels, precision: Floats, shift: Floats
    ) -> State:
        """Factors given their sites."""
        t = self.n_spatial
        mean, var = np.empty_like(precision), np.empty_like(precision)
        penalty = 0.0
        posts: list[Posterior] = []
        if t:
            assert self.space is not None
            for j, (post, divergence) in enumerate(
                self.fields(kernels, precision[:, :t], shift[:, :t])
            ):
                mean[:, j] = post.mean[self.space.site]
                var[:, j] = post.var[self.space.site]
                penalty += kernels.dispersion * divergence
                posts.append(post)
        iid = state.iid
        if t < precision.shape[1]:
            # Counts are trusted here: what scatters from place to place is what
            # these factors are for.
            center, spread = iid
            total = 1 / spread + precision[:, t:]
            m = (center / spread + shift[:, t:]) / total
            v = 1 / total
            mean[:, t:], var[:, t:] = m, v
            if self.likelihood.log_link:
                # Empirical Bayes.
                center = m.mean(0)
                spread = np.maximum(((m - center) ** 2 + v).mean(0), 1e-4)
            iid = np.stack([center, spread])
            left = v / spread
            penalty += float(
                ((left - np.log(left) - 1 + (m - center) ** 2 / spread) / 2).sum()
            )
        return State(
            state.w,
            mean,
            var,
            precision.astype(np.float32),
            shift.astype(np.float32),
            iid,
            tuple(posts),
            penalty,
        )

    def predict(
        self, state: State, kernels: Kernels, space: Space, length: int
    ) -> tuple[Floats, Floats]:
        """Mean and variance of factors (or their logarithms) at other observations."""
        mean = np.empty((length, state.w.shape[1]))
        var = np.empty_like(mean)
        for j, post in enumerate(state.posts):
            m, v = predict_field(
                self.options.kernel,
                space,
                kernels.length_scale[j],
                float(kernels.amplitude[j]),
                trend=post.trend,
                inducing_mean=post.inducing_mean,
                inducing_cov=post.inducing_cov,
            )
            mean[:, j], var[:, j] = m[space.site], v[space.site]
        mean[:, self.n_spatial :], var[:, self.n_spatial :] = state.iid
        return mean, var


def predict_field(
    kernel: Kernel,
    space: Space,
    length_scale: Floats,
    amplitude: float,
    *,
    trend: Floats,
    inducing_mean: Floats,
    inducing_cov: Any,
) -> tuple[Floats, Floats]:
    """Mean and variance of a field at the sites of a space."""
    weights, residual = gp.conditional(kernel, space.layout, length_scale)
    mean = space.basis @ trend + gp.carry(space.layout, weights, inducing_mean)
    var = amplitude**2 * residual + gp.carry_var(space.layout, weights, inducing_cov)
    return mean, var


# --- starting values --------------------------------------------------------


def start_counts(
    op: MatrixOperator,
    rank: int,
    size: Floats,
    options: Options,
    *,
    loss: Loss = "kullback-leibler",
    order: Callable[[Floats], NDArray[np.intp]] | None = None,
) -> tuple[Floats, Floats]:
    """Loadings and log factors from NMF, made less extreme.

    ``order`` sorts the factors by their logarithms.
    """
    fit = nmf(
        Problem(op, op.stats(), loss),
        rank,
        solver="mu" if loss == "kullback-leibler" else "hals",
        max_iter=200,
        tol=1e-4,
        seed=options.seed,
    )
    a, n_vars = options.shrinkage, op.shape[1]
    w = fit.H.T * fit.mass / np.maximum(fit.H.sum(1), 1e-30)
    factors = fit.W * np.where(fit.mass > 0, 1 / np.maximum(fit.W.sum(0), 1e-30), 0)
    factors = factors * len(factors)
    w = w / len(factors)
    # Every gene a little in every factor, every factor a little everywhere.
    total = w.sum(0)
    w = (1 - a) * w + a * total / n_vars
    part = factors * total
    part = (1 - a) * part + a * part.sum(1, keepdims=True) / rank
    scale = np.maximum(part.mean(), 1e-30)
    log_factors = np.log(0.01 + part / scale) - np.log(size)[:, None]
    center = log_factors.mean(0)
    log_factors -= center
    w = w / np.maximum(w.sum(0), 1e-30) * np.exp(center) * scale
    picked = np.arange(rank) if order is None else order(log_factors)
    return (
        np.ascontiguousarray(w[:, picked], np.float32),
        log_factors[:, picked].astype(np.float32),
    )


def first_state(
    model: Model, w: Floats, mean: Floats, kernels: Kernels, var: Floats | None = None
) -> State:
    """Sites at given factors, and the factors that follow."""
    t, k = model.n_spatial, w.shape[1]
    var = np.full_like(mean, 0.01) if var is None else var.astype(np.float32)
    if model.likelihood.log_link:
        iid = np.stack([mean[:, t:].mean(0), np.maximum(mean[:, t:].var(0), 0.01)])
    else:
        iid = np.stack([np.zeros(k - t), np.ones(k - t)])
    zero = np.zeros_like(mean)
    state = State(w, mean, var, zero, zero, iid, (), 0.0)
    model.likelihood.loadings(mean, var, w)
    sites = model.likelihood.sites(mean, var, w, _LIMIT)
    return model.settle(state, kernels, sites.precision, sites.shift)


# --- the fit ----------------------------------------------------------------


class Batches:
    """Random parts of the observations, visited in turn.

    Incremental: every part keeps what it last contributed to the loadings and to the
    sites, so that the fixed points are those of the whole.
    """

    def __init__(self, model: Model, rng: np.random.Generator) -> None:
        likelihood = model.likelihood
        n_obs = likelihood.op.shape[0]
        assert model.options.batch_size is not None
        n_parts = -(-n_obs // model.options.batch_size)
        parts = np.array_split(rng.permutation(n_obs), n_parts)
        self.model = model
        self.parts = [
            (rows, likelihood.restrict(likelihood.op.rows(rows), rows))
            for rows in map(np.sort, parts)
        ]
        self.sums: list[tuple[Floats, Floats]] = []

    @property
    def learned(self) -> list[Any]:
        """What the likelihoods have learned of the noise."""
        return [likelihood.scatter for _, likelihood in self.parts]

    @learned.setter
    def learned(self, values: list[Any]) -> None:
        for (_, likelihood), value in zip(self.parts, values, strict=True):
            likelihood.scatter = value

    def step(
        self, state: State, kernels: Kernels, limit: float, rate: float
    ) -> tuple[State, float]:
        """One step for every part; the bound is a sum over the parts' own times."""
        total = -state.penalty
        first = not self.sums
        for i, (rows, likelihood) in enumerate(self.parts):
            mean, var = state.mean[rows], state.var[rows]
            w, value = likelihood.loadings(mean, var, state.w)
            total += value
            if first:
                self.sums.append(likelihood.parts)
            else:
                self.sums[i] = likelihood.parts
            if len(self.sums) == len(self.parts):
                numerators, denominators = zip(*self.sums, strict=True)
                w = ratio(sum(numerators), sum(denominators)).astype(w.dtype)
            else:
                w = state.w
            sites = likelihood.sites(mean, var, w, limit)
            precision, shift = state.precision.copy(), state.shift.copy()
            precision[rows] += rate * (sites.precision - precision[rows])
            shift[rows] += rate * (sites.shift - shift[rows])
            state = self.model.settle(state._replace(w=w), kernels, precision, shift)
        return state, total


def first_kernels(
    n_spatial: int, n_axes: int, options: Options, *, searched: bool
) -> Kernels:
    """Given values, or those where the search begins, if there is one."""
    return Kernels(
        np.full(
            (n_spatial, n_axes if options.anisotropic else 1),
            float(options.length_scale or _LENGTH_SCALE),
        ),
        np.full(n_spatial, float(options.amplitude or _AMPLITUDE)),
        float(options.dispersion or (_DISPERSION if searched else 1.0)),
    )


def loosened(limit: float, iteration: int) -> float:
    """Bound on how far a step may go up, after some iterations."""
    return min(limit * _LOOSEN**iteration, _MAX_LIMIT)


class Descent:
    """Steps at fixed kernels.

    One that lowers the bound, or leaves the finite numbers, is taken back and repeated
    with half the rate.
    """

    def __init__(self, stepper: Model | Batches, rate: float) -> None:
        self.stepper, self.top, self.rate = stepper, rate, rate
        self.best: tuple[State, float, list[Any]] | None = None

    def step(self, state: State, kernels: Kernels, limit: float) -> tuple[State, float]:
        """The next state, and the bound of the one that it starts from."""
        learned = self.stepper.learned
        new, objective = self.stepper.step(state, kernels, limit, self.rate)
        if self.best is not None and not (
            objective >= self.best[1] - _SLACK * abs(self.best[1])
        ):
            self.rate /= 2
            state, _, learned = self.best
            self.stepper.learned = learned
            new, objective = self.stepper.step(state, kernels, limit, self.rate)
        else:
            self.rate = min(self.rate * _RECOVER, self.top)
        self.best = state, objective, learned
        return new, objective


def descend(
    model: Model,
    state: State,
    kernels: Kernels,
    *,
    limit: float = _LIMIT,
    callback: Callback | None = None,
) -> tuple[State, Trace]:
    """Iterate at fixed kernels until the bound stands still."""
    options = model.options
    stepper: Model | Batches = model
    if options.batch_size is not None and options.batch_size < len(state.mean):
        stepper = Batches(model, np.random.default_rng(options.seed))
    descent = Descent(stepper, options.learning_rate)

    def step(state: State, iteration: int) -> tuple[State, Report]:
        new, objective = descent.step(state, kernels, loosened(limit, iteration))
        return new, Report(objective)

    def finished(reports: list[Report]) -> bool:
        if len(reports) < 4:
            return False
        last, before = reports[-1].objective, reports[-4].objective
        assert last is not None
        assert before is not None
        return abs(last - before) <= 3 * options.tol * abs(last)

    state, trace = iterate(
        step, state, max_iter=options.max_iter, finished=finished, callback=callback
    )
    if descent.best is not None and not _is_finite(state):
        # The last step has not been judged.
        state = descent.best[0]
    return state, trace


def _is_finite(state: State) -> bool:
    return bool(np.isfinite(state.mean).all() and np.isfinite(state.w).all())


def fit(
    likelihood: Likelihood,
    space: Space | None,
    size: Floats,
    rank: int,
    *,
    n_spatial: int,
    options: Options,
    order: Callable[[Floats, NDArray[np.intp]], NDArray[np.intp]] | None = None,
    callback: Callback | None = None,
) -> NSFResult:
    """Choose kernels on held-out sites where they are not given, then fit all.

    ``order`` sorts starting factors, given those and the rows that they are for;
    the first ``n_spatial`` become spatial.
    """
    rng = np.random.default_rng(options.seed)
    n_obs = likelihood.op.shape[0]
    n_axes = 0 if space is None else space.layout.sites.shape[1]
    searched = (
        space is not None
        and bool(_free(options))
        and len(space.layout.sites) >= _MIN_SEARCH_SITES
    )
    kernels = first_kernels(n_spatial, n_axes, options, searched=searched)
    model = Model(likelihood, space, n_spatial, options)
    tried: list[tuple[int, Kernels, float]] = []

    def start(likelihood: Likelihood, rows: NDArray[np.intp]) -> tuple[Floats, Floats]:
        if not likelihood.log_link:
            return start_real(likelihood, rank, options)
        picked = None if order is None else lambda f: order(f, rows)
        loss = likelihood.loss
        return start_counts(
            likelihood.op, rank, size[rows], options, loss=loss, order=picked
        )

    everything = np.arange(n_obs)
    if searched:
        assert space is not None
        coarse = coarsen(space, options)
        parts = [
            Search(
                likelihood,
                coarse,
                size,
                held=held,
                n_spatial=n_spatial,
                options=options,
            )
            for held in hold_out(coarse, rng)
        ]
        states = []
        for part in parts:
            w, mean = start(part.likelihood, part.held.train)
            states.append(first_state(part.model, w, mean, kernels))
        states, kernels, tried = search(parts, states, kernels, callback)
        part, state = parts[0], states[0]
        mean, var = part.model.predict(state, kernels, coarse, n_obs)
        mean[part.held.train], var[part.held.train] = state.mean, state.var
        state = first_state(model, state.w, mean.astype(np.float32), kernels, var)
    else:
        w, mean = start(likelihood, everything)
        state = first_state(model, w, mean, kernels)
    state, trace = descend(model, state, kernels, callback=callback)
    return _finish(model, state, kernels, trace, tried)


def _free(options: Options) -> list[str]:
    names = ("length_scale", "amplitude", "dispersion")
    return [name for name in names if getattr(options, name) is None]


def start_real(
    likelihood: Likelihood, rank: int, options: Options
) -> tuple[Floats, Floats]:
    """Loadings and factors from singular vectors."""
    op, rng = likelihood.op, np.random.default_rng(options.seed)
    # One more than asked for: the first is close to the mean, which the model has.
    vectors, _ = right_singular_vectors(op, min(rank + 1, *op.shape), rng)
    w = np.zeros((op.shape[1], rank), np.float32)
    w[:, : vectors.shape[1] - 1] = vectors[:, 1:]
    factors = np.asarray(op.matmul(w)) - likelihood.center @ w
    scale = np.maximum(factors.std(0), 1e-6)
    return w * scale, (factors / scale).astype(np.float32)


def _finish(
    model: Model,
    state: State,
    kernels: Kernels,
    trace: Trace,
    tried: list[tuple[int, Kernels, float]],
) -> NSFResult:
    """Spatial factors first, each kind by its contribution."""
    t = model.n_spatial
    log_link = model.likelihood.log_link
    var = np.maximum(state.var, 0)
    if log_link:
        factors = expected(state.mean, var)
        mass = factors.sum(0, dtype=np.float64) * state.w.sum(0)
        factor_var = factors.astype(np.float64) ** 2 * np.expm1(np.minimum(var, 40))
    else:
        factors, factor_var = np.ones_like(state.mean), var
        mass = np.square(state.mean).sum(0, dtype=np.float64) * np.square(state.w).sum(
            0
        )
    order = np.concatenate(
        [np.argsort(-mass[:t], kind="stable"), t + np.argsort(-mass[t:], kind="stable")]
    )
    # Sums of a field vary more than independent terms would.
    total_var = factor_var.sum(0, dtype=np.float64)
    precision = np.zeros((0, t))
    if t:
        assert model.space is not None
        space = model.space
        precision = np.maximum(
            space.sum_sites(state.precision[:, :t]) / kernels.dispersion, _MIN_PRECISION
        )
        weight = space.sum_sites(factors[:, :t])
        for j, post in enumerate(state.posts):
            prior = model.prior(kernels.length_scale[j])
            total_var[j] = gp.sum_var(
                prior,
                space.layout,
                float(kernels.amplitude[j]),
                precision[:, j],
                post,
                weight[:, j],
            )
    first = order[:t]
    return NSFResult(
        W=_drop_negligible(state.w, factors)[:, order]
        if log_link
        else state.w[:, order],
        mean=state.mean[:, order],
        var=var[:, order],
        iid=state.iid[:, order[t:] - t],
        total_var=total_var[order],
        kernels=Kernels(
            kernels.length_scale[first], kernels.amplitude[first], kernels.dispersion
        ),
        posts=tuple(state.posts[j] for j in first),
        site_precision=precision[:, first],
        trace=trace,
        tried=tried,
    )


def _drop_negligible(w: Floats, factors: Floats) -> Floats:
    """Zero for loadings that multiplicative updates were driving there."""
    part = w * factors.sum(0, dtype=np.float64)
    return np.where(part > _NEGLIGIBLE * part.sum(1, keepdims=True), w, 0)


# --- choosing the kernel ----------------------------------------------------


def coarsen(space: Space, options: Options) -> Space:
    """Fewer inducing points where there are many: kernels can be judged with those."""
    layout = space.layout
    if len(layout.inducing) <= _SEARCH_INDUCING or len(layout.sites) <= _SMALL:
        return space
    inducing = gp.choose_inducing(
        layout.sites, layout.section, _SEARCH_INDUCING, options.seed
    )
    return space._replace(
        layout=gp.tie(layout.sites, layout.section, *inducing, options.n_neighbors)
    )


class Held(NamedTuple):
    """One way of holding out sites."""

    sites: NDArray[np.intp]
    train: NDArray[np.intp]
    """Observations at the sites that are used to fit."""
    rows: NDArray[np.intp]
    """Observations at the sites held out."""


def hold_out(space: Space, rng: np.random.Generator) -> list[Held]:
    """Disjoint sets of sites; several where there are few sites."""
    n_sites = len(space.layout.sites)
    used = rng.permutation(n_sites)[:_MAX_SEARCH_SITES]
    n_held = max(min(round(_VALIDATION * n_sites), _MAX_VALIDATION_SITES), 1)
    n_folds = int(np.clip(-(-_FOLD_SITES // n_sites), 1, _MAX_FOLDS))
    found = []
    for fold in range(n_folds):
        held = used[fold * n_held : (fold + 1) * n_held]
        part = np.zeros(n_sites, np.int8)
        part[used] = 1
        part[held] = 2
        role = part[space.site]
        found.append(
            Held(np.sort(held), np.flatnonzero(role == 1), np.flatnonzero(role == 2))
        )
    return found


class Search:
    """A fit on part of the sites, whose kernels are judged on the others."""

    def __init__(
        self,
        likelihood: Likelihood,
        space: Space,
        size: Floats,
        *,
        held: Held,
        n_spatial: int,
        options: Options,
    ) -> None:
        self.held = held
        self.order = np.searchsorted(held.sites, space.site[held.rows])
        self.size = size[held.rows]
        self.op = likelihood.op.rows(held.rows)
        self.likelihood = likelihood.restrict(
            likelihood.op.rows(held.train), held.train
        )
        # All sites keep their place, so that priors serve all folds; those held out
        # have no observations here.
        self.model = Model(
            self.likelihood,
            space._replace(site=space.site[held.train]),
            n_spatial,
            options,
        )

    def score(self, state: State, kernels: Kernels) -> Floats:
        """How well each held-out observation is predicted with these kernels."""
        model, t = self.model, self.model.n_spatial
        assert model.space is not None
        space = model.space
        lam = np.maximum(
            space.sum_sites(state.precision[:, :t]) / kernels.dispersion, _MIN_PRECISION
        )
        h = space.sum_sites(state.shift[:, :t]) / kernels.dispersion
        mean = np.empty((len(self.order), state.w.shape[1]))
        var = np.empty_like(mean)
        for j in range(t):
            m, v = gp.predict(
                model.prior(kernels.length_scale[j]),
                space.layout,
                space.basis,
                float(kernels.amplitude[j]),
                lam[:, j],
                h[:, j],
                self.held.sites,
            )
            mean[:, j], var[:, j] = m[self.order], v[self.order]
        mean[:, t:], var[:, t:] = state.iid
        return self.likelihood.score(self.op, self.size, mean, var, state.w)


def search(
    parts: list[Search],
    states: list[State],
    kernels: Kernels,
    callback: Callback | None = None,
) -> tuple[list[State], Kernels, list[tuple[int, Kernels, float]]]:
    """Alternate steps of the fits with moves of the kernels that predict better."""
    options = parts[0].model.options
    free = _free(options)
    tried: list[tuple[int, Kernels, float]] = []

    def score(kernels: Kernels) -> Floats:
        scores = [
            part.score(state, kernels)
            for part, state in zip(parts, states, strict=True)
        ]
        found = np.concatenate(scores)
        tried.append((iteration, kernels, float(found.sum())))
        return found

    def improve(candidates: list[Kernels], best: float) -> tuple[Kernels, float] | None:
        for candidate in candidates:
            value = float(score(candidate).sum())
            if value > best:
                return candidate, value
        return None

    size, iteration = _FIRST_STEP, 0
    descents = [Descent(part.model, options.learning_rate) for part in parts]
    for iteration in range(1, _SEARCH_ITERATIONS + 1):
        limit = loosened(_LIMIT, iteration)
        moved = [
            descent.step(state, kernels, limit)
            for descent, state in zip(descents, states, strict=True)
        ]
        states = [state for state, _ in moved]
        if callback is not None:
            callback(iteration, Report(sum(objective for _, objective in moved)))
        if iteration < _SEARCH_START or (iteration - _SEARCH_START) % _SEARCH_EVERY:
            continue
        best, before = float(score(kernels).sum()), kernels
        for _ in range(2):
            better = improve(moves(kernels, size, free), best)
            if better is None:
                size /= 2
            else:
                kernels, best = better
        if kernels is not before:
            # Another prior, another bound.
            for descent in descents:
                descent.best = None
        if size < _LAST_STEP:
            break
    if "amplitude" in free:
        kernels = _roughen(kernels, score)
    if not options.shared_kernel:
        kernels = _separate(kernels, free, improve, float(score(kernels).sum()))
    return states, kernels, tried


def _roughen(kernels: Kernels, score: Callable[[Kernels], Floats]) -> Kernels:
    """The roughest fields that predict about as well, where counts are trusted.

    Held-out locations tell little between smooth and rough fields where factors
    have sharp borders; but where counts scatter as the likelihood says, fields that
    are too smooth misfit the locations that were seen.
    """
    if kernels.dispersion > _TRUSTED:
        return kernels
    best = score(kernels)
    while kernels.amplitude.max() * _ROUGHEN < _AMPLITUDE_RANGE[1]:
        candidate = kernels._replace(amplitude=kernels.amplitude * _ROUGHEN)
        loss = best - score(candidate)
        if loss.sum() > _TOLERANCE * loss.std() * np.sqrt(loss.size):
            break
        kernels = candidate
    return kernels


def _separate(
    kernels: Kernels,
    free: list[str],
    improve: Callable[[list[Kernels], float], tuple[Kernels, float] | None],
    best: float,
) -> Kernels:
    """A length scale and amplitude for each factor, from common ones."""
    free = [name for name in free if name != "dispersion"]
    for size in (0.5, 0.25):
        for j in range(len(kernels.amplitude)):
            candidates = []
            for candidate in moves(kernels, size, free):
                length, amplitude = (np.copy(x) for x in kernels[:2])
                length[j] = candidate.length_scale[j]
                amplitude[j] = candidate.amplitude[j]
                candidates.append(
                    kernels._replace(length_scale=length, amplitude=amplitude)
                )
            better = improve(candidates, best)
            if better is not None:
                kernels, best = better
    return kernels


def moves(kernels: Kernels, size: float, free: list[str]) -> list[Kernels]:
    """Neighbours of the kernels at a distance on a log scale."""
    directions = [
        ({"length_scale": 1.0}),
        ({"amplitude": 1.0}),
        ({"dispersion": -1.0}),
        # Fields as rough as before, but over longer or shorter distances.
        ({"length_scale": 1.0, "amplitude": 1.5}),
        ({"amplitude": 1.0, "dispersion": 2.0}),
    ]
    found = []
    for direction in directions:
        if not set(direction) <= set(free):
            continue
        for sign in (1, -1):
            step = {name: np.exp(sign * size * d) for name, d in direction.items()}
            moved = Kernels(
                np.clip(
                    kernels.length_scale * step.get("length_scale", 1), *_LENGTH_RANGE
                ),
                np.clip(
                    kernels.amplitude * step.get("amplitude", 1), *_AMPLITUDE_RANGE
                ),
                float(
                    np.clip(
                        kernels.dispersion * step.get("dispersion", 1),
                        *_DISPERSION_RANGE,
                    )
                ),
            )
            if not (
                np.array_equal(moved.length_scale, kernels.length_scale)
                and np.array_equal(moved.amplitude, kernels.amplitude)
                and moved.dispersion == kernels.dispersion
            ):
                found.append(moved)
    n_axes = kernels.length_scale.shape[1]
    if n_axes > 1 and "length_scale" in free:
        for axis in range(n_axes):
            for sign in (1, -1):
                length = kernels.length_scale.copy()
                length[:, axis] *= np.exp(sign * size)
                found.append(
                    kernels._replace(length_scale=np.clip(length, *_LENGTH_RANGE))
                )
    return found
