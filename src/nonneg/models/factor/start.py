"""Starting values of a factorization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..._core.typing import Floats

if TYPE_CHECKING:
    from collections.abc import Callable

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
    """Leading right singular vectors (n_vars, rank) and singular values."""
    return leading_vectors(
        lambda basis: gram_product(op, basis),
        op.shape[1],
        rank,
        rng,
        # No more vectors than observations.
        most=op.shape[0],
        dtype=op.dtype,
    )


def leading_vectors(
    gram: Callable[[Floats], Floats],
    size: int,
    rank: int,
    rng: np.random.Generator,
    *,
    most: int,
    dtype: np.dtype[Any],
) -> tuple[Floats, Floats]:
    """Right singular vectors of a matrix, and singular values, from products XᵀX b.

    Subspace iteration, both products of ``gram_product`` taken while a row block is at
    hand, then Rayleigh-Ritz :cite:p:`Halko2011`.
    """
    width = min(rank + N_OVERSAMPLES, most, size)
    basis = rng.standard_normal((size, width)).astype(dtype)
    ritz = np.zeros(rank)
    for _ in range(MAX_POWER):
        basis, _ = np.linalg.qr(basis)
        image = gram(basis)
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
        return random_init(op.shape, rank, total=stats.total, rng=rng, dtype=op.dtype)
    return nndsvd(op, rank, fill=init == "nndsvda", stats=stats, rng=rng)


def random_init(
    shape: tuple[int, int],
    rank: int,
    *,
    total: float,
    rng: np.random.Generator,
    dtype: np.dtype[Any],
) -> tuple[Floats, Floats]:
    """Half-normal factors whose product has about the mean of the data."""
    n_obs, n_vars = shape
    scale = np.sqrt(total / (n_obs * n_vars) / rank)
    # Loadings first: they do not depend on how many observations follow.
    h = np.abs(scale * rng.standard_normal((rank, n_vars), dtype=np.float32))
    w = np.abs(scale * rng.standard_normal((n_obs, rank), dtype=np.float32))
    return w.astype(dtype, copy=False), h.astype(dtype, copy=False)


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
    small = FILL * np.sqrt(stats.total / (np.prod(op.shape)) / rank) if fill else 0
    return split_by_sign(w, v, singular, small)


def split_by_sign(
    w: Floats, v: Floats, singular: Floats, small: float | Floats
) -> tuple[Floats, Floats]:
    """Non-negative W and H from unscaled left and right singular vectors, in place.

    Zeros become ``small``.
    """
    v[:, 0], w[:, 0] = np.abs(v[:, 0]), np.abs(w[:, 0])
    floor = np.finfo(w.dtype).eps * singular[0]
    # A column at a time: W may be all that there is memory for.
    for j in range(w.shape[1]):
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
