"""A likelihood on a space: the steps of a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..._core.typing import Floats
from . import fields as gp
from .problem import Kernels, Options, Space, State

if TYPE_CHECKING:
    from ...kernels.covariance import Kernel
    from .fields import Posterior, Prior
    from .likelihoods import Likelihood


MIN_PRECISION = 1e-10


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
        lam = np.maximum(weight * self.space.sum_sites(precision), MIN_PRECISION)
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
