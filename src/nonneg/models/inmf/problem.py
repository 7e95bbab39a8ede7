"""Integrative NMF: metagenes that data sets share, and parts of their own.

Minimises ``Σ_d ‖X_d - H_d (W + V_d)‖² + λ_d ‖H_d V_d‖²`` over non-negative factors
:cite:p:`Welch2019`. The data enter through ``X_d (W + V_d)ᵀ`` and ``H_dᵀX_d``; scaling
of cells and of genes is applied to these products, never to the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ..._core.typing import Floats

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ...operators.protocol import MatrixOperator


type Solver = Literal["hals", "anls", "mu"]

type Rows = slice | NDArray[np.intp]


class Model(NamedTuple):
    """Loadings."""

    W: Any
    """(k, n_vars): shared."""
    V: Any
    """(n_batches, k, n_vars): of each data set."""


class Sums(NamedTuple):
    """All that updates of the loadings need to know of cells."""

    gram: Any
    """(n_batches, k, k): ``H_dᵀH_d``."""
    product: Any
    """(n_batches, k, n_vars): ``H_dᵀX_d``."""


class Penalties(NamedTuple):
    """Weights of every data set."""

    lam: Floats
    """Of the penalty on its own part."""
    weight: Floats
    """Of the data set in the objective."""


@dataclass(frozen=True)
class Part:
    """Cells that are held in one matrix."""

    op: MatrixOperator
    rows: Rows
    """Their positions among all cells."""
    batch: int | NDArray[np.intp]
    """The data set of all, or of each."""


class Block(NamedTuple):
    """Cells of one data set that are worked on together."""

    batch: int
    rows: Rows
    """Positions among all cells."""
    op: MatrixOperator


@dataclass(frozen=True)
class Data:
    """Several data sets, and how their cells and genes are scaled."""

    parts: Sequence[Part]
    names: Sequence[str]
    n_cells: NDArray[np.int64]
    """Of each data set."""
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    cell_scale: Floats | None
    """What entries of each cell are multiplied by."""
    gene_scale: Floats
    """(n_batches, n_vars): what they are multiplied by then."""
    sq_norm: NDArray[np.float64]
    """Squared norm of each data set, scaled."""

    def blocks(self) -> Iterator[Block]:
        """All cells, each block of one data set."""
        for part in self.parts:
            for rows, op in part.op.row_blocks():
                yield from split(part, rows, op)

    def scale_of(self, rows: Rows) -> Floats | float:
        """Scale of some cells, as a column."""
        return 1.0 if self.cell_scale is None else self.cell_scale[rows][:, None]


def split(part: Part, rows: Rows, op: MatrixOperator) -> Iterator[Block]:
    """Some rows of a part, by data set."""
    positions = take(part.rows, rows)
    if isinstance(part.batch, int):
        yield Block(part.batch, positions, op)
        return
    batch = part.batch[rows]
    present = np.unique(batch)
    if present.size == 1:
        yield Block(int(present[0]), positions, op)
        return
    for d in present.tolist():
        index = np.flatnonzero(batch == d)
        yield Block(d, take(positions, index), op.rows(index))


def take(positions: Rows, rows: Rows) -> Rows:
    """Some of the positions."""
    if not isinstance(positions, slice):
        return positions[rows]
    if isinstance(rows, slice):
        return slice(positions.start + rows.start, positions.start + rows.stop)
    return positions.start + rows


class State(NamedTuple):
    """A fit in progress."""

    model: Model
    scores: Floats
    sums: Sums
