"""Sources in regions, and what they do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from scipy.signal import lfilter

from .._adata.video import TIME
from ._cortex import nearest_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of the publication: widths of footprints as part of the root of the pixels, sines of a
# component, frequencies there are (radians a second), spread of amplitudes.
_SIGMA = 0.2
_SINES, _POOL, _BETA, _AMPLITUDE = 3, 10, (0.5, 0.63), 0.1
# Of sessions: widths of footprints, likewise; standard deviation of ΔF/F; bursts per
# second and the time in which they fade; correlation of the same region on both sides.
_SOURCE_SIGMA = (0.35, 0.5)
_SIZE = (0.02, 0.04)
# Width of the borders of footprints as part of the root of the pixels: the first at which
# so much of their energy is in the region.
_SPILL, _LOCALIZATION = (0.3, 0.2, 0.15, 0.1, 0.07, 0.05), 0.87
_BURSTS, _DECAY, _RISE = 1.0, 0.6, 0.1
_COUPLING = 0.5
# Seconds between events, and the size of responses in standard deviations.
_INTERVAL, _RESPONSE = (3.0, 5.0), 3.0
_TRIALS = ("left", "right")


def gaussians(
    labels: NDArray[np.intp], kept: list[int], voxel: NDArray[np.intp]
) -> NDArray[np.float32]:
    """A footprint in the middle of every region."""
    y, x = np.unravel_index(voxel, labels.shape)
    out = np.empty((voxel.size, len(kept)), np.float32)
    for i, r in enumerate(kept):
        place = np.argwhere(labels == r)
        middle = place.mean(axis=0)
        centre = place[((place - middle) ** 2).sum(axis=1).argmin()]
        variance = _SIGMA**2 * len(place)
        out[:, i] = np.exp(
            -((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 2 / variance
        )
    return out


def sines(
    k: int, time: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    pool = rng.uniform(*_BETA, _POOL)
    traces = np.zeros((time.size, k))
    for i in range(k):
        for beta in rng.permutation(pool)[:_SINES]:
            phase = rng.uniform(0, 2 * np.pi)
            traces[:, i] += rng.normal(1, _AMPLITUDE) * np.sin(beta * time + phase)
    return traces


def _partner(name: str) -> str:
    """A region's name in the other hemisphere."""
    base, _, side = name.rpartition("_")
    return f"{base}_{ {'left': 'right', 'right': 'left'}.get(side, side) }"


def draw_ranks(
    kept: list[int],
    names: list[str],
    n_sources: tuple[int, int],
    rng: np.random.Generator,
) -> list[int]:
    """Number of sources of each region, the same in both hemispheres."""
    given: dict[str, int] = {}
    # All numbers occur where there are regions enough.
    fewest, most = n_sources
    options = np.arange(fewest, most + 1)
    bases = list(dict.fromkeys(frozenset((names[r], _partner(names[r]))) for r in kept))
    drawn = rng.permutation(np.resize(options, len(bases)))
    for pair, number in zip(bases, drawn.tolist(), strict=True):
        given |= dict.fromkeys(pair, number)
    return [given[names[r]] for r in kept]


def draw_sources(
    labels: NDArray[np.intp], region: NDArray[np.intp], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Footprints (n_pixels, k): apart in their region, overlapping, faint outside."""
    y, x = np.indices(labels.shape)
    out = np.empty((labels.size, region.size), np.float32)
    for r in np.unique(region):
        place = np.argwhere(labels == r).astype(np.float64)
        columns = np.flatnonzero(region == r)
        seeds = place[rng.permutation(len(place))[: columns.size]]
        # k-means spreads them out.
        for _ in range(10):
            nearest = nearest_seed(place, seeds)
            seeds = np.stack(
                [
                    place[nearest == i].mean(axis=0) if (nearest == i).any() else seed
                    for i, seed in enumerate(seeds)
                ]
            )
        inside = labels == r
        for column, seed in zip(columns, seeds, strict=True):
            # Narrower where there are more, but by less than would part them.
            sigma = rng.uniform(*_SOURCE_SIGMA) * len(place) ** 0.5
            sigma /= columns.size**0.25
            bump = np.exp(-((y - seed[0]) ** 2 + (x - seed[1]) ** 2) / 2 / sigma**2)
            # Cut off beyond the border, as sharply as it takes.
            for part in _SPILL:
                soft = part * len(place) ** 0.5
                image = bump * gaussian_filter(inside.astype(np.float64), soft)
                if (image[inside] ** 2).sum() >= _LOCALIZATION * (image**2).sum():
                    break
            out[:, column] = (image / image.max()).ravel()
    return out


def draw_activity(
    region: NDArray[np.intp],
    names: list[str],
    time: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], pd.DataFrame, NDArray[np.float64], int]:
    """Traces, events, behaviour, and the region that carries both."""
    fs = 1 / (time[1] - time[0]) if time.size > 1 else 1.0
    raw = _bursts((time.size, region.size), fs, rng)
    for r in np.unique(region):
        # The second of two partners takes a part of the first.
        other = _partner(names[r])
        if other in names[:r] and names.index(other) in region:
            of, mine = region == names.index(other), region == r
            raw[:, mine] *= np.sqrt(1 - _COUPLING**2)
            raw[:, mine] += _COUPLING * raw[:, of]
    number, size = np.unique(region, return_counts=True)
    several = number[size > 1] if (size > 1).any() else number
    chosen = int(rng.permutation(several)[0])
    sources = np.flatnonzero(region == chosen)

    onset = np.cumsum(rng.uniform(*_INTERVAL, int(time[-1] / _INTERVAL[0]) + 1))
    onset = onset[onset < time[-1] - _INTERVAL[0] / 2]
    trial = rng.permutation(np.resize(_TRIALS, onset.size))
    for start, label in zip(onset, trial, strict=True):
        after = np.maximum(time - start, 0)
        kernel = _RESPONSE * after / 0.3 * np.exp(1 - after / 0.3)
        # Trials of the two kinds excite other sources, or the only one differently.
        first = label == _TRIALS[0]
        if sources.size > 1:
            raw[:, sources[0 if first else 1]] += kernel
        else:
            raw[:, sources[0]] += kernel * (1 if first else 0.3)
    mix = rng.uniform(0.5, 1, sources.size)
    course = raw[:, sources] @ mix
    behavior = course / max(course.std(), 1e-12) + 0.3 * rng.standard_normal(time.size)
    traces = raw * rng.uniform(*_SIZE, region.size)
    traces -= traces.mean(axis=0)
    events = pd.DataFrame({TIME: onset, "label": trial.astype(object)})
    events.index = events.index.astype(str)
    return traces, events, behavior, chosen


def _bursts(
    shape: tuple[int, int], fs: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Bursts that rise and fade, at unit variance, already going on at the start."""
    lead = int(5 * _DECAY * fs) + 1
    size = (shape[0] + lead, shape[1])
    raw = rng.poisson(_BURSTS / fs, size) * rng.exponential(1, size)
    for seconds in (_RISE, _DECAY):
        keep = np.exp(-1 / (seconds * fs))
        raw = lfilter([1 - keep], [1.0, -keep], raw, axis=0)
    raw = raw[lead:] - raw[lead:].mean(axis=0)
    return raw / np.maximum(raw.std(axis=0), 1e-12)
