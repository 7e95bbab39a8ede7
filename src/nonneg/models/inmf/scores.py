"""Scores of cells for given loadings, and the sums that loadings need."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._core.typing import Floats
from ...kernels.hals import hals_update
from ..factor.alternate import minimise
from .problem import Block, Data, Model, Solver, Sums

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray


# Cells that are solved for in one call: bounds the number of shapes to compile.
_MOST_ROWS, _FEWEST_ROWS = 2048, 128

# Sweeps over the scores per pass.
ROW_SWEEPS = 2

# Sweeps until scores are taken for exact: at most, and between checks.
_MOST_SWEEPS, _SWEEPS_PER_CHECK = 500, 10


@partial(jax.jit, static_argnames=("rule", "n_sweeps"))
def update_rows(
    h: jax.Array, product: jax.Array, gram: jax.Array, rule: Solver, n_sweeps: int
) -> jax.Array:
    """Update scores towards the minimum of their quadratic form."""
    return minimise(h, product, gram, rule, n_sweeps=n_sweeps)


@jax.jit
def _sweep_rows(
    h: jax.Array, product: jax.Array, gram: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Sweep until no score moves. Also returns whether it came to that."""
    tol = 10 * jnp.finfo(h.dtype).eps

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


def _solve_rows(h: jax.Array, product: jax.Array, gram: jax.Array) -> jax.Array:
    """Exact scores."""
    new, settled = _sweep_rows(h, product, gram)
    # Sweeps crawl where loadings are nearly collinear.
    return new if settled else update_rows(new, product, gram, "anls", 1)


type UpdateRows = Callable[..., jax.Array]


def _in_chunks(h: Floats, product: Floats, gram: Floats, update: UpdateRows) -> Floats:
    """Update rows by rows, padded with zeros, which stay zero, to a few shapes."""
    done: list[tuple[jax.Array, int]] = []
    start = 0
    while start < h.shape[0]:
        n = min(h.shape[0] - start, _MOST_ROWS)
        size = max(1 << (n - 1).bit_length(), _FEWEST_ROWS)
        rows = slice(start, start + n)
        missing = ((0, size - n), (0, 0))
        parts = (
            np.pad(x[rows], missing) if size > n else x[rows] for x in (h, product)
        )
        done.append((update(*map(jnp.asarray, parts), jnp.asarray(gram)), n))
        start += n
    return np.concatenate([np.asarray(new)[:n] for new, n in done])


def score_grams(model: Model, lam: Floats) -> NDArray[Any]:
    """(n_batches, k, k): the quadratic forms that scores minimise."""
    both = model.W + model.V
    own = np.einsum("dkg,dlg->dkl", model.V, model.V, optimize=True)
    return (
        np.einsum("dkg,dlg->dkl", both, both, optimize=True) + lam[:, None, None] * own
    )


def add_blocks(
    data: Data,
    blocks: Iterable[Block],
    model: Model,
    lam: Floats,
    *,
    scores: Floats | None,
    update: UpdateRows,
    keep: Callable[[Block, Floats], None],
) -> Sums:
    """New scores of some cells, handed over block by block, and their sums.

    ``scores`` of all cells to begin with; ``None``: zero.
    """
    model = Model(*(np.asarray(factor, data.dtype) for factor in model))
    grams = score_grams(model, lam).astype(data.dtype)
    loadings = (model.W + model.V) * data.gene_scale[:, None, :]
    n_batches, rank, n_vars = loadings.shape
    gram = np.zeros((n_batches, rank, rank))
    product = np.zeros((n_batches, rank, n_vars))
    for block in blocks:
        d, rows, op = block
        scale = data.scale_of(rows)
        target = np.asarray(op.matmul(loadings[d].T)) * scale
        old = np.zeros_like(target) if scores is None else scores[rows]
        new = _in_chunks(old, target, grams[d], update)
        keep(block, new)
        # Sums over many cells keep float64 so that they do not lose digits.
        product[d] += np.asarray(op.rmatmul(new * scale), np.float64).T
        gram[d] += new.T @ new
    product *= data.gene_scale[:, None, :]
    return Sums(gram, product)


def pass_over(
    data: Data, model: Model, lam: Floats, scores: Floats, update: UpdateRows
) -> tuple[Floats, Sums]:
    """Update the scores of all cells."""
    new_scores = np.empty_like(scores)

    def keep(block: Block, new: Floats) -> None:
        new_scores[block.rows] = new

    blocks = data.blocks()
    sums = add_blocks(data, blocks, model, lam, scores=scores, update=update, keep=keep)
    return new_scores, sums


def solve(
    data: Data, model: Model, lam: Floats, keep: Callable[[Block, Floats], None]
) -> Sums:
    """Exact scores of all cells for fixed loadings."""
    blocks = data.blocks()
    return add_blocks(
        data, blocks, model, lam, scores=None, update=_solve_rows, keep=keep
    )
