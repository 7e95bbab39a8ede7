"""Loadings from sums over cells."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from ..._core.typing import Floats
from ...kernels.hals import hals_update
from ...kernels.mu import mu_update
from ...kernels.nnls import nnls
from .problem import Model, Penalties, Solver, Sums

if TYPE_CHECKING:
    from numpy.typing import NDArray


# Sweeps over both kinds of loadings per pass; they are small.
_LOADING_ROUNDS = 3


@partial(jax.jit, static_argnames=("rule", "n_rounds"))
def update_loadings(
    model: Model,
    sums: Sums,
    penalties: Penalties,
    *,
    rule: Solver,
    n_rounds: int,
    active: jax.Array | None,
) -> Model:
    """Update W, then V, a few times; only V of ``active`` data sets."""
    gram, product = sums
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

    def update(_: int, model: Model) -> Model:
        w = shared(*model)
        v = jax.vmap(partial(specific, w))(model.V, gram, product, lam)
        if active is not None:
            v = jnp.where(active[:, None, None], v, model.V)
        return Model(w, v)

    return jax.lax.fori_loop(0, n_rounds, update, model)


def objectives(
    sq_norm: Floats, model: Model, sums: Sums, lam: Floats
) -> NDArray[np.float64]:
    """Objective of every data set, in float64 and from products at hand."""
    w, v, gram, product = (np.asarray(x, np.float64) for x in (*model, *sums))
    both = w + v
    cross = np.einsum("dkg,dkg->d", product, both)
    fitted, own = (
        np.einsum("dkl,dkl->d", gram, x @ x.transpose(0, 2, 1)) for x in (both, v)
    )
    return sq_norm - 2 * cross + fitted + lam * own


def add(sums: Sums, more: Sums | None) -> Sums:
    """Sums over both."""
    return (
        sums
        if more is None
        else Sums(*(a + b for a, b in zip(sums, more, strict=True)))
    )


def fit_loadings(
    model: Model,
    sums: Sums,
    penalties: Penalties,
    rule: Solver = "hals",
    active: NDArray[np.bool_] | None = None,
) -> Model:
    """:func:`update_loadings` of arrays on the host, in the precision of the model."""
    dtype = np.asarray(model.W).dtype
    cast = Sums(*(jnp.asarray(x, dtype) for x in sums))
    n_rounds = 1 if rule == "mu" else _LOADING_ROUNDS
    new = update_loadings(
        Model(*map(jnp.asarray, model)),
        cast,
        penalties,
        rule=rule,
        n_rounds=n_rounds,
        active=None if active is None else jnp.asarray(active),
    )
    return Model(*map(np.asarray, new))
