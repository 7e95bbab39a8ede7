"""Loadings from statistics over cells."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from ...kernels.hals import hals_update
from ...kernels.mu import mu_update
from ...kernels.nnls import nnls
from .problem import (
    Loadings,
    Penalties,
    SufficientStatistics,
    UpdateRule,
    to_host,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


# Sweeps over both kinds of loadings per pass; they are small.
_LOADING_ROUNDS = 3


@partial(jax.jit, static_argnames=("rule", "n_rounds"))
def _alternate(
    loadings: Loadings,
    statistics: SufficientStatistics,
    penalties: Penalties,
    *,
    rule: UpdateRule,
    n_rounds: int,
    active: jax.Array | None,
    common: jax.Array | None,
) -> Loadings:
    """Update W, then V, a few times; only V of ``active`` data sets.

    W stays zero but for the variables that data sets have in ``common``.
    """
    gram, product = statistics
    lam, weight = (jnp.asarray(x, gram.dtype) for x in penalties)
    shared_gram = jnp.einsum("d,dkl->kl", weight, gram)

    def shared(w: jax.Array, v: jax.Array) -> jax.Array:
        if rule == "mu":
            target = jnp.einsum("d,dkg->kg", weight, product)
            fitted = jnp.einsum("d,dkl,dlg->kg", weight, gram, w + v)
            return mu_update(w.T, target.T, fitted.T).T
        rest = product - jnp.einsum("dkl,dlg->dkg", gram, v)
        target = jnp.einsum("d,dkg->kg", weight, rest).T
        if rule == "anls":
            return nnls(target, shared_gram, start=w.T).T
        return hals_update(w.T, target, shared_gram, n_sweeps=1).T

    def specific(
        w: jax.Array, v: jax.Array, gram: jax.Array, product: jax.Array, lam: jax.Array
    ) -> jax.Array:
        if rule == "mu":
            fitted = gram @ (w + (1 + lam) * v)
            return mu_update(v.T, product.T, fitted.T).T
        target = (product - gram @ w).T
        if rule == "anls":
            return nnls(target, (1 + lam) * gram, start=v.T).T
        return hals_update(v.T, target, (1 + lam) * gram, n_sweeps=1).T

    def update(_: int, loadings: Loadings) -> Loadings:
        w = shared(*loadings)
        if common is not None:
            w = jnp.where(common, w, 0)
        v = jax.vmap(partial(specific, w))(loadings.V, gram, product, lam)
        if active is not None:
            v = jnp.where(active[:, None, None], v, loadings.V)
        return Loadings(w, v)

    return jax.lax.fori_loop(0, n_rounds, update, loadings)


def update_loadings(
    loadings: Loadings,
    statistics: SufficientStatistics,
    penalties: Penalties,
    rule: UpdateRule = "hals",
    active: NDArray[np.bool_] | jax.Array | None = None,
    *,
    shared: NDArray[np.bool_] | jax.Array | None = None,
) -> Loadings:
    """Update W and V, in their precision, and leave them on the host or a device.

    Only V of ``active`` data sets, and W of ``shared`` variables; ``None``: all.
    """
    dtype = loadings.W.dtype
    new = _alternate(
        loadings,
        SufficientStatistics(*(x.astype(dtype) for x in statistics)),
        penalties,
        rule=rule,
        n_rounds=1 if rule == "mu" else _LOADING_ROUNDS,
        active=active,
        common=shared,
    )
    return to_host(new) if isinstance(statistics.gram, np.ndarray) else new


def objectives(
    sq_norm: Any, loadings: Loadings, statistics: SufficientStatistics, lam: Any
) -> Any:
    """Objective of every data set, from products at hand.

    In float64 unless it is traced: it is a small difference of large numbers.
    """
    if isinstance(statistics.gram, jax.core.Tracer):
        return sq_norm + _terms(jnp, loadings, statistics, lam)
    if isinstance(statistics.gram, np.ndarray):
        return sq_norm + _terms(np, loadings, statistics, lam)
    with jax.enable_x64(new_val=True):
        terms = _device_terms(loadings, statistics, lam)
    return sq_norm + np.asarray(terms)


def shrinkage(
    loadings: Loadings, statistics: SufficientStatistics, lam: Any
) -> NDArray[np.float64]:
    """Penalty on the specific parts of every data set."""
    v, gram, lam = (
        np.asarray(x, np.float64) for x in (loadings.V, statistics.gram, lam)
    )
    own: NDArray[np.float64] = np.einsum("dkl,dkl->d", gram, v @ v.transpose(0, 2, 1))
    return lam * own


def _terms(
    xp: Any, loadings: Loadings, statistics: SufficientStatistics, lam: Any
) -> Any:
    arrays: tuple[Any, ...] = (*loadings, *statistics)
    if xp is np:
        arrays = tuple(np.asarray(x, np.float64) for x in arrays)
    w, v, gram, product = arrays
    both = w + v
    cross = xp.einsum("dkg,dkg->d", product, both)
    fitted, own = (
        xp.einsum("dkl,dkl->d", gram, x @ x.transpose(0, 2, 1)) for x in (both, v)
    )
    return fitted + lam * own - 2 * cross


@jax.jit
def _device_terms(
    loadings: Loadings, statistics: SufficientStatistics, lam: Any
) -> jax.Array:
    arrays = jax.tree.map(
        lambda x: jnp.asarray(x, jnp.float64), (loadings, statistics, lam)
    )
    return _terms(jnp, *arrays)


def add(
    statistics: SufficientStatistics, more: SufficientStatistics | None
) -> SufficientStatistics:
    """Statistics over both."""
    if more is None:
        return statistics
    return SufficientStatistics(*(a + b for a, b in zip(statistics, more, strict=True)))
