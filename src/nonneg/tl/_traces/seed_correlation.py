"""Correlation of a pixel with all others."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..._adata.checks import as_numbers
from ..._adata.coordinates import point_spacing, read_coordinates
from ..._adata.read import resolve_adata
from ..._adata.traces import read_traces
from ..._adata.write import write_beside
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ..._core.validators import check_at_least
from ...models.traces.seeds import seed_correlations
from ...operators.threads import computing

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

type Seed = int | str | tuple[float, ...]


@checked
@shared_docs
def seed_correlation(
    adata: AnnData | SpatialData,
    seeds: Seed | list[Seed],
    *,
    key: str = "svd",
    radius: float = 0.0,
    spatial_key: str = "spatial",
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    """Correlate the time course of a pixel with those of all pixels.

    From a decomposition of the video, without the video: after the covariance of its R
    time courses is known, a map costs pixels x R operations, a few milliseconds. It is
    the first look at what goes with what, before any factorization into regions.

    Parameters
    ----------
    adata
        Annotated pixels x frames with a decomposition.
    seeds
        One seed, or a list of several: the position of a pixel among the observations,
        its name, or a tuple of coordinates x, y (and z) in the units of `spatial_key`,
        which stands for the nearest pixel.
    key
        Key of the decomposition: `"svd"`, `"hemo"`, or that of a factorization, whose
        reconstruction is looked at.
    radius
        Pixels up to this distance from the seed are averaged, in the units of
        `spatial_key`. 0: the pixel alone.
    spatial_key
        Coordinates in `obsm`.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets the following fields:

    `.obsm['X_svd_seed_correlation' | obsm_key + '_seed_correlation']` : :class:`numpy.ndarray` (shape `(n_obs, n_seeds)`)
        Pearson correlations; NaN for pixels that do not vary.
    `.uns['svd_seed_correlation' | key + '_seed_correlation']` : :class:`dict`
        `seeds`, a data frame with the name of each seed, its pixel, the coordinates and
        the number of pixels.

    Raises
    ------
    KeyError
        If there is no decomposition under the key, no such pixel or coordinates.
    ValueError
        If time courses are not finite, coordinates have another number of axes or are
        outside of the pixels, or `radius` is negative.

    See Also
    --------
    nonneg.pl.seed_correlation : the maps

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.quilt(12, 40)
    >>> nng.tl.seed_correlation(adata, [(2, 2), (8, 8)], key="truth")
    >>> adata.obsm["truth_seed_correlation"].shape
    (144, 2)
    """
    check_at_least(radius, 0, "radius")
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    traces = read_traces(target, key)
    coords = read_coordinates(target, spatial_key)
    several = _as_list(seeds)
    pixels = [_pixel(target, seed, coords) for seed in several]
    members = [
        np.flatnonzero(np.linalg.norm(coords - coords[pixel], axis=1) <= radius)
        if radius
        else np.array([pixel])
        for pixel in pixels
    ]
    u = traces.factors.scores.astype(np.float64)
    if not np.isfinite(u).all():
        msg = (
            f"adata.obsm[{traces.factors.keys.obsm!r}] holds entries that are infinite "
            "or NaN. Remove these pixels first."
        )
        raise ValueError(msg)
    with computing():
        found = seed_correlations(u, traces.signals, members)
    table = pd.DataFrame(
        {
            "seed": [str(target.obs_names[pixel]) for pixel in pixels],
            "pixel": pixels,
            "n_pixels": [some.size for some in members],
        }
    ).rename(index=str)
    for axis, values in zip("xyz", coords[pixels].T, strict=False):
        table[axis] = values
    write_beside(
        target,
        traces.factors,
        {
            "obsm": {"seed_correlation": found.astype(np.float32)},
            "uns": {"seed_correlation": {"seeds": table}},
        },
    )
    return target if copy else None


def _as_list(seeds: Seed | list[Seed]) -> list[Seed]:
    """Several seeds are a list; coordinates of one are a tuple."""
    if not isinstance(seeds, list):
        return [seeds]
    if not seeds:
        msg = "seeds is empty; name at least one pixel."
        raise ValueError(msg)
    return seeds


def _pixel(adata: AnnData, seed: Seed, coords: NDArray[np.float64]) -> int:
    """Position of a seed among the observations."""
    if isinstance(seed, str):
        if seed not in adata.obs_names:
            msg = f"There is no pixel {seed!r}; there are {list(adata.obs_names[:3])} …"
            raise KeyError(msg)
        return int(np.flatnonzero(adata.obs_names == seed)[0])
    if isinstance(seed, int | np.integer):
        pixel = operator.index(seed)
        if not 0 <= pixel < adata.n_obs:
            msg = f"There is no pixel {pixel}; there are 0 to {adata.n_obs - 1}."
            raise KeyError(msg)
        return pixel
    place = as_numbers(seed, "seeds").ravel()
    if place.size != coords.shape[1] or not np.isfinite(place).all():
        msg = f"The seed {seed!r} must have {coords.shape[1]} finite coordinates."
        raise ValueError(msg)
    low, high = coords.min(axis=0), coords.max(axis=0)
    # Of pixels at the edge, half is beyond their centres.
    margin = point_spacing(coords)
    if ((place < low - margin) | (place > high + margin)).any():
        msg = (
            f"The seed {seed!r} is outside of the pixels, which are from {low.tolist()} to "
            f"{high.tolist()}. Coordinates are those of `obsm`, in mm if pixels have a "
            "size."
        )
        raise ValueError(msg)
    return int(np.linalg.norm(coords - place, axis=1).argmin())
