"""Simulated maps: locations that hold cells of a reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of the Dirichlet law that compositions of regions come from.
_REGIONS = (0.3, 1.0)

# Cells of a type that are not split.
_FEW = 20

# Every type may be anywhere, if seldom.
_EVERYWHERE = 0.1


@dataclass(frozen=True)
class Cells:
    """Counts of single cells, and their types."""

    counts: sp.csr_matrix
    code: NDArray[np.intp]

    def means(self, n_types: int) -> NDArray[np.float64]:
        """Mean counts of a cell of every type."""
        n = np.bincount(self.code, minlength=n_types)
        member = sp.csr_matrix(
            (1 / n[self.code], (self.code, np.arange(self.code.size))),
            shape=(n_types, self.code.size),
        )
        return (member @ self.counts).toarray().astype(np.float64)


class Halves(NamedTuple):
    """Cells for signatures, and others for locations."""

    signatures: Cells
    locations: Cells


def split_cells(cells: Cells, rng: np.random.Generator) -> Halves:
    """Two halves of every type; types with few cells are in both as a whole.

    Signatures of one or two cells are so wrong that no weights would matter.
    """
    chosen: tuple[list[NDArray[np.intp]], list[NDArray[np.intp]]] = ([], [])
    for k in np.unique(cells.code):
        inside = rng.permutation(np.flatnonzero(cells.code == k))
        middle = inside.size // 2 if inside.size >= _FEW else 0
        chosen[0].append(inside[middle:])
        chosen[1].append(inside[:middle] if middle else inside)
    rows = [np.concatenate(half) for half in chosen]
    return Halves(*(Cells(cells.counts[r], cells.code[r]) for r in rows))


@dataclass(frozen=True)
class Law:
    """What simulated maps are like."""

    n_regions: int = 4
    concentration: tuple[float, float] = (5.0, 60.0)
    """How firmly locations hold to the composition of their region."""
    cells_per_spot: tuple[int, int] = (5, 20)
    depth: tuple[float, float] = (0.5, 2.0)
    """Times the depths given."""
    platform: float = 0.2
    """Standard deviation of the logarithm of genes' factors."""
    noise: float = 0.2
    """Variance of a factor of every entry."""


class Map(NamedTuple):
    """A simulated section."""

    counts: sp.csr_matrix
    """(n, n_vars), float32, no row empty."""
    shares: NDArray[np.float64]
    """(n, k): of counts, before noise."""


@dataclass(frozen=True)
class Simulator:
    """Maps of one tissue, whose regions have other compositions in each of them."""

    cells: Cells
    n_types: int
    coords: NDArray[np.float64]
    depths: NDArray[np.float64]
    labels: NDArray[np.intp] | None
    """Regions of the tissue; ``None``: around other centres in each map."""
    compositions: NDArray[np.float64] | None = None
    """(n_regions, k): share of cells; ``None``: drawn for each map."""
    law: Law = Law()

    def __call__(self, rng: np.random.Generator) -> Map:
        """One map."""
        law, n = self.law, len(self.coords)
        region = self._regions(rng)
        typical = self.compositions
        if typical is None:
            alpha = np.full(self.n_types, rng.uniform(*_REGIONS))
            typical = rng.dirichlet(alpha, int(region.max()) + 1)
        firm = _between(law.concentration, rng)
        weight = rng.standard_gamma(firm * typical[region] + _EVERYWHERE) + 1e-12
        wanted = weight / weight.sum(1, keepdims=True)
        fewest, most = law.cells_per_spot
        number = rng.multinomial(rng.integers(fewest, most + 1, n), wanted)
        mixed, shares = self._mixed(number, rng)
        genes = np.exp(law.platform * rng.standard_normal(mixed.shape[1]))
        mean = mixed * genes
        depth = rng.permutation(self.depths)[:n] * _between(law.depth, rng)
        mean *= depth[:, None] / np.maximum(mixed.sum(1, keepdims=True), 1e-12)
        if law.noise:
            mean *= rng.gamma(1 / law.noise, law.noise, mean.shape)
        counts = rng.poisson(mean).astype(np.float32)
        empty = np.flatnonzero(counts.sum(1) == 0)
        counts[empty, mean[empty].argmax(1)] = 1
        return Map(sp.csr_matrix(counts), shares)

    def _regions(self, rng: np.random.Generator) -> NDArray[np.intp]:
        if self.labels is not None:
            return self.labels
        n = len(self.coords)
        centres = self.coords[rng.permutation(n)[: self.law.n_regions]]
        away = ((self.coords[:, None] - centres) ** 2).sum(-1)
        return np.unique(away.argmin(1), return_inverse=True)[1]

    def _mixed(
        self, number: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Counts of the cells of every location, drawn with replacement, by type."""
        rows, columns = [], []
        for k in range(self.n_types):
            have = np.flatnonzero(self.cells.code == k)
            rows.append(np.repeat(np.arange(len(number)), number[:, k]))
            columns.append(rng.choice(have, int(number[:, k].sum())))
        i, j = np.concatenate(rows), np.concatenate(columns)
        drawn = sp.csr_matrix(
            (np.ones(i.size), (i, j)), shape=(len(number), self.cells.code.size)
        )
        mixed = (drawn @ self.cells.counts).toarray().astype(np.float64)
        size = np.asarray(self.cells.counts.sum(1), np.float64).ravel()
        own = np.zeros((size.size, self.n_types))
        own[np.arange(size.size), self.cells.code] = size
        parts = drawn @ own
        return mixed, parts / parts.sum(1, keepdims=True)


def _between(ends: tuple[float, float], rng: np.random.Generator) -> float:
    """Log-uniform."""
    return float(np.exp(rng.uniform(*np.log(ends))))
