"""What a fit returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from ..._core.namespace import namespace
from ..._core.typing import Floats
from . import fields as gp
from .kriging import Kriged, at_locations, krige, stretch_of
from .likelihood import dispersion_of, expected
from .lognormal import moments
from .model import iid_elsewhere
from .problem import Kernels, NSFState
from .spatial_share import shares_by_chance, spatial_shares

if TYPE_CHECKING:
    from ...kernels.covariance import Kernel
    from ..loop import Trace
    from .ascent import Ascent
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
    elsewhere: Floats
    """(2, k - n_spatial): factors without space where nothing was measured."""
    kriged: Kriged | None
    """All factors, by section and from locations around; `None` without fields of counts."""
    total_var: Floats
    """(k,): variance of the sum of every factor over the observations."""
    kernels: Kernels
    noise: Any
    """What the likelihood has learned of the noise; of Poisson counts the dispersion of
    every variable, where nothing was fitted to them if any were held out."""
    post: Posterior | tuple[()]
    """Of the spatial factors."""
    location_precision: Floats
    """(n_locations, n_spatial): of the sites."""
    spatial_share: Floats
    """(n_spatial,): of the variance of every field, what other locations foretell."""
    spatial_share_null: Floats
    """(n_spatial,): the same with permuted places, or NaN."""
    trace: Trace
    tried: list[tuple[int, Kernels, float]]
    """Iteration, kernels, and the log likelihood of held-out observations."""
    search_interrupted: bool = False
    """Whether the kernels are those that were best when Ctrl-C came; one step followed."""


def finish(
    ascent: Ascent,
    state: NSFState,
    trace: Trace,
    tried: list[tuple[int, Kernels, float]],
    *,
    n_permutations: int = 0,
    seed: int = 0,
    search_interrupted: bool = False,
    scatter: Any = None,
    kernel: Kernel = "matern32",
) -> NSFResult:
    """Spatial factors first, each kind by its contribution.

    ``kernel`` is that of the fields, and ``scatter`` the scatter of counts that were held out.
    """
    model, kernels = ascent.model, ascent.kernels
    t = model.n_spatial
    log_link = model.likelihood.log_link
    state = state._replace(var=namespace(state.var).maximum(state.var, 0))
    if log_link:
        factors = expected(state.mean, state.var)
    else:
        factors = namespace(state.mean).ones_like(state.mean)
    precision, field_var = np.zeros((0, t)), np.zeros(0)
    share: Floats = np.zeros(0)
    by_chance: Floats = np.full(t, np.nan)
    if t:
        share = spatial_shares(ascent, state)
        if n_permutations and not trace.interrupted:
            try:
                by_chance = shares_by_chance(ascent, state, n_permutations, seed)
            except KeyboardInterrupt:
                # The fit is whole; only this is not known.
                trace = trace._replace(interrupted=True)
        sums = _location_sums(ascent, state, factors)
        precision, field_var = map(np.asarray, sums)
    if scatter is None:
        scatter = model.likelihood.scatter(state.mean, state.var, state.w)
    state, factors = jax.tree.map(np.asarray, (state, factors))
    if log_link:
        mass = factors.sum(0, dtype=np.float64) * state.w.sum(0)
        _, factor_var = moments(state.mean, state.var)
    else:
        factor_var = state.var
        mass = np.square(state.mean).sum(0, dtype=np.float64) * np.square(state.w).sum(
            0
        )
    order = np.concatenate(
        [np.argsort(-mass[:t], kind="stable"), t + np.argsort(-mass[t:], kind="stable")]
    )
    # Sums of a field vary more than independent terms would.
    total_var = factor_var.sum(0, dtype=np.float64)
    total_var[:t] = field_var
    first, others = order[:t], order[t:]
    kriged: Kriged | None = None
    if log_link and t:
        assert model.space is not None
        kriged = at_locations(model.space, factors[:, order], factor_var[:, order])
        try:
            stretch = stretch_of(kernels.length_scale)
            kriged = krige(model.space, kriged, kernel, stretch)
        except KeyboardInterrupt:
            trace = trace._replace(interrupted=True)
    return NSFResult(
        W=_drop_negligible(state.w, factors)[:, order]
        if log_link
        else state.w[:, order],
        mean=state.mean[:, order],
        var=state.var[:, order],
        iid=state.iid[:, others - t],
        elsewhere=iid_elsewhere(
            state.mean[:, others], state.var[:, others], log_link=log_link
        ),
        kriged=kriged,
        total_var=total_var[order],
        kernels=Kernels(
            kernels.length_scale[first],
            kernels.amplitude[first],
            kernels.nugget,
            kernels.temperature,
        ),
        post=state.post and gp.pick(state.post, first),
        noise=state.noise if scatter is None else dispersion_of(np.asarray(scatter)),
        location_precision=precision[:, first],
        spatial_share=share[first],
        spatial_share_null=by_chance[first],
        trace=trace,
        tried=tried,
        search_interrupted=search_interrupted,
    )


def _location_sums(ascent: Ascent, state: NSFState, factors: Any) -> tuple[Any, Any]:
    """Precision of the sites at each location, and variances of sums of factors."""
    model, kernels, prior = ascent.model, ascent.kernels, ascent.prior
    assert model.space is not None
    assert prior is not None
    assert state.post
    t = model.n_spatial
    precision, _ = model.location_sites(kernels, state.precision, state.shift)
    weight = model.space.sum_by_location(factors[:, :t])
    amplitude = namespace(precision).asarray(kernels.amplitude)
    return precision, gp.sum_var(prior, amplitude, precision, state.post, weight)


def _drop_negligible(w: Floats, factors: Floats) -> Floats:
    """Zero for loadings that multiplicative updates were driving there."""
    part = w * factors.sum(0, dtype=np.float64)
    return np.where(part > _NEGLIGIBLE * part.sum(1, keepdims=True), w, 0)
