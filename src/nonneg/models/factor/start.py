"""Starting values of a factorization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..._core.typing import Floats

if TYPE_CHECKING:
    from ...operators.protocol import MatrixOperator
    from ...operators.stats import MatrixStats


type Init = Literal["nndsvda", "nndsvd", "random"]

N_OVERSAMPLES = 20

# Vectors accurate to about 1 %: from there on, the same data give the same local
# minimum whatever the seed.
MAX_POWER = 15

_RITZ_TOL = 1e-4

# Small beside sqrt(mean / rank), the entry of a factor that explains the mean; large
# enough for multiplicative updates to start from.
FILL = 0.3


def right_singular_vectors(
    op: MatrixOperator, rank: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Leading right singular vectors (n_vars, rank) and singular values.

    Subspace iteration on XᵀX, both products taken while a row block is at
    hand, then Rayleigh-Ritz :cite:p:`Halko2011`.
    """
    n_obs, n_vars = op.shape
    width = min(rank + N_OVERSAMPLES, n_obs, n_vars)
    basis = rng.standard_normal((n_vars, width)).astype(op.dtype)
    ritz = np.zeros(rank)
    for _ in range(MAX_POWER):
        basis, _ = np.linalg.qr(basis)
        image = gram_product(op, basis)
        projected = basis.T @ image
        values, vectors = np.linalg.eigh((projected + projected.T) / 2)
        top = np.argsort(values)[::-1][:rank]
        change = np.abs(values[top] - ritz)
        leading = basis @ vectors[:, top]
        basis, ritz = image, values[top]
        if np.all(change <= _RITZ_TOL * np.abs(ritz)):
            break
    return leading, np.sqrt(np.maximum(ritz, 0))


def gram_product(op: MatrixOperator, basis: Floats) -> Floats:
    """``XᵀX @ basis`` in one pass over the data."""
    total: Any = 0.0
    for _, block in op.row_blocks():
        total = total + np.asarray(block.rmatmul(block.matmul(basis)), np.float64)
    return np.asarray(total, op.dtype)


def initialise(
    op: MatrixOperator,
    rank: int,
    *,
    init: Init,
    stats: MatrixStats,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Non-negative starting factors W (n_obs, rank) and H (rank, n_vars)."""
    if init == "random":
        return random_init(op, rank, stats=stats, rng=rng)
    return nndsvd(op, rank, fill=init == "nndsvda", stats=stats, rng=rng)


def random_init(
    op: MatrixOperator, rank: int, *, stats: MatrixStats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Half-normal factors whose product has about the mean of the data."""
    n_obs, n_vars = op.shape
    scale = np.sqrt(stats.total / (n_obs * n_vars) / rank)
    # Loadings first: they do not depend on how many observations follow.
    h = np.abs(scale * rng.standard_normal((rank, n_vars), dtype=np.float32))
    w = np.abs(scale * rng.standard_normal((n_obs, rank), dtype=np.float32))
    return w.astype(op.dtype, copy=False), h.astype(op.dtype, copy=False)


def nndsvd(
    op: MatrixOperator,
    rank: int,
    *,
    fill: bool,
    stats: MatrixStats,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Non-negative parts of the singular vectors :cite:p:`Boutsidis2008`.

    Each pair of vectors is split by sign, and the heavier side kept. ``fill``
    replaces zeros by a small value, so that multiplicative updates can move them;
    it scales as the factors do, so that the units of the data do not matter.
    """
    v, singular = right_singular_vectors(op, rank, rng)
    v = np.asarray(v, op.dtype)
    # Unscaled left vectors, a block of rows at a time, in the array that is
    # returned: nothing else of this size is held.
    w = np.empty((op.shape[0], rank), op.dtype)
    for rows, block in op.row_blocks():
        w[rows] = block.matmul(v)
    v[:, 0], w[:, 0] = np.abs(v[:, 0]), np.abs(w[:, 0])

    floor = np.finfo(op.dtype).eps * singular[0]
    small = FILL * np.sqrt(stats.total / (np.prod(op.shape)) / rank) if fill else 0
    # A column at a time: W may be all that there is memory for.
    for j in range(rank):
        column = w[:, j]
        sides = [
            (sign, _norm(sign * column), _norm(sign * v[:, j])) for sign in (1, -1)
        ]
        sign, norm_w, norm_v = max(sides, key=lambda side: side[1] * side[2])
        if singular[j] <= floor or norm_w * norm_v == 0:
            w[:, j], v[:, j] = small, small
            continue
        # norm_w carries the singular value.
        scale = np.sqrt(norm_w * norm_v)
        np.maximum(sign * column, 0, out=column)
        column *= scale / norm_w
        v[:, j] = np.maximum(sign * v[:, j], 0) * (scale / norm_v)
        column[column == 0] = small
        v[v[:, j] == 0, j] = small
    return w, np.ascontiguousarray(v.T)


def _norm(vector: Floats) -> np.floating[Any]:
    """Length of the positive part."""
    return np.linalg.norm(np.maximum(vector, 0))
