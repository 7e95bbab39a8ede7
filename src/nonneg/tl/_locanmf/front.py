"""What verbs on regions of a movie share: reading it, and storing components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._adata.footprints import read_movie, read_parcellation
from ..._adata.write import write_factors
from ..._core.text import counted
from ..._core.validators import check_positive_int
from ..._core.warnings import warn
from ...models.locanmf.problem import make_movie, orthonormal_frames

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from ..._adata.footprints import Parcellation
    from ..._adata.keys import FactorKeys
    from ...models.locanmf.baselines import Summary
    from ...models.locanmf.problem import Movie
    from ...models.locanmf.search import Fit

# Slivers at the edge of the view, as a part of the median size: their components would
# only follow what goes on next to them.
_SLIVER = 0.05


def regions_to_fit(
    adata: AnnData,
    region_key: str,
    hemisphere_key: str | None,
    *,
    min_pixels: int | None,
    max_rank: int = 1,
) -> Parcellation:
    """Regions that are large enough; the others are named in a warning.

    Without ``min_pixels``: for their components, and not slivers beside the others.
    """
    parcels = read_parcellation(adata, region_key, hemisphere_key)
    why = "which min_pixels asks for"
    if min_pixels is None:
        min_pixels = max(max_rank, int(_SLIVER * np.median(parcels.size)))
        why = (
            "as many as max_rank, or a twentieth of the median region (min_pixels "
            "decides)"
        )
    check_positive_int(min_pixels, "min_pixels")
    kept = np.flatnonzero(parcels.size >= min_pixels)
    dropped = [
        f"{parcels.names[i]} ({parcels.size[i]})"
        for i in np.setdiff1d(np.arange(len(parcels.names)), kept)
    ]
    if not kept.size:
        msg = (
            f"No region of adata.obs[{region_key!r}] has {min_pixels} pixels, {why}; "
            f"there are {', '.join(dropped[:5])}."
        )
        raise ValueError(msg)
    if dropped:
        warn(
            f"{counted(len(dropped), 'region', 'has')} fewer than {min_pixels} pixels, {why}, and no "
            f"components: {', '.join(dropped[:10])}{' …' if len(dropped) > 10 else ''}."
        )
    return parcels.keep(kept)


def build_movie(
    adata: AnnData, key: str, parcels: Parcellation, *, with_mean: bool = False
) -> Movie:
    """The movie of a key, pixels in the order of regions.

    With ``with_mean``, the means of pixels over time belong to it.
    """
    movie = read_movie(adata, key)
    u, traces = np.asarray(movie.u), np.asarray(movie.traces)
    if with_mean and movie.mean is None and (traces < 0).any():
        warn(
            f"nonnegative_traces=True needs the mean of each pixel, and adata.obs has no "
            f"'{key}_mean': the movie is taken to vary around 0, and what lies below it "
            "cannot be explained. Keep the mean image when the movie is made, or fit "
            "with nonnegative_traces=False."
        )
    if with_mean and movie.mean is not None:
        bad = ~np.isfinite(movie.mean)
        if bad.any():
            msg = (
                f"adata.obs['{key}_mean'] has {int(bad.sum())} values that are NaN or "
                "infinite, and non-negative time courses are of the movie with its mean. "
                "Leave these pixels out."
            )
            raise ValueError(msg)
        u = np.column_stack([u, movie.mean])
        traces = np.column_stack([traces, np.ones(len(traces))])
    data, basis = orthonormal_frames(u, traces)
    order = parcels.order
    return make_movie(
        data[order],
        basis,
        parcels.codes[order],
        parcels.distances()[order],
        parcels.region_size,
    )


def store_components(
    adata: AnnData,
    keys: FactorKeys,
    parcels: Parcellation,
    *,
    method: str,
    found: Fit | Summary,
    params: Mapping[str, Any],
    info: Mapping[str, Any],
) -> None:
    """Components in the order of pixels of the object; traces are (K, n_frames)."""
    lowest = np.full(len(parcels.names), np.nan)
    np.fmin.at(lowest, found.region, found.localization)
    back = np.empty(adata.n_obs, np.intp)
    back[parcels.order] = np.arange(adata.n_obs)
    table = pd.DataFrame(
        {
            "n_pixels": parcels.size,
            "rank": np.bincount(found.region, minlength=len(parcels.names)),
            "r2": found.r2,
            "localization": lowest,
        },
        index=pd.Index(parcels.names, name="region"),
    )
    write_factors(
        adata,
        keys,
        method=method,
        scores=found.a[back],
        loadings=found.traces.T,
        params={"n_components": found.region.size, **params},
        info={
            "region": np.array([parcels.names[j] for j in found.region], object),
            "localization": found.localization,
            "regions": table,
            **info,
        },
    )
