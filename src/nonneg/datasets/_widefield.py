"""Simulated sessions of widefield imaging."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from scipy.signal import lfilter

from .._adata.keys import factor_keys
from .._adata.schema import SCHEMA
from .._adata.video import TIME, new_video
from .._adata.volume import VOXEL, Box
from .._adata.write import write_factors
from .._core.optional import import_optional
from .._core.random import as_seed
from .._core.validators import check_at_least, check_one_of, check_positive_int
from ..atlas import Atlas
from . import _movie

if TYPE_CHECKING:
    from os import PathLike

    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray

    from .._core.random import RNGLike

# Width of the dorsal cortex of a mouse, in mm.
_WIDTH = 10.0
_KINDS: dict[str, dict[str, Any]] = {
    # As published: 58 regions of some 2,000 pixels each at 30 Hz.
    "paper": {"shape": (534, 533), "n_regions": 29, "n_frames": 10_000, "fs": 30.0},
    "session": {"shape": (64, 80), "n_regions": 6, "n_frames": 900, "fs": 15.0},
}
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


def widefield(
    kind: Literal["session", "paper"] = "session",
    *,
    form: Literal["dense", "dask", "svd"] | None = None,
    regions: ArrayLike | Atlas | None = None,
    shape: tuple[int, int] | None = None,
    n_regions: int | None = None,
    n_sources: tuple[int, int] = (1, 4),
    n_frames: int | None = None,
    fs: float | None = None,
    hemodynamics: float = 1.0,
    motion: float = 0.8,
    noise: float = 1.0,
    mask: bool = True,
    min_pixels: int = 100,
    tiff: str | PathLike[str] | None = None,
    rng: RNGLike = 0,
) -> AnnData:
    r"""Simulate widefield calcium imaging: pixels x frames with known components.

    `"paper"` is the simulation of :cite:t:`Saxena2020`: a Gaussian footprint in every
    region, and sums of three sines, of ten frequencies in all, as time courses. It is
    made as U and V, without pixels x frames.

    `"session"` is a recording with two light sources in turn. Sources in a region
    overlap; between a region and its partner in the other hemisphere they correlate. Of
    pixel :math:`n`, frames are

    .. math::

        F^\mathrm{blue}_n &= \bar F_n \, (1 + \textstyle\sum_k a_{nk} c_k(t)
        + \kappa_n h_n(t)), \\
        F^\mathrm{violet}_n &= \bar F'_n \, (1 + h_n(t)),

    with vasomotion, breathing and heart beat :math:`h`; then moved, with shot noise, as
    whole numbers of 16 bits. The violet channel is lit half a frame after the blue one.
    One region responds to events, and behaviour follows it.

    Parameters
    ----------
    kind
        What to simulate.
    form
        `"dense"`: channels in memory, as pixels x frames. `"dask"`: made in blocks of
        frames when asked for. `"svd"`: no channels, but U and V of the neural part, free
        of noise, as :func:`nonneg.pp.svd` stores them. `None`: `"svd"` for the paper's,
        `"dense"` for a session.
    regions
        Image of region labels, 0 outside; labels of both signs are two hemispheres. Or
        an :class:`~nonneg.atlas.Atlas` of two axes. `None`: Voronoi regions in an
        ellipse, the same in both hemispheres.
    shape
        Rows and columns of the image without `regions`. `None`: (534, 533) or (64, 80).
    n_regions
        Number of regions in each hemisphere without `regions`. `None`: 29 or 6.
    n_sources
        Smallest and largest number of sources in a region, for sessions.
    n_frames
        Frames of each channel. `None`: 10,000 or 900.
    fs
        Frames per second of each channel. `None`: 30 or 15.
    hemodynamics
        Strength of hemodynamics; 0: none, 1: some three times the variance of neural
        activity.
    motion
        Standard deviation of rigid shifts, in pixels; 0: none.
    noise
        Shot noise, relative to that of a count per photoelectron; 0: none.
    mask
        Keep the pixels of regions only. `False`: all pixels of the image, which motion
        correction is best at.
    min_pixels
        Smaller regions have no components.
    tiff
        Write the frames of a session, with both channels in turn and all pixels, to this
        TIFF file as well (extra `widefield`).
    rng
        Seed or :class:`numpy.random.Generator`; the seed used is stored in `params`.

    Returns
    -------
    AnnData of pixels x frames, with the violet channel in `.layers['violet']`, and:

    `.obsm['true_footprints']` : :class:`numpy.ndarray` (shape `(n_obs, n_components)`)
        Footprints :math:`a`, 1 at most.
    `.varm['true_traces']` : :class:`numpy.ndarray` (shape `(n_vars, n_components)`)
        Time courses :math:`c`, ΔF/F.
    `.uns['truth']` : :class:`dict`
        `region` of each component, `informative_region`, and `params`. The entry has the
        form of a fitted one: functions that take a `key` take `"truth"`.
    `.obs['region']`, `.obs['hemisphere']`
        Regions, one per hemisphere, and hemispheres, where they are known.
    `.var['time']`
        Seconds, of the blue channel.
    `.obsm['true_hemo_maps']`, `.varm['true_hemo']`, `.obs['true_hemo_coef']`
        Of sessions: :math:`h` as a product, at the times of the blue channel, and
        :math:`\kappa`.
    `.varm['true_shifts']` : :class:`numpy.ndarray` (shape `(n_vars, 2)`)
        Rows and columns, in pixels, by which the image has moved.
    `.uns['events']`, `.var['behavior']`
        Times and labels of events, and behaviour at every frame.
    `.uns['volume']`, `.obs['voxel']`, `.obsm['spatial']`, `.uns['video']`
        As :func:`nonneg.io.read_video` writes them.
    `.obsm['X_svd']`, `.varm['svd']`, `.obs['svd_mean']`, `.uns['svd']`
        With `form="svd"`.

    Raises
    ------
    TypeError
        If labels or a number are not integers where they have to be.
    ValueError
        If numbers are out of range, regions too small, or the paper's simulation is
        asked for as a recording.
    ImportError
        If `tiff` or `form="dask"` is asked for, and the extra `widefield` is missing.

    See Also
    --------
    nonneg.pp.svd : compresses recordings

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.widefield(shape=(40, 48), n_regions=2, n_frames=100)
    >>> adata.n_vars, "violet" in adata.layers
    (100, True)
    >>> list(dict.fromkeys(adata.uns["truth"]["region"]))
    ['region_1_left', 'region_1_right', 'region_2_left', 'region_2_right']
    """
    check_one_of(kind, tuple(_KINDS), "kind")
    check_one_of(form, (None, "dense", "dask", "svd"), "form")
    default = _KINDS[kind]
    if kind == "paper" and (form not in {None, "svd"} or tiff is not None):
        msg = (
            "kind='paper' is made as U and V, form='svd'. Take kind='session' for a "
            "recording."
        )
        raise ValueError(msg)
    form = form or ("svd" if kind == "paper" else "dense")
    strengths = {"hemodynamics": hemodynamics, "motion": motion, "noise": noise}
    params = {
        "kind": kind,
        **_numbers(
            default["n_frames"] if n_frames is None else n_frames,
            default["fs"] if fs is None else fs,
            strengths,
        ),
        "min_pixels": int(min_pixels),
        "seed": as_seed(rng),
    }
    fewest, most = (check_positive_int(n, "n_sources") for n in n_sources)
    if fewest > most:
        msg = f"n_sources={n_sources} must be in ascending order."
        raise ValueError(msg)
    n_frames, fs, seed = params["n_frames"], params["fs"], params["seed"]
    rng = np.random.default_rng(seed)
    labels, names, spacing = _regions(
        regions,
        shape or default["shape"],
        check_positive_int(n_regions or default["n_regions"], "n_regions"),
        rng,
    )
    kept = [r for r in range(len(names)) if (labels == r).sum() >= min_pixels]
    if not kept:
        msg = f"No region has min_pixels={min_pixels} pixels. Lower it."
        raise ValueError(msg)
    brain = labels >= 0
    voxel = np.flatnonzero(brain if mask else np.ones(brain.shape, bool))
    box = Box(labels.shape, spacing, (0.0, 0.0))
    time = np.arange(n_frames) / fs
    channels = ("blue",) if kind == "paper" else _movie.CHANNELS
    adata = new_video(box, voxel, time, fs=fs, channels=channels)
    _annotate(adata, labels.ravel()[voxel], names)
    if kind == "paper":
        region = np.array(kept)
        footprints = _gaussians(labels, kept, voxel)
        traces = _sines(len(kept), time, rng)
        informative = None
    else:
        rank = _ranks(kept, names, (fewest, most), rng)
        region = np.repeat(kept, rank)
        movie, informative = _recording(adata, labels, region, names, params, rng=rng)
        footprints = movie.crop(movie.footprints)[voxel]
        traces = movie.traces.astype(np.float64)
        _add_channels(adata, movie, voxel, form)
        if tiff is not None:
            _write_tiff(movie, tiff)
    adata.obsm["true_footprints"] = footprints.astype(np.float32)
    adata.varm["true_traces"] = traces.astype(np.float32)
    truth = {
        "schema": SCHEMA,
        "method": "widefield",
        "obsm_key": "true_footprints",
        "varm_key": "true_traces",
        "region": np.array([names[r] for r in region], object),
        "params": params,
    }
    if informative is not None:
        truth["informative_region"] = informative
    adata.uns["truth"] = truth
    if form == "svd":
        _add_svd(adata, footprints, traces, params)
    return adata


def _numbers(n_frames: int, fs: float, strengths: dict[str, float]) -> dict[str, Any]:
    """Numbers of a simulation, checked."""
    if not 0 < fs < np.inf:
        msg = f"fs={fs} must be positive and finite, in Hz."
        raise ValueError(msg)
    for name, value in strengths.items():
        check_at_least(value, 0, name)
    return {
        "n_frames": check_positive_int(n_frames, "n_frames"),
        "fs": float(fs),
        **{name: float(value) for name, value in strengths.items()},
    }


def _recording(
    adata: AnnData,
    labels: NDArray[np.intp],
    region: NDArray[np.intp],
    names: list[str],
    params: dict[str, Any],
    *,
    rng: np.random.Generator,
) -> tuple[_movie.Movie, str]:
    """A session, and the region that carries behaviour; its truth is written."""
    n_frames, voxel = adata.n_vars, adata.obs[VOXEL].to_numpy()
    canvas = _movie.on_canvas(labels + 1) - 1
    brain = canvas >= 0
    maps = _sources(canvas, region, rng)
    time = adata.var[TIME].to_numpy()
    traces, events, behavior, chosen = _activity(region, names, time, rng)
    hemo_maps, hemo, coef = _movie.hemodynamics(
        brain, n_frames, params["fs"], params["hemodynamics"], rng
    )
    movie = _movie.Movie(
        shape=(labels.shape[0], labels.shape[1]),
        canvas=(canvas.shape[0], canvas.shape[1]),
        baseline=_movie.baseline(brain, rng),
        footprints=maps,
        traces=traces.astype(np.float32),
        hemo_maps=hemo_maps,
        hemo=hemo,
        hemo_coef=coef,
        shifts=_movie.motion(n_frames, params["motion"], rng),
        noise=params["noise"],
        seed=params["seed"],
    )
    adata.obsm["true_hemo_maps"] = movie.crop(hemo_maps)[voxel]
    adata.obs["true_hemo_coef"] = movie.crop(coef)[voxel]
    adata.varm["true_hemo"] = hemo[0]
    adata.varm["true_shifts"] = movie.shifts
    adata.var["behavior"] = behavior
    adata.uns["events"] = events
    return movie, names[chosen]


def _regions(
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
        nearest = _nearest(points, seeds)
        seeds = np.stack(
            [
                points[nearest == r].mean(axis=0) if (nearest == r).any() else seed
                for r, seed in enumerate(seeds)
            ]
        )
    nearest = _nearest(points, seeds)
    # Numbered from front to back.
    rank = np.argsort(np.argsort(seeds[:, 0]))
    left = np.zeros((rows, half), np.int64)
    left[inside] = rank[nearest] + 1
    middle = np.zeros((rows, columns - 2 * half), np.int64)
    return np.concatenate([-left, middle, left[:, ::-1]], axis=1)


def _nearest(
    points: NDArray[np.float64], seeds: NDArray[np.float64]
) -> NDArray[np.intp]:
    squares = (seeds**2).sum(axis=1) - 2 * points @ seeds.T
    return np.asarray(squares.argmin(axis=1))


def _annotate(adata: AnnData, number: NDArray[np.intp], names: list[str]) -> None:
    adata.obs["region"] = pd.Categorical.from_codes(number, pd.Index(names))
    sides = ["left", "right"]
    if all(name.endswith(("_left", "_right")) for name in names):
        side = np.array([sides.index(name.rpartition("_")[2]) for name in names])
        adata.obs["hemisphere"] = pd.Categorical.from_codes(
            np.where(number < 0, -1, side[number]), pd.Index(sides)
        )


def _gaussians(
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


def _sines(
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


def _ranks(
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


def _sources(
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
            nearest = _nearest(place, seeds)
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


def _activity(
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


def _add_svd(
    adata: AnnData,
    footprints: NDArray[Any],
    traces: NDArray[np.float64],
    params: dict[str, Any],
) -> None:
    """U and V of a product, through its Gram matrices."""
    footprints = footprints.astype(np.float64)
    mean = traces.mean(axis=0)
    q_a, r_a = np.linalg.qr(footprints)
    q_c, r_c = np.linalg.qr(traces - mean)
    u, s, vt = np.linalg.svd(r_a @ r_c.T)
    # Sums of few sines have a lower rank than their number.
    kept = s > s[0] * 1e-6
    write_factors(
        adata,
        factor_keys("svd"),
        method="svd",
        scores=q_a @ u[:, kept],
        loadings=(q_c @ vt.T[:, kept]) * s[kept],
        params={"n_components": int(kept.sum()), "layer": None, "seed": params["seed"]},
        info={"singular_values": s[kept].astype(np.float32)},
        side={"obs": {"mean": (footprints @ mean).astype(np.float32)}},
    )


def _add_channels(
    adata: AnnData, movie: _movie.Movie, voxel: NDArray[np.intp], form: str
) -> None:
    if form == "svd":
        return
    n_blocks = -(-movie.n_frames // _movie.BLOCK)
    if form == "dask":
        da = import_optional("dask.array", "widefield", "lazy recordings")
        dask = import_optional("dask", "widefield", "lazy recordings")
        blocks = [dask.delayed(_pixels)(movie, i, voxel) for i in range(n_blocks)]
        sizes = np.full(n_blocks, _movie.BLOCK)
        sizes[-1] = movie.n_frames - _movie.BLOCK * (n_blocks - 1)
        values = [
            da.concatenate(
                [
                    da.from_delayed(block[i], (voxel.size, int(n)), np.uint16)
                    for block, n in zip(blocks, sizes, strict=True)
                ],
                axis=1,
            )
            for i in range(len(_movie.CHANNELS))
        ]
    else:
        values = list(
            np.concatenate([_pixels(movie, i, voxel) for i in range(n_blocks)], axis=2)
        )
    adata.X = values[0]
    for name, value in zip(_movie.CHANNELS[1:], values[1:], strict=True):
        adata.layers[name] = value


def _pixels(
    movie: _movie.Movie, number: int, voxel: NDArray[np.intp]
) -> NDArray[np.uint16]:
    """(n_channels, n_pixels, n): a block with frames last."""
    frames = movie.frames(number)
    flat = frames.reshape(*frames.shape[:2], -1)[:, :, voxel]
    return np.ascontiguousarray(flat.transpose(0, 2, 1))


def _write_tiff(movie: _movie.Movie, path: str | PathLike[str]) -> None:
    tifffile = import_optional("tifffile", "widefield", "TIFF files")
    n = len(_movie.CHANNELS) * movie.n_frames
    tifffile.imwrite(
        path,
        # Channels in turn.
        (
            frame
            for block in movie.blocks()
            for frame in block.swapaxes(0, 1).reshape(-1, *movie.shape)
        ),
        shape=(n, *movie.shape),
        dtype=np.uint16,
        photometric="minisblack",
        bigtiff=n * movie.shape[0] * movie.shape[1] * 2 > 2**31,
    )
