"""Starting values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._core.namespace import namespace
from ..._core.random import stream
from ..._core.typing import Floats
from ..factor.merge import merge_alike
from ..factor.start import right_singular_vectors
from ..nmf.problem import Problem
from ..nmf.solver import nmf
from .likelihood import Sites
from .problem import Kernels, NSFState, Options

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ...operators.protocol import MatrixOperator
    from ..factor.start import Init
    from .ascent import Ascent
    from .likelihood import Likelihood, Loss


# Of a log factor, at the start.
_FIRST_RISE = 2.0

# Where the search begins: smooth fields that follow their data loosely.
_LENGTH_SCALE, _AMPLITUDE, _TEMPERATURE = 1.0, 1.0, 100.0

# The same beside factors without space, which trust counts fully, and the highest there:
# fields that hardly do lose their genes to them, and then predict what is left the better
# the less they trust it. Of single cells, most fields were empty.
TEMPERATURE_BESIDE = 10.0

# Iterations of NMF; those with more components need only tell patterns apart.
_MAX_ITER, _MAX_ITER_MORE = 200, 60


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
    part, w = _factorize(op, rank, loss, options.seed)
    a, n_vars = options.shrinkage, op.shape[1]
    total = np.maximum(w.sum(0), 1e-30)
    factors = part / total * len(part)
    w = w / len(part)
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


def _factorize(
    op: MatrixOperator, rank: int, loss: Loss, seed: int
) -> tuple[Floats, Floats]:
    """Scores and loadings of NMF, whose columns sum to the mass of the component.

    NMF of counts has local minima where one pattern has two components and two patterns
    share one, and nothing that follows leaves them. So it starts from one with half as
    many components more, which finds them all, with those joined that are most alike.
    """

    def fit(
        rank: int, init: Init | tuple[Floats, Floats], max_iter: int
    ) -> tuple[Floats, Floats]:
        found = nmf(
            Problem(op, stats, loss),
            rank,
            solver="mu" if loss == "kullback-leibler" else "hals",
            init=init,
            max_iter=max_iter,
            tol=1e-4,
            seed=seed,
        )
        if found.trace.interrupted:
            # There is nothing to keep yet: what came of it would pass for a whole fit.
            raise KeyboardInterrupt
        scores, loadings = (
            part * (found.mass / np.maximum(part.sum(0), 1e-30))
            for part in (found.W, found.H.T)
        )
        return scores, loadings

    stats = op.stats()
    n_more = min(rank + math.ceil(rank / 2), *op.shape)
    if loss != "kullback-leibler" or rank == 1 or n_more <= rank:
        return fit(rank, "nndsvda", _MAX_ITER)
    more = fit(n_more, "nndsvda", _MAX_ITER_MORE)
    scores, loadings = merge_alike(*more, rank)
    mass = np.sqrt(np.maximum(loadings.sum(0), 1e-30))
    joined = [(part / mass).astype(op.dtype) for part in (scores, loadings)]
    return fit(rank, (joined[0], np.ascontiguousarray(joined[1].T)), _MAX_ITER)


def first_state(
    ascent: Ascent, w: Any, mean: Any, var: Any = None, noise: Any = None
) -> NSFState:
    """Sites at given factors, and the factors that follow.

    With the noise that the likelihood starts from, unless another is known.
    """
    function = _compiled_first_state if namespace(mean) is jnp else _first_state
    return function(ascent, w, mean, var, noise)


def _first_state(ascent: Ascent, w: Any, mean: Any, var: Any, noise: Any) -> NSFState:
    model = ascent.model
    xp, t, k = namespace(mean), model.n_spatial, w.shape[1]
    var = xp.full_like(mean, 0.01) if var is None else var.astype(np.float32)
    if model.likelihood.log_link:
        iid = [mean[:, t:].mean(0), xp.maximum(mean[:, t:].var(0), 0.01)]
    else:
        iid = [xp.zeros(k - t), xp.ones(k - t)]
    noise = model.likelihood.noise if noise is None else noise
    likelihood = model.likelihood_of(ascent.prior)
    evidence = likelihood.evidence(noise, mean, var, w)
    # At the loadings that belong to these factors.
    evidence = evidence._replace(w=w)
    local = likelihood.local(evidence, mean, var)
    if isinstance(local, Sites):
        precision, shift = local.precision, local.given(mean)
    else:
        # Where far more was observed than starting factors expect, a part of the way.
        precision = xp.maximum(local.precision(xp.zeros_like(mean)), local.rate / 2)
        push = xp.minimum(local.force, _FIRST_RISE * precision)
        shift = push + precision * mean
    nothing, iid = xp.zeros_like(mean), xp.stack(iid).astype(float)
    start = NSFState(
        w, mean, var, nothing, nothing, evidence.noise, iid, (), nothing[0]
    )
    dtype = mean.dtype
    return model.condition(
        start,
        ascent.kernels,
        ascent.prior,
        precision.astype(dtype),
        shift.astype(dtype),
    )


_compiled_first_state = jax.jit(_first_state)


def first_kernels(
    n_spatial: int, rank: int, n_axes: int, options: Options, *, searched: bool
) -> Kernels:
    """Given values, or those where the search begins, if there is one."""
    temperature = _TEMPERATURE if n_spatial == rank else TEMPERATURE_BESIDE
    return Kernels(
        np.full(
            (n_spatial, n_axes if options.anisotropic else 1),
            float(options.length_scale or _LENGTH_SCALE),
        ),
        np.full(n_spatial, float(options.amplitude or _AMPLITUDE)),
        float(options.nugget),
        float(options.temperature or (temperature if searched else 1.0)),
    )


def start_real(
    likelihood: Likelihood, rank: int, options: Options
) -> tuple[Floats, Floats]:
    """Loadings and factors from singular vectors."""
    op, rng = likelihood.op, stream(options.seed, "start")
    # One more than asked for: the first is close to the mean, which the model has.
    vectors, _ = right_singular_vectors(op, min(rank + 1, *op.shape), rng)
    w = np.zeros((op.shape[1], rank), np.float32)
    w[:, : vectors.shape[1] - 1] = vectors[:, 1:]
    factors = np.asarray(op.matmul(w)) - likelihood.center @ w
    scale = np.maximum(factors.std(0), 1e-6)
    return (w * scale).astype(np.float32), (factors / scale).astype(np.float32)
