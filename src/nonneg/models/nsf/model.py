"""A likelihood on a space: what a step does to the factors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from ..._core.namespace import namespace
from ..._core.precision import float64
from . import fields as gp
from .likelihood import Sites, exp, expected
from .priors import conditional, interpolation, pick_prior
from .problem import Kernels, NSFState, Space
from .steps import line_search, settle

if TYPE_CHECKING:
    from ..._core.typing import Floats
    from ...kernels.covariance import Kernel
    from .fields import Posterior
    from .likelihood import Likelihood, Local
    from .priors import Prior


MIN_PRECISION = 1e-10

# Rounds in which real factors that interact settle; all else of a step takes longer.
_N_TURNS = 3

# A fall of what a factor has in the bound by less, relative to its counts, is rounding.
_SLACK = 1e-6


class Step(NamedTuple):
    """What a step did."""

    fit: NSFState
    objective: Any
    """The bound before."""
    residual: Any
    """By how much factors would move, relative to what they are: the root of the mean
    square, weighted by the precision of their sites. Nothing that slows steps down makes
    it smaller, but that real factors which interact are moved in turn, a few times."""
    refused: Any
    """(k,): factors that are left as they were, since the bound would have fallen."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["likelihood", "space"],
    meta_fields=["n_spatial"],
)
@dataclass(frozen=True)
class FactorModel:
    """A likelihood on a space."""

    likelihood: Likelihood
    space: Space | None
    n_spatial: int

    def location_sites(
        self, kernels: Kernels, precision: Any, shift: Any
    ) -> tuple[Any, Any]:
        """Sites of the spatial factors at each location, as the counts are trusted."""
        assert self.space is not None
        xp, t = namespace(precision), self.n_spatial
        lam, h = (
            self.space.sum_by_location(x[:, :t]) / kernels.temperature
            for x in (precision, shift)
        )
        return xp.maximum(lam, MIN_PRECISION), h

    def likelihood_of(self, prior: Prior | None) -> Likelihood:
        """Of factors with this prior, or with one for each."""
        alike = prior is None or not prior.interpolation.stacked
        return self.likelihood.of_priors(alike=alike)

    def step(
        self, state: NSFState, kernels: Kernels, prior: Prior | None, rate: Any
    ) -> Step:
        """New loadings, then means, then variances of factors: each raises the bound.

        ``rate`` (k,) is how much of the way to new precisions is made.
        """
        likelihood = self.likelihood_of(prior)
        evidence = likelihood.evidence(state.noise, state.mean, state.var, state.w)
        local = likelihood.local(evidence, state.mean, state.var)
        objective = evidence.value - state.penalty.sum()
        start = state._replace(w=evidence.w, noise=evidence.noise)
        if isinstance(local, Sites):
            if local.gram is None:
                # Where these lead is the maximum, whatever the factors were.
                fit = self.condition(start, kernels, prior, *local[:2])
            else:
                assert prior is not None
                fit = self._in_turn(start, local, kernels, prior)
            move, weight = fit.mean - state.mean, local.precision
            refused = namespace(move).zeros(move.shape[1], bool)
            return Step(fit, objective, root_mean_square(move, weight), refused)
        return self._move(start, local, kernels, prior, rate)._replace(
            objective=objective
        )

    def _in_turn(
        self, state: NSFState, sites: Sites, kernels: Kernels, prior: Prior
    ) -> NSFState:
        """Factors that interact, each given the present means of the others.

        The bound rises with each. Variances do not hang on means, so that products are all
        that a turn takes.
        """
        assert self.space is not None
        xp, space = namespace(state.mean), self.space
        amplitude = xp.asarray(kernels.amplitude)
        lam, _ = self.location_sites(kernels, sites.precision, sites.shift)
        covariance = gp.site_covariance(prior, amplitude, lam)
        means = list(state.mean.astype(np.float64).T)
        shifts = [sites.shift[:, j] for j in range(self.n_spatial)]
        for _ in range(_N_TURNS):
            for j in range(self.n_spatial):
                own = slice(j, j + 1)
                shifts[j] = sites.given(xp.stack(means, axis=1))[:, j]
                found = gp.mean_change(
                    pick_prior(prior, j),
                    space.basis,
                    amplitude[own],
                    lam[:, own],
                    covariance[0][own],
                    space.sum_by_location(shifts[j][:, None]) / kernels.temperature,
                )
                means[j] = found[space.index, 0]
        shift = xp.stack(shifts, axis=1).astype(state.mean.dtype)
        return self.condition(
            state, kernels, prior, sites.precision, shift, covariance=covariance
        )

    def bound(self, state: NSFState) -> Any:
        """Of a fit, which a pass over the data tells."""
        evidence = self.likelihood.evidence(state.noise, state.mean, state.var, state.w)
        return evidence.value - state.penalty.sum()

    def _move(
        self,
        state: NSFState,
        local: Local,
        kernels: Kernels,
        prior: Prior | None,
        rate: Any,
    ) -> Step:
        xp, t = namespace(state.mean), self.n_spatial
        parts = []
        if prior is not None:
            own = local.map(lambda x: x[:, :t])
            parts.append(self._move_fields(state, own, kernels, prior, rate[:t]))
        if t < state.mean.shape[1]:
            own = local.map(lambda x: x[:, t:])
            parts.append(self._move_others(state, own, rate[t:]))
        move, moved, precision, shift = (
            xp.concatenate(x, axis=1).astype(state.mean.dtype)
            for x in zip(*parts, strict=True)
        )
        fit = self.condition(state, kernels, prior, precision, shift)
        weight = local.rate + local.excess
        refused = xp.zeros(move.shape[1], bool)
        if prior is not None and self.likelihood.exact:
            change = local.change(moved, fit.var - state.var).sum(0, dtype=np.float64)
            gain = change - (fit.penalty - state.penalty)
            slack = _SLACK * weight.sum(0, dtype=np.float64)
            # Priors of factors without space have moved as well: there the bound rises.
            refused = ~(gain >= -slack) & (np.arange(len(gain)) < t)
            fit = keep_factors(refused, state, fit)
        return Step(fit, 0.0, root_mean_square(move, weight), refused)

    def _move_fields(
        self, state: NSFState, local: Local, kernels: Kernels, prior: Prior, rate: Any
    ) -> tuple[Any, Any, Any, Any]:
        """How far means would go and go, and sites, all by observation."""
        xp, t, space = namespace(state.mean), self.n_spatial, self.space
        assert space is not None
        assert state.post
        amplitude = xp.asarray(kernels.amplitude)
        mean, precision, shift = (
            x[:, :t] for x in (state.mean, state.precision, state.shift)
        )
        push = local.force - (shift - precision * mean)
        here = local.map(lambda x: space.sum_by_location(x) / kernels.temperature)
        lam, h = self.location_sites(kernels, precision, push)
        stiff, firm, cov = precision, lam, state.post.inducing_cov
        if local.power > 1:
            # Sites of squares may be far less precise than their slope is steep.
            stiff = local.power * (local.rate + local.excess)
            firm, _ = self.location_sites(kernels, stiff, push)
            cov, _ = gp.site_covariance(prior, amplitude, firm)
        move = gp.mean_change(prior, space.basis, amplitude, firm, cov, h)
        gain = (h * move).sum(0)
        inertia = gain - (firm * move**2).sum(0)
        part = line_search(here, move, gain, inertia, together=True)
        rest = xp.maximum(1 / state.post.var - lam, MIN_PRECISION)
        way = rate * settle(here, part * move, state.post.var, lam, rest)
        move, way = move[space.index], way[space.index].astype(precision.dtype)
        moved = (part * move).astype(mean.dtype)
        new = precision + way * (local.precision(moved) - precision)
        # Sites which have the mean that was found.
        shift = shift + part * (push + (precision - stiff) * move)
        return move, moved, new, shift + (new - precision) * (mean + moved)

    def _move_others(
        self, state: NSFState, local: Local, rate: Any
    ) -> tuple[Any, Any, Any, Any]:
        """The same of factors without space, whose sites have nothing in common."""
        xp, t = namespace(state.mean), self.n_spatial
        center, scale = state.iid
        mean, var, precision = (
            x[:, t:] for x in (state.mean, state.var, state.precision)
        )
        push = local.force - (mean - center) / scale
        move = push / (1 / scale + precision)
        part = line_search(local, move, push * move, move**2 / scale, together=False)
        moved = part * move
        # The prior has moved since: this is the precision that the variance is due to.
        now = 1 / var - 1 / scale
        way = rate * settle(local, moved, var, now, 1 / scale)
        new = xp.maximum(now + way * (local.precision(moved) - now), 0)
        shift = (mean + moved) * (1 / scale + new) - center / scale
        return move, moved, new, shift

    def condition(
        self,
        start: NSFState,
        kernels: Kernels,
        prior: Prior | None,
        precision: Any,
        shift: Any,
        *,
        covariance: tuple[Any, Any] | None = None,
    ) -> NSFState:
        """Factors given their sites, at the loadings of a start."""
        xp, t = namespace(precision), self.n_spatial
        means, variances = [], []
        penalties = []
        iid = start.iid
        post: Posterior | tuple[()] = ()
        if prior is not None:
            assert self.space is not None
            lam, h = self.location_sites(kernels, precision, shift)
            amplitude = xp.asarray(kernels.amplitude)
            post = gp.condition(prior, self.space.basis, amplitude, lam, h, covariance)
            means.append(post.mean[self.space.index])
            variances.append(post.var[self.space.index])
            penalties.append(kernels.temperature * gp.divergence(post, lam, h))
        if t < precision.shape[1]:
            # Counts are trusted here: what scatters from place to place is what
            # these factors are for.
            center, scale = start.iid
            total = 1 / scale + precision[:, t:]
            m, v = (center / scale + shift[:, t:]) / total, 1 / total
            means.append(m)
            variances.append(v)
            if self.likelihood.log_link:
                # Empirical Bayes.
                center = m.mean(0)
                scale = xp.maximum(((m - center) ** 2 + v).mean(0), 1e-4)
            iid = xp.stack([center, scale])
            left = v / scale
            terms = left - xp.log(left) - 1 + (m - center) ** 2 / scale
            penalties.append(terms.sum(0) / 2)
        mean, var = (
            xp.concatenate(x, axis=1).astype(precision.dtype)
            for x in (means, variances)
        )
        penalty = xp.concatenate(penalties)
        return NSFState(
            start.w, mean, var, precision, shift, start.noise, iid, post, penalty
        )


def root_mean_square(move: Any, weight: Any) -> Any:
    """Over observations and factors, in float64."""
    total = (weight * move**2).sum(dtype=np.float64)
    tiny = np.finfo(np.float32).tiny
    return namespace(move).sqrt(total / (weight.sum(dtype=np.float64) + tiny))


def keep_factors(kept: Any, old: NSFState, new: NSFState) -> NSFState:
    """Some spatial factors as they were."""
    xp = namespace(old.mean)
    if xp is np and not kept.any():
        return new
    assert old.post
    assert new.post
    own = kept[: len(new.post.trend)]

    def pick(x: Any, y: Any) -> Any:
        return xp.where(own.reshape(-1, *(1,) * (x.ndim - 1)), x, y)

    with float64():
        # Fields of locations have factors last, those of inducing points first.
        post = type(new.post)(
            *(
                xp.where(own, x, y)
                for x, y in zip(old.post[:2], new.post[:2], strict=True)
            ),
            *(pick(x, y) for x, y in zip(old.post[2:], new.post[2:], strict=True)),
        )
    by_column = ("mean", "var", "precision", "shift", "penalty")
    return new._replace(
        post=post,
        **{
            name: xp.where(kept, getattr(old, name), getattr(new, name))
            for name in by_column
        },
    )


def predict_factors(
    kernel: Kernel,
    state: NSFState,
    kernels: Kernels,
    space: Space,
    elsewhere: Any,
) -> tuple[Any, Any]:
    """Mean and variance of factors (or their logarithms) at other observations."""
    assert state.post
    field = predict_field(
        kernel,
        space,
        kernels.length_scale,
        kernels.amplitude,
        kernels.nugget,
        trend=state.post.trend,
        inducing_mean=state.post.inducing_mean,
        inducing_cov=state.post.inducing_cov,
    )
    mean, var = (
        with_iid(x[space.index], y) for x, y in zip(field, elsewhere, strict=True)
    )
    return mean, var


def iid_elsewhere(mean: Any, var: Any, *, log_link: bool) -> Any:
    """Mean and variance of factors without space (or of their logarithms) elsewhere.

    Of one distribution that has the mean and variance which the factors have over the
    observations. The mean of their prior is no prediction: a log-normal that is wide
    enough for factors which are absent in most places has a mean far above theirs.
    """
    xp = namespace(mean)
    mean, var = mean.astype(np.float64), var.astype(np.float64)
    if not log_link:
        return xp.stack([mean.mean(0), var.mean(0) + mean.var(0)])
    factors = expected(mean, var)
    first = factors.mean(0)
    second = (factors**2 * exp(var)).mean(0)
    scale = xp.log(second / first**2)
    return xp.stack([xp.log(first) - scale / 2, scale])


def with_iid(spatial: Any, iid: Any) -> Any:
    """Columns of spatial factors, and the prior of the others beside them."""
    xp = namespace(spatial)
    others = xp.broadcast_to(iid, (len(spatial), iid.size))
    return xp.concatenate([spatial, others], axis=1)


def predict_field(
    kernel: Kernel,
    space: Space,
    length_scale: Floats,
    amplitude: Floats,
    nugget: float,
    *,
    trend: Any,
    inducing_mean: Any,
    inducing_cov: Any,
) -> tuple[Any, Any]:
    """Means and variances of fields at the locations of a space, (n_locations, k)."""
    xp = namespace(space.basis)
    distinct, index = np.unique(length_scale, axis=0, return_inverse=True)
    found = [conditional(kernel, space.layout, own) for own in distinct]
    weights, residual = found[0]
    if len(distinct) > 1:
        weights, residual = (
            xp.stack([found[i][part] for i in index.ravel()]) for part in (0, 1)
        )
    carry = interpolation(space.layout, weights)
    mean = space.basis @ trend.T + carry.matmul(inducing_mean)
    var = xp.asarray(amplitude) ** 2 * (xp.atleast_2d(residual).T + nugget)
    return mean, var + carry.variances(inducing_cov)
