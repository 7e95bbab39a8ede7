"""Simulated sessions of widefield imaging."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .._adata.files import replacing, writing
from .._adata.keys import factor_keys
from .._adata.schema import SCHEMA
from .._adata.video import TIME, new_video
from .._adata.volume import VOXEL, Box
from .._adata.write import write_factors
from .._core.arguments import checked
from .._core.optional import import_optional
from .._core.random import as_seed
from .._core.validators import check_at_least, check_one_of, check_positive_int
from . import _movie
from ._cortex import number_regions
from ._sources import draw_activity, draw_ranks, draw_sources, gaussians, sines

if TYPE_CHECKING:
    from os import PathLike

    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray

    from .._core.random import RNGLike
    from ..atlas import Atlas

# Frames per second: bursts last a few tenths of a second.
_RATES = (1e-3, 1e5)

_KINDS: dict[str, dict[str, Any]] = {
    # As published: 58 regions of some 2,000 pixels each at 30 Hz.
    "paper": {"shape": (534, 533), "n_regions": 29, "n_frames": 10_000, "fs": 30.0},
    "session": {"shape": (64, 80), "n_regions": 6, "n_frames": 900, "fs": 15.0},
}


@checked
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
    labels, names, spacing = number_regions(
        regions,
        default["shape"] if shape is None else shape,
        check_positive_int(
            default["n_regions"] if n_regions is None else n_regions, "n_regions"
        ),
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
        footprints = gaussians(labels, kept, voxel)
        traces = sines(len(kept), time, rng)
        informative = None
    else:
        rank = draw_ranks(kept, names, (fewest, most), rng)
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
    if not _RATES[0] <= fs <= _RATES[1]:
        msg = f"fs={fs} must be from {_RATES[0]:g} to {_RATES[1]:g} Hz."
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
    maps = draw_sources(canvas, region, rng)
    time = adata.var[TIME].to_numpy()
    traces, events, behavior, chosen = draw_activity(region, names, time, rng)
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


def _annotate(adata: AnnData, number: NDArray[np.intp], names: list[str]) -> None:
    adata.obs["region"] = pd.Categorical.from_codes(number, pd.Index(names))
    sides = ["left", "right"]
    if all(name.endswith(("_left", "_right")) for name in names):
        side = np.array([sides.index(name.rpartition("_")[2]) for name in names])
        adata.obs["hemisphere"] = pd.Categorical.from_codes(
            np.where(number < 0, -1, side[number]), pd.Index(sides)
        )


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
    u, s, vt = np.linalg.svd(r_a @ r_c.T, full_matrices=False)
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
    with (
        writing(f"tiff={str(path)!r}", "Nothing of it is left."),
        replacing(Path(path)) as unfinished,
        # Where it fails, tifffile leaves what it opened open.
        unfinished.open("wb") as file,
    ):
        tifffile.imwrite(
            file,
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
