"""Factors of genes between reference and locations, fitted with the amounts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..loop import Report

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..._core.typing import Floats
    from .solver import DeconvolutionSolver


class EffectState(NamedTuple):
    """Amounts and factors in progress."""

    roots: Any
    """(n, k): square roots of amounts."""
    gene: NDArray[np.float64]
    """(n_vars,): factors of genes."""
    entry: NDArray[np.float64]
    """(k, n_vars): factors of their entries."""
    objective: float
    """That of amounts, and the priors of factors."""
    fall: float
    """By how much the last step lowered it; infinite before the first one."""


@dataclass(frozen=True)
class EffectSolver:
    """Factors given amounts, then amounts given factors: neither raises the objective.

    A gamma prior with mean 1 adds ``(f - 1 - log f) / variance`` for every factor. That
    of a gene is solved for, those of its entries through the bound that shares out its
    counts among types, as amounts are.
    """

    solver: DeconvolutionSolver
    """Of amounts, for signatures without factors."""
    make: Callable[[NDArray[np.float64]], Any]
    """The solver's layer, for other signatures."""
    base: NDArray[np.float64]
    """(k, n_vars): signatures without factors."""
    counted: NDArray[np.float64]
    """(n_vars,): counts of every gene."""
    size: NDArray[np.float32]
    """(n, 1): depth."""
    gene_variance: float
    entry_variance: float
    max_iter: int

    def init(self, roots: Any, /) -> EffectState:
        """The state before the first step, from square roots of amounts: no effects."""
        gene, entry = np.ones(self.base.shape[1]), np.ones_like(self.base)
        objective = float(self.solver.init(roots).objective)
        return EffectState(roots, gene, entry, objective, np.inf)

    def step(self, state: EffectState, /) -> EffectState:
        """Factors at the present amounts, and one step of amounts with these."""
        gene, entry = state.gene, state.entry
        amounts = np.asarray(state.roots, np.float64) ** 2
        exposure = self.size[:, 0].astype(np.float64) @ amounts
        present = self.base * entry
        if self.gene_variance:
            shape = 1 / self.gene_variance
            gene = (shape + self.counted) / (shape + exposure @ present)
        present *= gene
        if self.entry_variance:
            shape = 1 / self.entry_variance
            per_mean = self.solver.layer.likelihood.op.ratio_rmatmul(
                amounts.astype(np.float32), present.astype(np.float32)
            )
            shared = present * np.asarray(per_mean, np.float64).T
            present = self.base * gene
            entry = (shape + shared) / (shape + exposure[:, None] * present)
            present *= entry
        solver = replace(self.solver, layer=self.make(present))
        inner = solver.step(solver.init(state.roots))
        objective = (
            float(inner.objective)
            + _prior(gene, self.gene_variance)
            + _prior(entry, self.entry_variance)
        )
        return EffectState(
            inner.moved, gene, entry, objective, state.objective - objective
        )

    def finished(self, state: EffectState, /) -> bool:
        """Whether the last step hardly lowered the objective."""
        return bool(state.fall <= self.solver.tol * self.solver.layer.unit)

    def finish(self, state: EffectState, /) -> Floats:
        """Amounts (n, k), on the host."""
        return np.asarray(state.roots) ** 2

    def report(self, state: EffectState, /) -> Report:
        """The objective."""
        return Report(state.objective)


def _prior(factors: NDArray[np.float64], variance: float) -> float:
    if not variance:
        return 0.0
    return float((factors - 1 - np.log(factors)).sum() / variance)
