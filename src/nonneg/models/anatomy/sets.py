"""Connected sets of disjoint regions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def singles(adjacent: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Every region, (n_regions, 1)."""
    return np.arange(len(adjacent), dtype=np.int32)[:, None]


def adjacent_pairs(adjacent: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Regions that touch, (n_pairs, 2)."""
    return np.argwhere(np.triu(adjacent, 1)).astype(np.int32)


def adjacent_triples(
    adjacent: NDArray[np.bool_], disjoint: NDArray[np.bool_] | None = None
) -> NDArray[np.int32]:
    """Three regions of which one touches both others, (n_triples, 3), each once.

    With ``disjoint``, the two others are disjoint as well. Where one of them holds the
    other, the union is that of a pair.
    """
    found: list[NDArray[Any]] = [np.empty((0, 3), np.int32)]
    for middle, row in enumerate(adjacent):
        neighbours = np.flatnonzero(row)
        first, second = np.triu_indices(neighbours.size, 1)
        i, k = neighbours[first], neighbours[second]
        # Of three that all touch, any may be in the middle: once, with the first there.
        keep = ~adjacent[i, k] | (middle < i)
        if disjoint is not None:
            keep &= disjoint[i, k]
        i, k = i[keep], k[keep]
        found.append(np.stack([i, np.full(i.size, middle), k], 1).astype(np.int32))
    return np.concatenate(found)


def connected_sets(
    adjacent: NDArray[np.bool_], disjoint: NDArray[np.bool_], max_regions: int
) -> list[NDArray[np.int32]]:
    """All sets of one region, of two, and of three, up to ``max_regions``."""
    sets = [singles(adjacent)]
    if max_regions > 1:
        sets.append(adjacent_pairs(adjacent))
    if max_regions > 2:
        sets.append(adjacent_triples(adjacent, disjoint))
    return sets
