"""Simulated counts: shapes in the corners of a square."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._core.arguments import checked
from ._simulate import Simulation, with_shared_doc

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from .._core.random import RNGLike

# Name, quarter (down, right), and the shape in its 3 x 3 cells.
_SHAPES = (
    ("plus", (0, 0), (".#.", "###", ".#.")),
    ("ring", (0, 1), ("###", "#.#", "###")),
    ("steps", (1, 0), ("#..", "##.", "###")),
    ("tee", (1, 1), ("###", ".#.", ".#.")),
)


def _patterns() -> dict[str, NDArray[np.bool_]]:
    """Patterns as images of 6 x 6 cells."""
    patterns = {}
    for name, (down, right), lines in _SHAPES:
        cells = np.zeros((6, 6), bool)
        shape = [[mark == "#" for mark in line] for line in lines]
        cells[3 * down : 3 * down + 3, 3 * right : 3 * right + 3] = shape
        patterns[name] = cells
    return patterns


@with_shared_doc
@checked
def ggblocks(
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
    """Simulate separate spatial patterns: blocks.

    One of the two simulations of :cite:t:`Townes2023`: a plus, a ring, steps and a T in
    the quarters of a square of 6 x 6 cells, shapes used to introduce the Indian buffet
    process. No location belongs to two of them. The defaults are the paper's purely
    spatial setting; `n_genes=500, n_nonspatial=3` is its mixed one.

    %(shared)s

    See Also
    --------
    nonneg.datasets.quilt : patterns that overlap

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.ggblocks(30)
    >>> adata.shape
    (900, 200)
    >>> adata.var["pattern"].cat.categories.tolist()
    ['plus', 'ring', 'steps', 'tee']
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
    return simulation.draw("ggblocks", _patterns())
