"""What a deconvolution is given, what it may choose, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..loop import Trace


type LikelihoodName = Literal["poisson", "negative_binomial", "gaussian"]

# Whether a likelihood is of counts: effects, and the noise of a location, have a meaning
# for these alone.
IS_COUNTS: dict[LikelihoodName, bool] = {
    "poisson": True,
    "negative_binomial": True,
    "gaussian": False,
}


@dataclass(frozen=True)
class Mixture:
    """Counts of locations, and the signatures that they are mixtures of."""

    counts: sp.csr_matrix
    """(n, n_vars), float32, no row empty."""
    signatures: NDArray[np.float64]
    """(k, n_vars): profiles with rows of sum 1."""
    graph: sp.csr_matrix | None
    """(n, n): affinities of neighbours."""
    group: NDArray[np.intp]
    """(n,): region, or section, of every location."""
    prototypes: NDArray[np.float64] | None = None
    """(n_groups, k): shares of counts that groups are pulled to; ``None``: their mean."""

    def genes(self, index: NDArray[np.intp]) -> Mixture:
        """The same with some of the variables; profiles are not rescaled."""
        return replace(
            self, counts=self.counts[:, index], signatures=self.signatures[:, index]
        )

    def scaled(self, weights: NDArray[np.float64]) -> Mixture:
        """Counts and signatures times weights of the variables.

        The Poisson likelihood of these has every variable's term times its weight.
        """
        x = self.counts
        data = x.data * weights.astype(x.dtype)[x.indices]
        # With the same indices, which are half of the memory.
        counts = sp.csr_matrix((data, x.indices, x.indptr), x.shape, copy=False)
        return replace(self, counts=counts, signatures=self.signatures * weights)


@dataclass(frozen=True)
class Tuning:
    """What decides how counts are read; all of it can be chosen on held-out genes."""

    graph_weight: float = 0.0
    """λ, in counts."""
    group_weight: float = 0.0
    """κ, in counts."""
    gene_weights: bool = True
    """Whether overdispersed genes count less: by the root of their dispersion."""
    gene_effect: float = 0.0
    """Prior variance of a gene's factor between reference and locations."""
    entry_effect: float = 0.0
    """The same for each type's factor of a gene."""

    @property
    def effects(self) -> bool:
        """Whether signatures have factors."""
        return bool(self.gene_effect or self.entry_effect)

    def without_effects(self) -> Tuning:
        """For signatures that have their factors."""
        return replace(self, gene_effect=0.0, entry_effect=0.0)


class Fit(NamedTuple):
    """Amounts, and the signatures that they are amounts of."""

    amounts: NDArray[np.float64]
    """(n, k): of the location's depth; sums near 1."""
    signatures: NDArray[np.float64]
    """(k, n_vars): with effects, without weights."""
    trace: Trace
