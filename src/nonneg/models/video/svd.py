"""Truncated singular value decompositions of what is read in blocks of frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from .low_rank import LowRank, gram, normal_form

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


class FrameBlocks(Protocol):
    """Frames that can be read again and again."""

    shape: tuple[int, int]
    """Pixels and frames."""

    def __iter__(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Frames in order, as (n_pixels, n)."""
        ...


def randomized_svd(
    blocks: FrameBlocks,
    n_components: int,
    *,
    n_oversamples: int,
    n_iter: int,
    rng: np.random.Generator,
) -> LowRank:
    """By subspace iteration: ``n_iter + 2`` passes.

    Only the mean, U and V are in memory beside a block. Blocks are centred by the mean
    of the first one before they are multiplied: fluctuations of a percent would lose
    their digits beside the mean.
    """
    n_pixels, n_frames = blocks.shape
    k = min(n_components + n_oversamples, n_pixels, n_frames)
    sketch = rng.standard_normal((n_frames, k), np.float32)
    z = np.zeros((n_pixels, k), np.float32)
    first: NDArray[np.float32] | None = None
    total = np.zeros(n_pixels)
    for part, block in blocks:
        if first is None:
            first = block.mean(axis=1, dtype=np.float64).astype(np.float32)
        np.subtract(block, first[:, None], out=block)
        total += block.sum(axis=1, dtype=np.float64)
        z += block @ sketch[part]
    assert first is not None
    rest = (total / n_frames).astype(np.float32)
    z -= np.outer(rest, sketch.sum(axis=0))
    v = sketch
    for i in range(n_iter + 1):
        q, _ = np.linalg.qr(z)
        offset = rest @ q
        last = i == n_iter
        z = np.zeros((0 if last else n_pixels, k), np.float32)
        for part, block in blocks:
            np.subtract(block, first[:, None], out=block)
            v[part] = block.T @ q - offset
            if not last:
                z += block @ v[part]
    values, vectors = np.linalg.eigh(gram(v))
    order = np.argsort(values)[::-1][:n_components]
    turn = vectors[:, order].astype(np.float32)
    product = normal_form(q @ turn, v @ turn)
    return product._replace(mean=first + rest)


def blockwise_svd(
    blocks: FrameBlocks, groups: list[NDArray[np.intp]], n_components: int
) -> tuple[LowRank, NDArray[np.int32]]:
    """Of small groups of neighbouring pixels first: what exceeds the noise. Two passes.

    Within a group, pixels are divided by their noise, which second differences over time
    show. Components are kept whose variance exceeds what noise alone would have, by the
    law of Marchenko and Pastur.

    Returns the product, and the number of components of each group.
    """
    n_pixels, n_frames = blocks.shape
    noise, mean, grams = _second_moments(blocks, groups)
    bases: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    ranks = []
    for group, moment in zip(groups, grams, strict=True):
        sigma = noise[group]
        values, vectors = np.linalg.eigh(moment / np.outer(sigma, sigma))
        # The edge, and twice the width of its fluctuations.
        p = len(group)
        edge = (1 + np.sqrt(p / n_frames)) ** 2
        edge *= 1 + 2 * min(p, n_frames) ** (-2 / 3)
        kept = vectors[:, values > edge]
        ranks.append(kept.shape[1])
        # U = σ W has orthonormal columns Q, and coefficients are R Wᵀ y / σ.
        q, r = np.linalg.qr(sigma[:, None] * kept)
        back = (kept / sigma[:, None]) @ r.T
        bases.append((q.astype(np.float32), back.astype(np.float32)))
    v = np.empty((n_frames, sum(ranks)), np.float32)
    stops = np.cumsum(ranks)
    for frames, block in blocks:
        np.subtract(block, mean[:, None], out=block)
        for group, (_, to), stop in zip(groups, bases, stops, strict=True):
            v[frames, stop - to.shape[1] : stop] = block[group].T @ to
    turn = _leading(v, n_components)
    u = np.zeros((n_pixels, turn.shape[1]), np.float32)
    for group, (basis, _), stop in zip(groups, bases, stops, strict=True):
        u[group] = basis @ turn[stop - basis.shape[1] : stop]
    return normal_form(u, v @ turn)._replace(mean=mean), np.array(ranks, np.int32)


def _leading(v: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """Right singular vectors (k, n) of V (n_frames, k)."""
    n = min(n, *v.shape)
    if v.shape[1] <= v.shape[0]:
        vectors = np.linalg.eigh(gram(v))[1]
        return vectors[:, ::-1][:, :n].astype(np.float32)
    # Fewer frames than components.
    values, vectors = np.linalg.eigh(gram(v.T))
    kept = values[::-1][:n] > max(values[-1], 0) * 1e-12
    left = vectors[:, ::-1][:, :n][:, kept]
    turn = v.T @ left / np.sqrt(values[::-1][:n][kept])
    return np.asarray(turn, np.float32)


def _second_moments(
    blocks: FrameBlocks, groups: list[NDArray[np.intp]]
) -> tuple[NDArray[np.float32], NDArray[np.float32], list[NDArray[np.float32]]]:
    """Noise and mean of pixels, and covariances of groups. One pass."""
    n_pixels, n_frames = blocks.shape
    first: NDArray[np.float32] | None = None
    total, rough = np.zeros(n_pixels), np.zeros(n_pixels)
    n_rough = 0
    tail = np.empty((n_pixels, 0), np.float32)
    grams = [np.zeros((len(group), len(group)), np.float32) for group in groups]
    for _, block in blocks:
        if first is None:
            first = block.mean(axis=1, dtype=np.float64).astype(np.float32)
        np.subtract(block, first[:, None], out=block)
        total += block.sum(axis=1, dtype=np.float64)
        for i, group in enumerate(groups):
            rows = block[group]
            grams[i] += rows @ rows.T
        # Also across the border of two blocks, which may be of a frame.
        for some in (np.concatenate([tail, block[:, :2]], axis=1), block):
            if some.shape[1] > 2:
                second = np.diff(some, 2, axis=1)
                rough += np.einsum("nt,nt->n", second, second, dtype=np.float64)
                n_rough += second.shape[1]
        tail = np.concatenate([tail, block[:, -2:]], axis=1)[:, -2:]
    assert first is not None
    rest = total / n_frames
    for i, group in enumerate(groups):
        outer = np.outer(rest[group], rest[group])
        grams[i] = (grams[i] / n_frames - outer).astype(np.float32)
    # The variance of second differences of noise is six times its own.
    noise = np.sqrt(rough / (6 * max(n_rough, 1)))
    spread = np.sqrt(sum(float(np.trace(moment)) for moment in grams) / n_pixels)
    floor = 1e-6 * max(float(np.median(noise)), float(spread), 1e-9)
    return (
        np.maximum(noise, floor).astype(np.float32),
        (first + rest).astype(np.float32),
        grams,
    )
