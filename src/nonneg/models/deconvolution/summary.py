"""What is known of compositions beside their values: errors, presence, misfit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import norm

from ...operators.threads import available_cpus, run_parts
from .rows import information_rows, pearson_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .problem import Fit, Mixture, Tuning

# Rows whose k x k systems are in memory at a time.
_BATCH = 2048

# Counts below which a squared residual is not divided by its mean.
_FLOOR = 0.05


class Weighted(NamedTuple):
    """Counts and signatures as they entered the likelihood."""

    mixture: Mixture
    signatures: NDArray[np.float32]
    """(n_vars, k)"""
    amounts: NDArray[np.float32]
    size: NDArray[np.float32]
    spread: float
    """Variance of a location's score, over its information."""


def weighted(
    mixture: Mixture, fit: Fit, tuning: Tuning, dispersion: NDArray[np.float64]
) -> Weighted:
    """The terms of the likelihood, with the weights of the genes."""
    weights = dispersion**-0.5 if tuning.gene_weights else np.ones(dispersion.size)
    counted = np.asarray(mixture.counts.sum(0), np.float64).ravel()
    spread = (weights**2 * dispersion) @ counted / (weights @ counted)
    return Weighted(
        mixture.scaled(weights),
        np.ascontiguousarray((fit.signatures * weights).T, np.float32),
        np.ascontiguousarray(fit.amounts, np.float32),
        np.asarray(mixture.counts.sum(1), np.float32).ravel(),
        max(float(spread), 1.0),
    )


def _bounds(n: int) -> NDArray[np.int64]:
    return np.linspace(0, n, min(available_cpus(), max(n, 1)) + 1).astype(np.int64)


@jax.jit
def _errors(
    information: jax.Array,
    amounts: jax.Array,
    *,
    slope: jax.Array,
    stiffness: jax.Array,
    conversion: jax.Array,
    spread: jax.Array,
) -> jax.Array:
    """Standard errors of shares, through the square roots of amounts."""
    roots = jnp.sqrt(amounts)
    # Slope of the likelihood where a type is absent: it is held at zero.
    slack = slope - (information * amounts[:, None, :]).sum(2)
    slack = jnp.maximum(slack, 0)
    curvature = 4 * roots[:, :, None] * roots[:, None, :] * information / spread
    diagonal = 2 * (slack / spread + stiffness) + 1e-3
    k = amounts.shape[1]
    cov = jnp.linalg.inv(curvature + diagonal[:, :, None] * jnp.eye(k))
    # Of squares of normal variables.
    cov = 4 * roots[:, :, None] * roots[:, None, :] * cov + 2 * cov**2
    # The diagonal of J C Jᵀ, where J = (diag(c) - v cᵀ) / Σ u c.
    total = (amounts * conversion).sum(1, keepdims=True)
    shares = amounts * conversion / total
    along = cov @ conversion
    whole = (along * conversion).sum(1, keepdims=True)
    own = conversion**2 * jnp.diagonal(cov, axis1=1, axis2=2)
    variance = own - 2 * conversion * shares * along + shares**2 * whole
    # A share of which nothing is known is uniform at worst: no more than 1/2.
    return jnp.minimum(jnp.sqrt(jnp.maximum(variance, 0)) / total, 0.5)


def standard_errors(
    terms: Weighted,
    tuning: Tuning,
    conversion: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Standard errors of the shares ``amounts * conversion`` over their sum.

    From the observed information in the square roots of amounts, where noise of counts
    is the same for rare and abundant types and a coupling is quadratic. Neighbours are
    taken as they are.
    """
    x = terms.mixture.counts
    n, k = terms.amounts.shape
    columns = terms.signatures.sum(0)
    stiffness = np.full((n, 1), tuning.group_weight)
    if terms.mixture.graph is not None:
        degree = np.asarray(terms.mixture.graph.sum(1), np.float64)
        stiffness = stiffness + tuning.graph_weight * degree
    out = np.empty((n, k), np.float32)
    for start in range(0, n, _BATCH):
        rows = slice(start, min(start + _BATCH, n))
        information = np.zeros((rows.stop - start, k, k), np.float32)

        def fill(
            _: int, a: int, b: int, start: int = start, out: Any = information
        ) -> None:
            information_rows(
                x.data,
                x.indices,
                x.indptr,
                terms.amounts,
                terms.signatures,
                start + a,
                out[a:b],
            )

        run_parts(fill, _bounds(rows.stop - start))
        u = np.maximum(terms.amounts[rows], 1e-10)
        out[rows] = _errors(
            jnp.asarray(information),
            jnp.asarray(u),
            slope=jnp.asarray(terms.size[rows, None] * columns),
            stiffness=jnp.asarray(stiffness[rows], jnp.float32),
            conversion=jnp.asarray(conversion, jnp.float32),
            spread=jnp.float32(terms.spread),
        )
    return out


def presence_threshold(
    shares: NDArray[np.floating[Any]], std: NDArray[np.floating[Any]], fdr: float
) -> float:
    """Ratio of share and error above which types are called present.

    By Benjamini and Hochberg's rule over all locations and types.
    """
    ratio = np.sort((shares / np.maximum(std, 1e-12)).ravel())[::-1]
    p = norm.sf(ratio)
    passed = np.flatnonzero(p <= fdr * np.arange(1, p.size + 1) / p.size)
    return float(ratio[passed[-1]]) if passed.size else float("inf")


def misfit(terms: Weighted, n_vars: int) -> NDArray[np.float64]:
    """Mean squared residual of a location's genes, over what counts scatter."""
    x = terms.mixture.counts
    out = np.empty(x.shape[0])
    total = terms.size * (terms.amounts @ terms.signatures.sum(0))
    run_parts(
        lambda _, a, b: pearson_rows(
            x.data,
            x.indices,
            x.indptr[a : b + 1],
            terms.amounts[a:b],
            terms.signatures,
            terms.size[a:b],
            _FLOOR,
            out[a:b],
        ),
        _bounds(x.shape[0]),
    )
    out += total - terms.size
    return out / n_vars
