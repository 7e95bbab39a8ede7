"""Time courses of another session on the footprints of a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..._adata.checks import check_unique_names
from ..._adata.footprints import read_movie, sided_regions
from ..._adata.volume import has_volume, read_volume
from ..._adata.write import write_factors
from ..._core.text import conjugated, counted
from ..._core.warnings import warn
from ...models.locanmf.problem import explained, orthonormal_frames
from ...models.locanmf.project import project_traces
from ...operators.threads import computing

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._adata.keys import FactorKeys
    from ..._adata.views import Factors


def project_movie(
    target: AnnData, reference: AnnData, factors: Factors, keys: FactorKeys
) -> None:
    """Match pixels by name and place, solve for time courses, store them."""
    fitted: Any = factors.entry.params
    check_unique_names(target.obs_names, "Pixels of adata")
    check_unique_names(reference.obs_names, "Pixels of the reference")
    _check_same_grid(target, reference)
    position = reference.obs_names.get_indexer(target.obs_names)
    there = position >= 0
    footprints = np.zeros((target.n_obs, factors.scores.shape[1]), np.float32)
    footprints[there] = factors.scores[position[there]]
    energy = np.square(factors.scores, dtype=np.float64).sum()
    share = np.square(footprints, dtype=np.float64).sum() / max(energy, 1e-30)
    if share == 0:
        msg = (
            "adata and the reference share no pixel with footprints: "
            f"{list(target.obs_names[:3])} … against {list(reference.obs_names[:3])} …. "
            "Sessions must be aligned to one image, with pixels named by their place."
        )
        raise ValueError(msg)
    nonnegative = bool(fitted.get("nonnegative_traces", False))
    movie = read_movie(target, str(fitted["key"]))
    u, frames = np.asarray(movie.u), np.asarray(movie.traces)
    if nonnegative and movie.mean is not None:
        u = np.column_stack([u, movie.mean])
        frames = np.column_stack([frames, np.ones(len(frames))])
    with computing():
        data, basis = orthonormal_frames(u[there], frames)
        a = footprints[there]
        traces = project_traces(a, data, basis, nonnegative=nonnegative)
    regions = _regions_here(
        reference, factors, position[there], (data, basis), a, traces
    )
    write_factors(
        target,
        keys,
        method=factors.entry.method,
        scores=footprints,
        loadings=traces.T,
        params=dict(fitted),
        info={
            "projected": float(share),
            **{
                name: value
                for name in ("region", "localization")
                if (value := getattr(factors.entry, name)) is not None
            },
            **({} if regions is None else {"regions": regions}),
        },
    )
    n_outside = int((~there).sum())
    if n_outside or share < 1:
        warn(
            f"{counted(n_outside, 'pixel')} of adata {conjugated(n_outside, 'is')} not in the reference, and "
            f"{share:.1%} of the energy of its footprints is in adata; time courses are "
            "those that explain the common pixels best."
        )


def _regions_here(  # noqa: PLR0917
    reference: AnnData,
    factors: Factors,
    pixels: NDArray[np.intp],
    movie: tuple[NDArray[np.float64], NDArray[np.float64]],
    a: NDArray[np.float32],
    traces: NDArray[np.float64],
) -> pd.DataFrame | None:
    """The table of regions, with what is explained of this recording.

    NaN where the reference no longer says which region pixels are of.
    """
    table: pd.DataFrame | None = getattr(factors.entry, "regions", None)
    if table is None:
        return None
    params = factors.entry.params
    table = table.assign(r2=np.nan)
    try:
        codes, names = sided_regions(
            reference, str(params.get("region_key")), params.get("hemisphere_key")
        )
    except KeyError:
        return table
    data, basis = movie
    fitted = traces @ basis.T
    # What the basis does not hold of non-negative time courses is a misfit too.
    outside = traces @ traces.T - fitted @ fitted.T
    left = np.square(data - a @ fitted).sum(axis=1)
    left += np.maximum(np.einsum("nk,nk->n", a @ outside, a), 0)
    energy = np.square(data).sum(axis=1)
    mean = data @ basis.mean(axis=1)
    variance = np.maximum(energy - basis.shape[1] * np.square(mean), 0)
    kind = params.get("r2", "pooled")
    for name in table.index:
        if name in names:
            rows = codes[pixels] == names.index(name)
            table.loc[name, "n_pixels"] = rows.sum()
            table.loc[name, "r2"] = explained(
                left[rows], variance[rows], energy[rows], kind
            )
    return table


def _check_same_grid(target: AnnData, reference: AnnData) -> None:
    """Pixels are named by their place, which says nothing in another image."""
    if not (has_volume(target) and has_volume(reference)):
        return
    one, other = read_volume(target).box, read_volume(reference).box
    if one.shape != other.shape or not np.allclose(one.spacing, other.spacing):
        msg = (
            f"The image of adata is {one.shape}, with pixels of {one.spacing}, that of the "
            f"reference {other.shape}, with {other.spacing}. Bring both to one grid first."
        )
        raise ValueError(msg)
