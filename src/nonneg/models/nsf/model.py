"""A likelihood on a space: the steps of a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..._core.typing import Floats
from . import fields as gp
from .problem import Kernels, NSFState, Options, Space

if TYPE_CHECKING:
    from ...kernels.covariance import Kernel
    from .fields import Posterior, Prior
    from .likelihood import Likelihood


MIN_PRECISION = 1e-10


class FactorModel:
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

    def priors(self, length_scale: Floats) -> Prior:
        """Prior of all spatial factors: one, or one for each."""
        if (length_scale == length_scale[0]).all():
            return self.prior(length_scale[0])
        return gp.stack_priors([self.prior(own) for own in length_scale])

    def fields(
        self, kernels: Kernels, precision: Floats, shift: Floats
    ) -> tuple[Posterior, Floats]:
        """Posterior of the spatial factors, and their divergence from the prior."""
        assert self.space is not None
        weight = 1 / kernels.dispersion
        lam = np.maximum(weight * self.space.sum_sites(precision), MIN_PRECISION)
        h = weight * self.space.sum_sites(shift)
        post = gp.condition(
            self.priors(kernels.length_scale),
            self.space.layout,
            self.space.basis,
            kernels.amplitude,
            lam,
            h,
        )
        return post, gp.divergence(post, lam, h)

    def step(
        self, state: NSFState, kernels: Kernels, limit: float, rate: float
    ) -> tuple[NSFState, float]:
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
        self, state: NSFState, kernels: Kernels, precision: Floats, shift: Floats
    ) -> NSFState:
        """Factors given their sites."""
        t = self.n_spatial
        mean, var = np.empty_like(precision), np.empty_like(precision)
        penalty = 0.0
        post: Posterior | tuple[()] = ()
        if t:
            assert self.space is not None
            post, divergence = self.fields(kernels, precision[:, :t], shift[:, :t])
            mean[:, :t] = post.mean[self.space.site]
            var[:, :t] = post.var[self.space.site]
            penalty = float(kernels.dispersion * divergence.sum())
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
        return NSFState(
            state.w,
            mean,
            var,
            precision.astype(np.float32),
            shift.astype(np.float32),
            iid,
            post,
            penalty,
        )

    def predict(
        self, state: NSFState, kernels: Kernels, space: Space, length: int
    ) -> tuple[Floats, Floats]:
        """Mean and variance of factors (or their logarithms) at other observations."""
        mean = np.empty((length, state.w.shape[1]))
        var = np.empty_like(mean)
        if state.post:
            m, v = predict_field(
                self.options.kernel,
                space,
                kernels.length_scale,
                kernels.amplitude,
                trend=state.post.trend,
                inducing_mean=state.post.inducing_mean,
                inducing_cov=state.post.inducing_cov,
            )
            mean[:, : self.n_spatial], var[:, : self.n_spatial] = (
                m[space.site],
                v[space.site],
            )
        mean[:, self.n_spatial :], var[:, self.n_spatial :] = state.iid
        return mean, var


def predict_field(
    kernel: Kernel,
    space: Space,
    length_scale: Floats,
    amplitude: Floats,
    *,
    trend: Floats,
    inducing_mean: Floats,
    inducing_cov: Any,
) -> tuple[Floats, Floats]:
    """Means and variances of fields at the sites of a space, (n_sites, k)."""
    distinct, index = np.unique(length_scale, axis=0, return_inverse=True)
    found = [gp.conditional(kernel, space.layout, own) for own in distinct]
    weights, residual = zip(*(found[i] for i in index.ravel()), strict=True)
    mean = space.basis @ trend.T + gp.interpolate(space.layout, weights, inducing_mean)
    var = amplitude**2 * np.stack(residual, axis=1)
    return mean, var + gp.interpolate_var(space.layout, weights, inducing_cov)
