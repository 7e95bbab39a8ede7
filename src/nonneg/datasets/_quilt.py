"""Simulated counts: overlapping patterns that tile a square."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._core.arguments import checked
from ._simulate import Simulation, with_shared_doc

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from .._core.random import RNGLike

_N_CELLS = 12


def _patterns() -> dict[str, NDArray[np.bool_]]:
    """Patterns as images of 12 x 12 cells."""
    row, col = np.indices((_N_CELLS, _N_CELLS))
    down, right = row - (_N_CELLS - 1) / 2, col - (_N_CELLS - 1) / 2
    in_band = [np.isin(axis, [1, 2, 3, 4, 7, 8, 9, 10]) for axis in (row, col)]
    return {
        "squares": in_band[0] & in_band[1],
        "corners": np.abs(down) + np.abs(right) > _N_CELLS / 2 - 1,
        "diagonals": np.abs(down) == np.abs(right),
        "checkers": (row // 4 + col // 4) % 2 == 1,
    }


@with_shared_doc
@checked
def quilt(
    size: int | tuple[int, int] = 36,
    n_genes: int = 200,
    *,
    n_nonspatial: int = 0,
    mixing: float | None = None,
    background: float = 0.2,
    height: float = 20.0,
    dispersion: float = 0.1,
    rng: RNGLike = 0,
) -> AnnData:
    """Simulate overlapping spatial patterns: a quilt.

    One of the two simulations of :cite:t:`Townes2023`: four patterns on a square of
    12 x 12 cells, four squares, the corners outside a diamond, two diagonals, and
    every other field of a 3 x 3 board. Locations belong to up to four of them, so that
    factors must be told apart where they overlap. The defaults are the paper's purely
    spatial setting; `n_genes=500, n_nonspatial=3` is its mixed one.

    %(shared)s

    See Also
    --------
    nonneg.datasets.ggblocks : patterns that do not overlap

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.quilt()
    >>> adata.shape
    (1296, 200)
    >>> mixed = nng.datasets.quilt(n_genes=500, n_nonspatial=3)
    >>> mixed.obsm["truth"].shape
    (1296, 7)
    """
    simulation = Simulation(
        size=size,
        n_genes=n_genes,
        n_nonspatial=n_nonspatial,
        mixing=mixing,
        background=background,
        height=height,
        dispersion=dispersion,
        rng=rng,
    )
    return simulation.draw("quilt", _patterns())
