"""Factors of genes between reference and locations, fitted with the amounts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .counts import CountLayer


@dataclass(frozen=True)
class EffectLayer:
    """A step of amounts and factors that never raises their objective.

    A gamma prior with mean 1 adds ``(f - 1 - log f) / variance`` for every factor. That
    of a gene is at its optimum for any amounts, and those of its entries share out its
    counts among types, as amounts do. Factors have a mean of 1, over counts and over
    each signature: larger factors and smaller amounts would only weaken couplings. What
    moves is the square roots of amounts (n, k) and, where they have factors, of factors
    of entries (k, n_vars).
    """

    make: Callable[[NDArray[np.float64]], CountLayer]
    """The layer of amounts, for given signatures."""
    base: NDArray[np.float64]
    """(k, n_vars): signatures without factors."""
    counted: NDArray[np.float64]
    """(n_vars,): counts of every gene."""
    size: NDArray[np.float32]
    """(n, 1): depth."""
    gene_variance: float
    entry_variance: float
    unit: float

    def __call__(self, point: Any) -> tuple[Any, Any]:
        """New roots, and the objective at the old ones."""
        roots, _ = point
        gene, entry = self.factors(point)
        present = self.base * gene * entry
        layer = self.make(present)
        moved, value = layer(roots)
        value += _prior(gene, self.gene_variance) + _prior(entry, self.entry_variance)
        if not self.entry_variance:
            return (moved, None), value
        per_mean = layer.likelihood.op.ratio_rmatmul(
            np.asarray(roots) ** 2, present.astype(np.float32)
        )
        shared = present * np.asarray(per_mean, np.float64).T
        # Given what types are allocated, amounts first and then factors.
        expected = self._exposure(moved)[:, None] * self.base * gene
        entry = _best(shared, expected, self.entry_variance, self.base)
        return (moved, np.sqrt(entry)), value

    def start(self, roots: Any) -> Any:
        """From roots of amounts, without effects."""
        return roots, np.ones_like(self.base) if self.entry_variance else None

    def feasible(self, point: Any) -> Any:
        """The nearest point from which a step can go on."""
        roots, entry_roots = point
        if entry_roots is not None:
            entry = np.maximum(np.asarray(entry_roots, np.float64) ** 2, _FLOOR)
            mean = (self.base * entry).sum(1) / self.base.sum(1)
            entry_roots = np.sqrt(entry / mean[:, None])
        return jnp.maximum(roots, _FLOOR), entry_roots

    def factors(self, point: Any) -> tuple[NDArray[np.float64], Any]:
        """Of genes (n_vars,), and of their entries (k, n_vars), or 1."""
        roots, entry_roots = point
        entry = 1.0 if entry_roots is None else np.asarray(entry_roots, np.float64) ** 2
        if not self.gene_variance:
            return np.ones_like(self.counted), entry
        expected = self._exposure(roots) @ (self.base * entry)
        gene = _best(self.counted, expected, self.gene_variance, self.counted)
        return gene, entry

    def _exposure(self, roots: Any) -> NDArray[np.float64]:
        """(k,): counts of all locations, by type."""
        roots = np.asarray(roots)
        return np.einsum("i,ik,ik->k", self.size[:, 0], roots, roots, dtype=np.float64)


def _best(
    counted: NDArray[np.float64],
    expected: NDArray[np.float64],
    variance: float,
    weight: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Factors that minimise ``expected f - counted log f`` and the prior.

    Among those whose weighted mean is 1, along the last axis. What this takes is
    found by Newton's method: their mean is a convex function of it.
    """
    up, down = counted + 1 / variance, expected + 1 / variance
    total = weight.sum(-1, keepdims=True)
    ratio = np.divide(down, weight, where=weight > 0, out=np.full_like(down, np.inf))
    lowest = -ratio.min(-1, keepdims=True)
    at = np.zeros_like(total)
    for _ in range(_NEWTON):
        denominator = down + at * weight
        factors = up / denominator
        excess = (weight * factors).sum(-1, keepdims=True) - total
        if (abs(excess) <= _EXACT * total).all():
            break
        slope = (weight**2 * factors / denominator).sum(-1, keepdims=True)
        further = at + excess / slope
        at = np.where(further > lowest, further, (at + lowest) / 2)
    return factors


def _prior(factors: Any, variance: float) -> float:
    if not variance:
        return 0.0
    return float((factors - 1 - np.log(factors)).sum() / variance)


_FLOOR = 1e-5

# A few steps suffice; the mean is then 1 but for rounding.
_NEWTON, _EXACT = 100, 1e-12
