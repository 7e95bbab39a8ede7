"""Priors of fields of unit amplitude: what depends on their length scale.

All of this runs in float64: an inverse of K in single precision is of no use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ..._core.namespace import namespace
from ..._core.precision import float64
from ...kernels import gp
from .interpolation import DeviceInterpolation, HostInterpolation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..._core.typing import Floats
    from ...kernels.covariance import Kernel
    from .interpolation import Interpolation
    from .layout import Layout


# Parts of the variance; enough for a Cholesky factor in float64 at any length scale.
_JITTER = 1e-6

_MAX_JITTER = 1e-2

# Conditional distributions worked out at a time.
_ROWS = 16_384


class Prior(NamedTuple):
    """Everything about fields of unit amplitude that depends on their length scale.

    Shared by all factors, or stacked: then every array starts with their axis.
    """

    precision: Any
    """(n_inducing, n_inducing)"""
    logdet: Any
    """Of the precision."""
    interpolation: Interpolation
    """From inducing points to locations."""
    residual: Any
    """(n_locations,): variance of each location's own: what the inducing points leave,
    and the nugget."""


class Priors:
    """Priors on one layout, by length scale; the last ones are kept."""

    def __init__(self, kernel: Kernel, layout: Layout, n_kept: int) -> None:
        self.kernel, self.layout, self.n_kept = kernel, layout, n_kept
        self._kept: dict[tuple[float, ...], Prior] = {}

    def at(self, length_scale: Floats, nugget: float = 0.0) -> Prior:
        """The prior of factors with these length scales, (k, 1 or n_dims), and a nugget."""
        keys = [tuple(own) for own in length_scale.tolist()]
        missing = [key for key in dict.fromkeys(keys) if key not in self._kept]
        if missing:
            made = make_priors(self.kernel, self.layout, np.array(missing))
            self._kept.update(zip(missing, made, strict=True))
        # The ones used last are kept longest.
        for key in dict.fromkeys(keys):
            self._kept[key] = self._kept.pop(key)
        used = [self._kept[key] for key in keys]
        while len(self._kept) > max(self.n_kept, len(set(keys))):
            self._kept.pop(next(iter(self._kept)))
        prior = used[0] if len(set(keys)) == 1 else stack_priors(used)
        return prior._replace(residual=prior.residual + nugget)


def make_priors(kernel: Kernel, layout: Layout, length_scales: Floats) -> list[Prior]:
    """A prior for each of some length scales, (n, 1 or n_dims)."""
    xp = namespace(layout.inducing)
    left, jitter = np.arange(len(length_scales)), _JITTER
    found: dict[int, Prior] = {}
    with float64():
        while left.size:
            lengths = length_scales[left]
            z = jnp.asarray(layout.inducing) / lengths[:, None]
            section = jnp.asarray(layout.inducing_section)
            precision, logdet = gp.prior_precision(kernel, z, section, jitter)
            finite = np.isfinite(logdet)
            for i in np.flatnonzero(finite):
                weights, residual = conditional(kernel, layout, lengths[i], jitter)
                found[int(left[i])] = Prior(
                    precision[i],
                    xp.asarray(logdet[i]),
                    interpolation(layout, weights),
                    residual,
                )
            left, jitter = left[~finite], jitter * 10
            if left.size and jitter > _MAX_JITTER:
                msg = (
                    f"The covariance of {len(layout.inducing)} inducing points is "
                    f"singular at length scale {np.round(length_scales[left[0]], 3)}."
                )
                raise np.linalg.LinAlgError(msg)
    return [found[i] for i in range(len(length_scales))]


def stack_priors(priors: Sequence[Prior]) -> Prior:
    """Priors of factors that do not share one."""
    xp = namespace(priors[0].residual)
    with float64():
        return Prior(
            jnp.stack([prior.precision for prior in priors]),
            xp.stack([prior.logdet for prior in priors]),
            priors[0].interpolation.stack([prior.interpolation for prior in priors]),
            xp.stack([prior.residual for prior in priors]),
        )


def pick_prior(prior: Prior, factor: int) -> Prior:
    """That of one factor, whether or not they share one."""
    if not prior.interpolation.stacked:
        return prior
    return Prior(
        prior.precision[factor],
        prior.logdet[factor],
        prior.interpolation.pick(factor),
        prior.residual[factor],
    )


def conditional(
    kernel: Kernel, layout: Layout, length_scale: Floats, jitter: float = _JITTER
) -> tuple[Any, Any]:
    """Weights of every location's inducing points, and the variance they leave."""
    xp = namespace(layout.locations)
    x, z = layout.locations / length_scale, layout.inducing / length_scale
    found = []
    with float64():
        for start in range(0, len(x), _ROWS):
            rows = slice(start, start + _ROWS)
            index = layout.neighbors[rows]
            found.append(
                gp.conditional_weights(
                    kernel,
                    jnp.asarray(x[rows]),
                    jnp.asarray(z[index]),
                    jnp.asarray(index >= 0),
                    jitter,
                )
            )
        weights, residual = zip(*found, strict=True)
        return xp.concatenate(weights), xp.concatenate(residual)


def interpolation(layout: Layout, weights: Any) -> Interpolation:
    """Weights with the inducing points that they belong to."""
    n_inducing = len(layout.inducing)
    if isinstance(weights, np.ndarray):
        return HostInterpolation(layout.neighbors, weights, n_inducing)
    return DeviceInterpolation.of_layout(layout.neighbors, weights, n_inducing)
