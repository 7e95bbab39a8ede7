"""Fewer components: those that share a pattern become one."""

from __future__ import annotations

import numpy as np

from ..._core.typing import Floats


def merge_alike(scores: Floats, loadings: Floats, rank: int) -> tuple[Floats, Floats]:
    """Join the two components that lose least by it, until ``rank`` are left.

    Columns of both (n_obs, k) and (n_vars, k) sum to the mass of the component: the
    entries, or counts, that it accounts for.
    """
    scores, loadings = (x.astype(np.float64) for x in (scores, loadings))
    while scores.shape[1] > rank:
        loss = merging_loss(scores, loadings)
        a, b = np.unravel_index(np.argmin(loss), loss.shape)
        for part in (scores, loadings):
            part[:, a] += part[:, b]
        scores, loadings = (np.delete(part, b, axis=1) for part in (scores, loadings))
    return scores, loadings


def merging_loss(scores: Floats, loadings: Floats) -> Floats:
    """Bound of what every pair loses if it is made one component; inf on the diagonal.

    The Kullback-Leibler divergence of two components from the best single one is the
    mutual information of rows and columns in their sum. As rows and columns depend on
    each other only through the component, it is at most what either tells of that.
    """
    loss = np.minimum(_information(scores), _information(loadings))
    np.fill_diagonal(loss, np.inf)
    return loss


def _information(part: Floats) -> Floats:
    """What an index tells of which of two components it is of, times their mass."""

    def entropy(mass: Floats) -> Floats:
        own = np.where(mass > 0, mass * np.log(np.where(mass > 0, mass, 1)), 0)
        total = mass.sum(0)
        return own.sum(0) - total * np.log(np.where(total > 0, total, 1))

    alone = entropy(part)
    both = np.stack([entropy(part + column[:, None]) for column in part.T])
    return alone + alone[:, None] - both
