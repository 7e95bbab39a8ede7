"""Regions of a dorsal cortex, given or drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._core.validators import check_positive_int
from ..atlas import Atlas

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Width of the dorsal cortex of a mouse, in mm.
_WIDTH = 10.0


def number_regions(
    given: Any, shape: tuple[int, int], n_regions: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], list[str], tuple[float, ...]]:
    """Number of the region of every pixel, -1 outside; names; spacing in mm."""
    if given is None:
        rows, columns = (check_positive_int(n, "shape") for n in shape)
        signed = _voronoi(rows, columns, n_regions, rng)
    elif isinstance(given, Atlas):
        signed = given.labels.copy()
        if given.hemispheres is not None:
            signed[given.hemispheres == 1] *= -1
    else:
        signed = np.asarray(given)
    if signed.dtype.kind not in "iu":
        msg = f"regions must be integers, but their dtype is {signed.dtype}."
        raise TypeError(msg)
    if signed.ndim != 2 or not signed.any():
        msg = (
            "regions must be an image with some label other than 0, but have shape "
            f"{signed.shape} and {np.count_nonzero(signed)} labels."
        )
        raise ValueError(msg)
    signed = signed.astype(np.int64)
    # The sign on the left of the image is the left hemisphere.
    column = np.arange(signed.shape[1])
    middle = {s: (np.sign(signed) == s) @ column for s in (-1, 1)}
    size = {s: max(int((np.sign(signed) == s).sum()), 1) for s in (-1, 1)}
    left = min((-1, 1), key=lambda s: middle[s].sum() / size[s])
    two = bool((signed < 0).any())
    found = np.unique(signed[signed != 0])
    found = found[np.lexsort((found != left * np.abs(found), np.abs(found)))]
    acronyms = given.structures["acronym"] if isinstance(given, Atlas) else None
    names = []
    for label in found.tolist():
        name = f"region_{abs(label)}" if acronyms is None else acronyms[abs(label)]
        side = "left" if np.sign(label) == left else "right"
        names.append(f"{name}_{side}" if two else str(name))
    order = np.argsort(found)
    number = order[np.searchsorted(found[order], signed).clip(max=found.size - 1)]
    spacing = (
        given.spacing
        if isinstance(given, Atlas)
        else (_WIDTH / signed.shape[1], _WIDTH / signed.shape[1])
    )
    return np.where(signed == 0, -1, number), names, spacing


def _voronoi(
    rows: int, columns: int, n_regions: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Voronoi regions of an ellipse, mirrored; the left hemisphere is negative."""
    half = columns // 2
    y, x = np.mgrid[:rows, :half]
    v = (2 * y + 1) / rows - 1
    # From the midline outwards.
    u = (half - x - 0.5) / (columns / 2)
    inside = (u / 0.95) ** 2 + (v / 0.95) ** 2 <= 1
    points = np.stack([v[inside], u[inside]], axis=1)
    if len(points) < n_regions:
        msg = f"n_regions={n_regions} are more than the pixels of a hemisphere."
        raise ValueError(msg)
    seeds = points[rng.permutation(len(points))[:n_regions]]
    # Some steps towards the middle of each region make them of similar size.
    for _ in range(8):
        nearest = nearest_seed(points, seeds)
        seeds = np.stack(
            [
                points[nearest == r].mean(axis=0) if (nearest == r).any() else seed
                for r, seed in enumerate(seeds)
            ]
        )
    nearest = nearest_seed(points, seeds)
    # Numbered from front to back.
    rank = np.argsort(np.argsort(seeds[:, 0]))
    left = np.zeros((rows, half), np.int64)
    left[inside] = rank[nearest] + 1
    middle = np.zeros((rows, columns - 2 * half), np.int64)
    return np.concatenate([-left, middle, left[:, ::-1]], axis=1)


def nearest_seed(
    points: NDArray[np.float64], seeds: NDArray[np.float64]
) -> NDArray[np.intp]:
    squares = (seeds**2).sum(axis=1) - 2 * points @ seeds.T
    return np.asarray(squares.argmin(axis=1))
