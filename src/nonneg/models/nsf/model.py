"""A likelihood on a space: what a step does to the factors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from ..._core.namespace import namespace
from . import fields as gp
from .likelihood import exp, expected
from .priors import conditional, interpolation
from .problem import Kernels, NSFState, Space

if TYPE_CHECKING:
    from ..._core.typing import Floats
    from ...kernels.covariance import Kernel
    from .fields import Posterior
    from .likelihood import Likelihood, Sites
    from .priors import Prior


MIN_PRECISION = 1e-10


class Direction(NamedTuple):
    """Where a step leads from a fit."""

    w: Any
    """New loadings."""
    noise: Any
    precision: Any
    """Sites of the fit."""
    shift: Any
    iid: Any
    sites: Sites
    """Sites that a whole step would end at."""
    old_w: Any
    """Loadings of the fit."""
    objective: Any
    """The bound of the fit."""


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

    def direction(self, state: NSFState, limit: Any) -> Direction:
        """New loadings and sites, and the bound before."""
        evidence = self.likelihood.evidence(state.noise, state.mean, state.var, state.w)
        return Direction(
            evidence.w,
            evidence.noise,
            state.precision,
            state.shift,
            state.iid,
            self.likelihood.sites(evidence, state.mean, state.var, limit),
            state.w,
            evidence.value - state.penalty,
        )

    def follow(
        self, direction: Direction, kernels: Kernels, prior: Prior | None, rate: Any
    ) -> NSFState:
        """A part of a step, and the factors that its sites lead to."""
        xp, dtype = namespace(direction.precision), direction.precision.dtype
        # Where nothing is taken of a step, nothing of what is not finite in it either.
        precision, shift = (
            xp.where(rate > 0, (1 - rate) * old + rate * new, old).astype(dtype)
            for old, new in (
                (direction.precision, direction.sites.precision),
                (direction.shift, direction.sites.shift),
            )
        )
        return self.condition(direction, kernels, prior, precision, shift)

    def condition(
        self,
        start: NSFState | Direction,
        kernels: Kernels,
        prior: Prior | None,
        precision: Any,
        shift: Any,
    ) -> NSFState:
        """Factors given their sites, at the loadings of a start."""
        xp, t = namespace(precision), self.n_spatial
        means, variances = [], []
        penalty: Any = xp.zeros(())
        iid = start.iid
        post: Posterior | tuple[()] = ()
        if prior is not None:
            assert self.space is not None
            lam, h = self.location_sites(kernels, precision, shift)
            amplitude = xp.asarray(kernels.amplitude)
            post = gp.condition(prior, self.space.basis, amplitude, lam, h)
            means.append(post.mean[self.space.index])
            variances.append(post.var[self.space.index])
            penalty = kernels.temperature * gp.divergence(post, lam, h).sum()
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
            penalty = penalty + terms.sum() / 2
        mean, var = (
            xp.concatenate(x, axis=1).astype(precision.dtype)
            for x in (means, variances)
        )
        return NSFState(
            start.w, mean, var, precision, shift, start.noise, iid, post, penalty
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
