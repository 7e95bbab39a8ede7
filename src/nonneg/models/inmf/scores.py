"""Scores of cells for given loadings, and the statistics that loadings need."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._core.typing import Floats
from ...kernels.hals import hals_update
from ..factor.alternate import minimise
from ..factor.momentum import move_on
from .problem import (
    Block,
    Loadings,
    ScaledData,
    SufficientStatistics,
    UpdateRule,
    zeros,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from ..factor.momentum import Momentum


# Cells that are solved for in one call: bounds the number of shapes to compile.
_MOST_ROWS, _FEWEST_ROWS = 2048, 128

# Sweeps over the scores per pass.
ROW_SWEEPS = 2

# Part of the largest score, below which moves of a mini-batch's scores do not matter.
_SETTLED = 1e-3

# Sweeps until scores are taken for exact: at most, and between checks.
_MOST_SWEEPS, _SWEEPS_PER_CHECK = 500, 10


@partial(jax.jit, static_argnames=("rule", "n_sweeps"))
def update_rows(
    h: jax.Array, product: jax.Array, gram: jax.Array, rule: UpdateRule, n_sweeps: int
) -> jax.Array:
    """Update scores towards the minimum of their quadratic form."""
    return minimise(h, product, gram, rule, n_sweeps=n_sweeps)


@jax.jit
def _sweep_rows(
    h: jax.Array, product: jax.Array, gram: jax.Array, tol: float
) -> tuple[jax.Array, jax.Array]:
    """Sweep until no score moves by more than this part of the largest one.

    Also returns whether it came to that.
    """

    def moving(state: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        h, moved, n_sweeps = state
        return (moved > tol * h.max()) & (n_sweeps < _MOST_SWEEPS)

    def sweep(
        state: tuple[jax.Array, jax.Array, jax.Array],
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        h, _, n_sweeps = state
        before = hals_update(h, product, gram, n_sweeps=_SWEEPS_PER_CHECK - 1)
        new = hals_update(before, product, gram, n_sweeps=1)
        return new, jnp.abs(new - before).max(), n_sweeps + _SWEEPS_PER_CHECK

    start = h, jnp.array(jnp.inf, h.dtype), jnp.array(0)
    state = jax.lax.while_loop(moving, sweep, start)
    return state[0], ~moving((*state[:2], jnp.array(0)))


def solve_rows(h: jax.Array, product: jax.Array, gram: jax.Array) -> jax.Array:
    """Exact scores."""
    new, settled = _sweep_rows(h, product, gram, 10 * float(jnp.finfo(h.dtype).eps))
    # Sweeps crawl where loadings are nearly collinear.
    return new if settled else update_rows(new, product, gram, "anls", 1)


def settle_rows(h: jax.Array, product: jax.Array, gram: jax.Array) -> jax.Array:
    """Scores that are as exact as running statistics need.

    After a fixed number of sweeps, what is missing is of one sign, and shifts where
    loadings come to rest: by .03 % of the objective for 10 sweeps, where this leaves
    .006 %.
    """
    return _sweep_rows(h, product, gram, _SETTLED)[0]


type UpdateRows = Callable[..., jax.Array]


def _in_chunks(h: Floats, product: Floats, gram: Floats, update: UpdateRows) -> Floats:
    """Update rows by rows, padded with zeros, which stay zero, to a few shapes."""
    done: list[tuple[jax.Array, int]] = []
    start = 0
    while start < h.shape[0]:
        n = min(h.shape[0] - start, _MOST_ROWS)
        size = max(1 << (n - 1).bit_length(), _FEWEST_ROWS)
        parts = (_with_rows(x[start : start + n], size) for x in (h, product))
        done.append((update(*parts, gram), n))
        start += n
    return np.concatenate([np.asarray(new)[:n] for new, n in done])


def _with_rows(x: Floats, n: int) -> Floats:
    """Rows of zeros added, where there are fewer; `np.pad` takes ten times as long."""
    if len(x) == n:
        return x
    out = np.zeros((n, *x.shape[1:]), x.dtype)
    out[: len(x)] = x
    return out


def score_grams(loadings: Loadings, lam: Any) -> Any:
    """(n_batches, k, k): the quadratic forms that scores minimise."""
    w, v = loadings
    both = w + v
    own = v @ v.swapaxes(1, 2)
    return both @ both.swapaxes(1, 2) + lam[:, None, None] * own


def score_blocks(
    data: ScaledData,
    blocks: Iterable[Block],
    loadings: Loadings,
    lam: Any,
    *,
    update: UpdateRows,
    keep: Callable[[Block, Any], None],
    before: Callable[[Block], Any] | None = None,
    move: Callable[[Block, Any], Any] | None = None,
) -> SufficientStatistics:
    """New scores of some cells, handed over block by block, and their statistics.

    ``before`` gives the scores to begin with; ``None``: zero. ``move`` changes them
    after their update.
    """
    on_device = data.on_device
    xp = jnp if on_device else np
    loadings = Loadings(*(xp.asarray(factor, data.dtype) for factor in loadings))
    grams = score_grams(loadings, lam).astype(data.dtype)
    weights = (loadings.W + loadings.V) * data.gene_scale[:, None, :]
    n_batches, rank, n_vars = weights.shape
    # Sums over many cells keep float64 on the host so that they do not lose digits.
    total = data.dtype if on_device else np.dtype(np.float64)
    gram = [xp.zeros((rank, rank), total) for _ in range(n_batches)]
    product = [xp.zeros((rank, n_vars), total) for _ in range(n_batches)]
    for block in blocks:
        d, _, op, scale = block
        target = xp.asarray(op.matmul(weights[d].T)) * scale
        old = xp.zeros_like(target) if before is None else before(block)
        new = (
            update(old, target, grams[d])
            if on_device
            else _in_chunks(old, target, grams[d], update)
        )
        if move is not None:
            new = move(block, new)
        keep(block, new)
        product[d] += xp.asarray(op.rmatmul(new * scale), total).T
        gram[d] += new.T @ new
    return SufficientStatistics(
        xp.stack(gram), xp.stack(product) * data.gene_scale[:, None, :]
    )


def zero_scores(data: ScaledData, rank: int) -> Any:
    """Scores to begin with: an array, or on a device one for each block."""
    if data.on_device:
        return tuple(zeros(data, (b.op.shape[0], rank)) for b in data.blocks())
    return zeros(data, (data.shape[0], rank))


def scores_of(scores: Any) -> Callable[[Block], Any]:
    """Scores of one block after the other."""
    if isinstance(scores, tuple):
        in_order = iter(scores)
        return lambda _: next(in_order)
    return lambda block: scores[block.rows]


def gather_scores(data: ScaledData, scores: Any) -> Floats:
    """Scores of all cells, on the host."""
    if not data.on_device:
        return np.asarray(scores)
    gathered = np.zeros((data.shape[0], scores[0].shape[1]), data.dtype)
    for block, some in zip(data.blocks(), scores, strict=True):
        gathered[block.rows] = some
    return gathered


def update_scores(
    data: ScaledData,
    loadings: Loadings,
    lam: Any,
    scores: Any,
    update: UpdateRows,
    *,
    move: Callable[[Block, Any], Any] | None = None,
) -> tuple[Any, SufficientStatistics]:
    """Update the scores of all cells."""
    new, put = _room_for(data, scores)
    statistics = score_blocks(
        data,
        data.blocks(),
        loadings,
        lam,
        update=update,
        keep=put,
        before=scores_of(scores),
        move=move,
    )
    return new(), statistics


def move_scores(
    data: ScaledData,
    loadings: Loadings,
    lam: Any,
    scores: Any,
    update: UpdateRows,
    *,
    momentum: Momentum,
) -> tuple[Any, SufficientStatistics, Any]:
    """Update the scores of all cells, and move them on.

    Also returns what they were before they were moved on.
    """
    reached, put = _room_for(data, scores)
    last = scores_of(momentum.last)

    def move(block: Block, new: Any) -> Any:
        put(block, new)
        return move_on(new, last(block), momentum.share)

    moved, statistics = update_scores(data, loadings, lam, scores, update, move=move)
    return moved, statistics, reached()


def _room_for(
    data: ScaledData, scores: Any
) -> tuple[Callable[[], Any], Callable[[Block, Any], None]]:
    """Where scores of one block after the other are put, and how they are read then."""
    if data.on_device:
        kept: list[Any] = []
        return lambda: tuple(kept), lambda _, some: kept.append(some)
    new = np.zeros_like(scores)

    def put(block: Block, some: Any) -> None:
        new[block.rows] = some

    return lambda: new, put


@jax.jit
def _squared_residuals(
    x: jax.Array, scale: Any, genes: jax.Array, h: jax.Array, loadings: jax.Array
) -> jax.Array:
    return jnp.square(x * scale * genes - h @ loadings).sum(1)


def squared_errors(
    data: ScaledData, loadings: Loadings, scores: Any
) -> NDArray[np.float64]:
    """Squared norm of what is left of every data set, from residuals.

    Exact also where hardly anything is left, for the price of another product.
    """
    both = jnp.asarray(loadings.W + loadings.V, data.dtype)
    genes = jnp.asarray(data.gene_scale, data.dtype)
    of_block = scores_of(scores)
    errors = np.zeros(len(data.names))
    for block in data.blocks():
        h, d = of_block(block), block.batch
        for rows, x in block.op.dense_blocks():
            scale = block.scale if np.ndim(block.scale) == 0 else block.scale[rows]
            left = _squared_residuals(jnp.asarray(x), scale, genes[d], h[rows], both[d])
            errors[d] += np.asarray(left, np.float64).sum()
    return errors


def exact_scores(
    data: ScaledData, loadings: Loadings, lam: Any, keep: Callable[[Block, Any], None]
) -> SufficientStatistics:
    """Exact scores of all cells for fixed loadings."""
    return score_blocks(
        data, data.blocks(), loadings, lam, update=solve_rows, keep=keep
    )
