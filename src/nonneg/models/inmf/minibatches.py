"""How epochs are cut into mini-batches."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..._core.random import stream
from ...operators.blocks import BlockOperator
from .problem import take

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ...operators.protocol import MatrixOperator
    from .problem import Block, ScaledData


# Bytes that are read and shuffled together where the data are not in memory; as much
# again is on its way.
_WINDOW_BYTES = 16 * 2**20


@dataclass(frozen=True)
class MinibatchSampler:
    """How an epoch is cut into mini-batches."""

    data: ScaledData
    minibatch_size: int
    seed: int

    @property
    def n_steps(self) -> int:
        """Mini-batches per epoch."""
        return -(-int(self.data.n_cells.sum()) // self.minibatch_size)

    def steps(self, epoch: int, first: int) -> Iterator[list[Block]]:
        """Mini-batches of an epoch from the ``first`` on.

        Each holds every data set in proportion to its size. Data in memory are
        shuffled as a whole. Stored data are read in windows of some mini-batches,
        each of pieces from everywhere, and shuffled within them.
        """
        n_windows = min(-(-self._stored_bytes // _WINDOW_BYTES), self.n_steps) or 1
        bounds = np.linspace(0, self.n_steps, n_windows + 1).astype(int).tolist()
        window = int(np.searchsorted(bounds, first, side="right")) - 1
        parts = self.data.parts
        windows = [
            _windows(part.op, bounds, window, self._rng(epoch, i))
            for i, part in enumerate(parts)
        ]
        for w, held in enumerate(zip(*windows, strict=True), window):
            # Not by the number of parts: in memory every data set is one.
            rng = self._rng(epoch, len(self.data.names), w)
            steps = _cut(self.data, held, bounds[w + 1] - bounds[w], rng)
            yield from islice(steps, max(first - bounds[w], 0), None)

    @property
    def _stored_bytes(self) -> int:
        ops = [part.op for part in self.data.parts]
        return sum(
            op.row_bytes * op.shape[0] for op in ops if isinstance(op, BlockOperator)
        )

    def _rng(self, *what: int) -> np.random.Generator:
        return stream(self.seed, "minibatches", *what)


class _Window(NamedTuple):
    """Rows of a part that are in memory together."""

    op: MatrixOperator
    rows: NDArray[np.intp]
    """Which rows of the part they are."""


def _windows(
    op: MatrixOperator, steps: list[int], first: int, rng: np.random.Generator
) -> Iterator[_Window]:
    """All rows, in random windows from the ``first`` on.

    ``steps`` are the first steps of the windows, and the number of steps, to which rows
    are in proportion.
    """
    n_rows, n_windows = op.shape[0], len(steps) - 1
    share = np.array(steps) / steps[-1]
    if not isinstance(op, BlockOperator):
        if n_windows == 1:
            yield _Window(op, np.arange(n_rows))
            return
        bounds = np.rint(share * n_rows).astype(int)[first:]
        order = rng.permutation(n_rows)
        for start, stop in pairwise(bounds.tolist()):
            rows = np.sort(order[start:stop])
            yield _Window(op.rows(rows), rows)
        return
    pieces = op.pieces
    if len(pieces) < n_windows:
        bounds = np.linspace(0, n_rows, n_windows + 1).astype(int)
        pieces = [slice(a, b) for a, b in pairwise(bounds.tolist())]
    bounds = np.rint(share * len(pieces)).astype(int)[first:]
    order = rng.permutation(len(pieces))
    chosen = [
        [pieces[i] for i in sorted(order[a:b].tolist())]
        for a, b in pairwise(bounds.tolist())
    ]
    rows_of = (
        np.concatenate(
            [np.empty(0, np.intp), *(np.arange(p.start, p.stop) for p in some)]
        )
        for some in chosen
    )
    for rows, held in zip(rows_of, op.windows(chosen), strict=True):
        yield _Window(held, rows)


def _cut(
    data: ScaledData, held: Sequence[_Window], n_steps: int, rng: np.random.Generator
) -> Iterator[list[Block]]:
    """What is in memory, as mini-batches in random order."""
    parts = data.parts
    shares: list[list[tuple[int, int, NDArray[np.intp]]]] = [[] for _ in range(n_steps)]
    # Cells that are left over go on where those of the part before ended: those of
    # many small parts must not all be in the first mini-batches.
    first = int(rng.integers(n_steps))
    for i, (part, (_, rows)) in enumerate(zip(parts, held, strict=True)):
        batch = np.broadcast_to(part.batch, part.op.shape[0])[rows]
        for d in np.unique(batch[batch >= 0]).tolist():
            index = rng.permutation(np.flatnonzero(batch == d))
            for j, cells in enumerate(np.array_split(index, n_steps), first):
                if cells.size:
                    shares[j % n_steps].append((i, d, np.sort(cells)))
            first += index.size
    for share in shares:
        yield [
            data.block(
                d, take(parts[i].rows, held[i].rows[cells]), held[i].op.rows(cells)
            )
            for i, d, cells in share
        ]
