"""Loops over sets of regions, on the host."""

from __future__ import annotations

import numpy as np

from ...operators._numba import compiled


@compiled
def best_of_sets(parts, size, weight, sets, tie, best, where, start, stop):  # type: ignore[no-untyped-def]
    """Raise ``best`` and ``where`` to the best of the sets ``start:stop``.

    The score of a set is the sum of its regions' ``parts`` (n_regions, n_maps), times
    the ``weight`` of its size. The first of those with equal scores is kept.
    """
    n_maps = parts.shape[1]
    total = np.empty(n_maps, parts.dtype)
    for s in range(start, stop):
        total[:] = 0
        n = 0
        for q in range(sets.shape[1]):
            r = sets[s, q]
            n += size[r]
            for m in range(n_maps):
                total[m] += parts[r, m]
        w = weight[n]
        for m in range(n_maps):
            score = total[m] * w
            if score > best[m] + tie:
                best[m] = score
                where[m] = s


@compiled
def _enter(members, n, score, tie, held, sizes, scores, count):  # type: ignore[no-untyped-def]
    """Put a set among the best ones, unless it is there; their number."""
    width = scores.size
    if count == width and score <= scores[width - 1] + tie:
        return count
    place = count
    for b in range(count):
        # Of the same size and score: the same observations under other names.
        if sizes[b] == n and abs(scores[b] - score) <= tie:
            return count
        if score > scores[b]:
            place = b
            break
    for b in range(place, count):
        if sizes[b] == n and abs(scores[b] - score) <= tie:
            return count
    last = min(count, width - 1)
    for b in range(last, place, -1):
        held[b] = held[b - 1]
        sizes[b] = sizes[b - 1]
        scores[b] = scores[b - 1]
    held[place] = members
    sizes[place] = n
    scores[place] = score
    return min(count + 1, width)


@compiled
def beam(part, size, weight, sets, adjacent, disjoint, width, tie, best, found):  # type: ignore[no-untyped-def]
    """Best sets of more regions, each from the best ones with a region less.

    ``sets`` are all of the size from which sets are grown. ``found`` (n_sizes, number
    of regions at most) takes the best set of every larger size, ``best`` its score.
    """
    most = found.shape[1]
    scores, grown_scores = np.empty(width), np.empty(width)
    sizes, grown_sizes = np.empty(width, np.int64), np.empty(width, np.int64)
    held = np.full((width, most), -1, np.int32)
    grown = np.full((width, most), -1, np.int32)
    members = np.full(most, -1, np.int32)
    base = sets.shape[1]
    count = 0
    for s in range(sets.shape[0]):
        total, n = 0.0, 0
        for q in range(base):
            total += part[sets[s, q]]
            n += size[sets[s, q]]
        score = total * weight[n]
        if count < width or score > scores[width - 1]:
            members[:base] = sets[s]
            count = _enter(members, n, score, tie, held, sizes, scores, count)
    for level in range(best.size):
        length = base + level
        n_grown = 0
        for b in range(count):
            total = 0.0
            for q in range(length):
                total += part[held[b, q]]
            for r in range(part.size):
                touches = False
                apart = True
                for q in range(length):
                    apart = apart and disjoint[r, held[b, q]]
                    touches = touches or adjacent[r, held[b, q]]
                if not (apart and touches):
                    continue
                n = sizes[b] + size[r]
                score = (total + part[r]) * weight[n]
                members[:] = held[b]
                members[length] = r
                n_grown = _enter(
                    members, n, score, tie, grown, grown_sizes, grown_scores, n_grown
                )
        held, grown = grown, held
        sizes, grown_sizes = grown_sizes, sizes
        scores, grown_scores = grown_scores, scores
        count = n_grown
        if count:
            best[level] = scores[0]
            found[level] = held[0]
