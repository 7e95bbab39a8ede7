"""What a fit returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..._core.typing import Floats
from . import fields as gp
from .likelihood import expected
from .model import MIN_PRECISION, FactorModel
from .problem import Kernels, NSFState

if TYPE_CHECKING:
    from ..loop import Trace
    from .fields import Posterior


# Share of a gene's mean.
_NEGLIGIBLE = 1e-5


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
    post: Posterior | tuple[()]
    """Of the spatial factors."""
    site_precision: Floats
    """(n_sites, n_spatial)"""
    trace: Trace
    tried: list[tuple[int, Kernels, float]]
    """Iteration, kernels, and the log likelihood of held-out observations."""


def finish(
    model: FactorModel,
    state: NSFState,
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
            space.sum_sites(state.precision[:, :t]) / kernels.dispersion, MIN_PRECISION
        )
        weight = space.sum_sites(factors[:, :t])
        assert state.post
        total_var[:t] = gp.sum_var(
            model.priors(kernels.length_scale),
            space.layout,
            kernels.amplitude,
            precision,
            state.post,
            weight,
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
        post=state.post and gp.pick(state.post, first),
        site_precision=precision[:, first],
        trace=trace,
        tried=tried,
    )


def _drop_negligible(w: Floats, factors: Floats) -> Floats:
    """Zero for loadings that multiplicative updates were driving there."""
    part = w * factors.sum(0, dtype=np.float64)
    return np.where(part > _NEGLIGIBLE * part.sum(1, keepdims=True), w, 0)
