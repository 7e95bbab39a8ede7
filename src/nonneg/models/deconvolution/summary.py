"""What is known of compositions beside their values: errors, presence, misfit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.stats import norm

from ...operators._numba import padded_factor
from ...operators.threads import available_cpus, run_parts
from .rows import error_rows, pearson_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .problem import Fit, Mixture, Tuning

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
    kept: float
    """What a count is worth on average, as couplings are."""


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
        float(weights @ counted / counted.sum()),
    )


def _bounds(n: int) -> NDArray[np.int64]:
    return np.linspace(0, n, min(available_cpus(), max(n, 1)) + 1).astype(np.int64)


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
    stiffness = np.full(n, tuning.group_weight, np.float64)
    if terms.mixture.graph is not None:
        degree = np.asarray(terms.mixture.graph.sum(1), np.float64).ravel()
        stiffness = stiffness + tuning.graph_weight * degree
    # The objective as a whole is divided by the spread.
    stiffness *= terms.kept / terms.spread
    signatures = padded_factor(terms.signatures.T, np.dtype(np.float32))
    out = np.empty((n, k), np.float32)

    def fill(_: int, a: int, b: int) -> None:
        error_rows(
            x.data,
            x.indices,
            x.indptr[a : b + 1],
            terms.amounts[a:b],
            signatures,
            terms.size[a:b],
            columns,
            stiffness[a:b],
            conversion,
            terms.spread,
            out[a:b],
        )

    run_parts(fill, _bounds(n))
    return out


def presence_threshold(
    shares: NDArray[np.floating[Any]], std: NDArray[np.floating[Any]], fdr: float
) -> float:
    """Ratio of share and error above which types are called present.

    By Benjamini and Hochberg's rule over all locations and types.
    """
    ratio = shares / np.maximum(std, 1e-12)
    # No other one can pass.
    likely = np.sort(ratio[ratio >= norm.isf(fdr)])[::-1]
    passed = np.flatnonzero(
        norm.sf(likely) <= fdr * np.arange(1, likely.size + 1) / ratio.size
    )
    return float(likely[passed[-1]]) if passed.size else float("inf")


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
    out += total
    return out / n_vars
