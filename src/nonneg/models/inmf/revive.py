"""Factors that no cell uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax

from ..._core.namespace import namespace
from .problem import Loadings, ScaledData, SufficientStatistics
from .scores import scores_of

if TYPE_CHECKING:
    from jax import Array


# Attempts per factor: after these, the data need fewer.
_MAX_RESEEDS = 3


def in_use(statistics: SufficientStatistics) -> Any:
    """Factors that some cell uses."""
    return namespace(statistics.gram).einsum("dkk->k", statistics.gram) > 0


def revive(
    data: ScaledData,
    loadings: Loadings,
    scores: Any,
    statistics: SufficientStatistics,
    reseeds: Any,
) -> tuple[Loadings, Any]:
    """Point factors that no cell uses at the worst explained cells.

    No update moves a factor whose scores are all zero. Also returns how often each
    was reseeded.
    """
    dead = ~in_use(statistics) & (reseeds < _MAX_RESEEDS)

    def revived() -> tuple[Loadings, Any]:
        missing, cells = _worst_explained(data, loadings, scores)
        if data.shared is not None:
            cells = cells * data.shared
        return _reseed(loadings, reseeds, dead, missing, cells)

    if isinstance(dead, jax.core.Tracer):
        return jax.lax.cond(dead.any(), revived, lambda: (loadings, reseeds))
    # The search reads all data: not where it is for nothing.
    return revived() if dead.any() else (loadings, reseeds)


def _worst_explained(
    data: ScaledData, loadings: Loadings, scores: Any
) -> tuple[Any, Any]:
    """What the worst explained cells lack, the worst first: in total, and by gene."""
    xp = namespace(loadings.W)
    rank = loadings.W.shape[0]
    totals = (loadings.W + loadings.V).sum(2)
    of_block = scores_of(scores)
    missing, cells = [], []
    for block in data.blocks():
        d, _, op, scale = block
        gene_scale, h = data.gene_scale[d], of_block(block)
        total = xp.asarray(op.matmul(gene_scale[:, None])) * scale
        lacks = total[:, 0] - h @ totals[d]
        index = xp.argsort(-lacks)[:rank]
        picks = (xp.arange(op.shape[0])[:, None] == index).astype(data.dtype)
        found = xp.asarray(op.rmatmul(picks * scale)).T * gene_scale
        cells.append(xp.maximum(found - h[index] @ (loadings.W + loadings.V[d]), 0))
        missing.append(lacks[index])
    order = xp.argsort(-xp.concatenate(missing), stable=True)[:rank]
    return xp.concatenate(missing)[order], xp.concatenate(cells)[order]


def _reseed(
    loadings: Loadings, reseeds: Any, dead: Any, missing: Array, cells: Array
) -> tuple[Loadings, Any]:
    """The first dead factor takes the worst cell, the next one the second worst."""
    xp = namespace(loadings.W)
    turn = xp.cumsum(dead) - 1
    taken = dead & (turn < len(missing))
    turn = xp.clip(turn, 0, len(missing) - 1)
    revived = taken & (missing[turn] > 0)
    w = xp.where(revived[:, None], cells[turn], loadings.W)
    v = xp.where(revived[:, None], 0, loadings.V)
    return Loadings(w, v.astype(w.dtype)), reseeds + taken
