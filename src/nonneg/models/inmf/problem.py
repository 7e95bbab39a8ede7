"""Integrative NMF: metagenes that data sets share, and parts of their own.

Minimises ``Σ_d ‖X_d - H_d (W + V_d)‖² + λ_d ‖H_d V_d‖²`` over non-negative factors
:cite:p:`Welch2019`. Variables that some data sets lack have no shared part
:cite:p:`Kriebel2022`: W is zero there, and so are the scales, and with them V, of data
sets without them. The data enter through ``X_d (W + V_d)ᵀ`` and ``H_dᵀX_d``; scaling
of cells and of genes is applied to these products, never to the data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from ..._core.typing import Floats

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ...operators.protocol import MatrixOperator


type UpdateRule = Literal["hals", "anls", "mu"]

type Rows = slice | NDArray[np.intp]


class Loadings(NamedTuple):
    """Metagenes."""

    W: Any
    """(k, n_vars): shared."""
    V: Any
    """(n_batches, k, n_vars): specific to each data set."""


class SufficientStatistics(NamedTuple):
    """All that updates of the loadings need to know of cells."""

    gram: Any
    """(n_batches, k, k): ``H_dᵀH_d``."""
    product: Any
    """(n_batches, k, n_vars): ``H_dᵀX_d``."""


class Penalties(NamedTuple):
    """Weights of every data set."""

    lam: Any
    """Of the penalty on its specific part."""
    weight: Any
    """Of the data set in the objective."""


@dataclass(frozen=True)
class Part:
    """Cells that are held in one matrix."""

    op: MatrixOperator
    rows: Rows
    """Their positions among all cells."""
    batch: int | NDArray[np.integer[Any]]
    """The data set of all, or of each; -1 for cells that are left out."""


class Block(NamedTuple):
    """Cells of one data set that are worked on together."""

    batch: int
    rows: Rows
    """Positions among all cells."""
    op: MatrixOperator
    scale: Any
    """What entries of each cell are multiplied by: a column, or 1."""


@dataclass(frozen=True)
class ScaledData:
    """Several data sets, and how their cells and genes are scaled."""

    parts: Sequence[Part]
    names: Sequence[str]
    n_cells: NDArray[np.int64]
    """Of each data set."""
    shape: tuple[int, int]
    """Positions of cells, also of those that are left out, and variables."""
    dtype: np.dtype[Any]
    cell_scale: Floats | None
    """What entries of each cell are multiplied by."""
    gene_scale: Any
    """(n_batches, n_vars): what they are multiplied by then."""
    sq_norm: Any
    """Squared norm of each data set, scaled."""
    on_device: bool = False
    """Whether all arrays of the fit stay in the memory of a device."""
    shared: Any = None
    """(n_vars,): variables that all data sets have; ``None``: all."""

    def to_device(self) -> ScaledData:
        """With scales in the memory of the device that holds the cells."""
        return replace(
            self,
            gene_scale=jnp.asarray(self.gene_scale),
            shared=None if self.shared is None else jnp.asarray(self.shared),
            on_device=True,
        )

    def measured(self, loadings: Loadings) -> Loadings:
        """Loadings that are zero where there are no data to fit them to."""
        if self.shared is None:
            return loadings
        return Loadings(
            loadings.W * self.shared, loadings.V * (self.gene_scale > 0)[:, None]
        )

    def blocks(self) -> Iterator[Block]:
        """All cells, each block of one data set."""
        if self.on_device:
            yield from self._resident_blocks
            return
        for part in self.parts:
            for rows, op in part.op.row_blocks():
                yield from self._split(part, rows, op)

    @cached_property
    def _resident_blocks(self) -> list[Block]:
        """The parts as they are, each with its scales on the device."""
        blocks = [self.block(_dataset(p), p.rows, p.op) for p in self.parts]
        return [block._replace(scale=jnp.asarray(block.scale)) for block in blocks]

    def block(self, batch: int, rows: Rows, op: MatrixOperator) -> Block:
        """Some cells of a data set, with their scale."""
        scale = 1.0 if self.cell_scale is None else self.cell_scale[rows][:, None]
        return Block(batch, rows, op, scale)

    def _split(self, part: Part, rows: Rows, op: MatrixOperator) -> Iterator[Block]:
        """Some rows of a part, by data set."""
        positions = take(part.rows, rows)
        if isinstance(part.batch, int):
            yield self.block(part.batch, positions, op)
            return
        batch = part.batch[rows]
        present = np.unique(batch)
        if present.size == 1 and present[0] >= 0:
            yield self.block(int(present[0]), positions, op)
            return
        for d in present[present >= 0].tolist():
            index = np.flatnonzero(batch == d)
            yield self.block(d, take(positions, index), op.rows(index))


def _dataset(part: Part) -> int:
    assert isinstance(part.batch, int)
    return part.batch


def take(positions: Rows, rows: Rows) -> Rows:
    """Some of the positions."""
    if not isinstance(positions, slice):
        return positions[rows]
    if isinstance(rows, slice):
        return slice(positions.start + rows.start, positions.start + rows.stop)
    return positions.start + rows


def zeros(data: ScaledData, shape: tuple[int, ...], dtype: Any = None) -> Any:
    """Zeros where the fit runs."""
    xp = jnp if data.on_device else np
    return xp.zeros(shape, dtype or data.dtype)


def to_host[T: tuple[Any, ...]](arrays: T) -> T:
    """A NamedTuple of arrays, on the host."""
    return type(arrays)(*map(np.asarray, arrays))
