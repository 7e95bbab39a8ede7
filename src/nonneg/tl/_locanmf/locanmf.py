"""Localised semi-NMF of a movie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..._adata.read import resolve_adata
from ..._adata.write import keys_to_write
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ..._core.progress import progress
from ..._core.random import as_seed
from ..._core.text import counted
from ..._core.validators import check_at_least, check_one_of, check_positive_int
from ..._core.warnings import warn
from ...models.locanmf.search import Ranks, search
from ...models.locanmf.solver import RULES, Options
from ...models.locanmf.vanilla import fit_vanilla
from ...operators.threads import computing
from .front import build_movie, regions_to_fit, store_components

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from ..._core.random import RNGLike
    from ...models.locanmf.search import Fit
    from ...models.locanmf.solver import Rule

# What a first penalty takes off a peak of 1 as far away as a region is long. With a tenth
# of it, overlapping components of neighbours are exchanged (58 regions of the published
# simulation: nine footprints with r < .99 instead of none); ten times as much leaves a
# thousandth of the variance unexplained.
_FIRST_PENALTY = 0.01


@checked
@shared_docs
def locanmf(
    adata: AnnData | SpatialData,
    key: str = "svd",
    *,
    region_key: str = "region",
    hemisphere_key: str | None = "hemisphere",
    min_rank: int = 1,
    max_rank: int = 10,
    rank_step: int = 1,
    loc_threshold: float = 0.8,
    r2_threshold: float = 0.99,
    r2: Literal["pooled", "mean"] = "pooled",
    localization: Rule = "energy",
    penalty: float | None = None,
    penalty_growth: float = 1.3,
    nonnegative_traces: bool = False,
    init: Literal["regions", "random"] = "regions",
    n_components: int | None = None,
    min_pixels: int | None = None,
    coarse: int | None = None,
    tol: float = 1e-3,
    max_iter: int = 300,
    rng: RNGLike = 0,
    key_added: str | None = None,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    r"""Find components of a movie that stay near the regions of an atlas.

    Finds :math:`Y \approx A C` of a movie with non-negative footprints :math:`A`, each
    of one region, and time courses :math:`C` :cite:p:`Saxena2020`. Most of a footprint's
    energy lies in its region, while it may reach over the border, so that components
    mean the same in every animal and still follow the data. Regions have as many
    components as it takes to explain them.

    For widefield calcium imaging, in two or three dimensions, after
    :func:`nonneg.pp.svd` and :func:`nonneg.atlas.annotate`. Takes a few seconds for
    30,000 pixels and half a minute for 200,000. :doc:`/widefield` describes the method.

    Parameters
    ----------
    adata
        Annotated data, pixels x frames, with a movie as a product and a region for
        each pixel. Pixels without a region take part, and belong to none.
    key
        Key of the movie: of :func:`nonneg.pp.svd`, :func:`nonneg.io.from_svd`, or
        :func:`nonneg.pp.hemodynamic_correction` (`"hemo"`).
    region_key
        Column of `adata.obs` with regions.
    hemisphere_key
        Column of `adata.obs` with hemispheres, which are different regions:
        `VISp_left`. `None`, or no column `hemisphere`: regions as they are.
    min_rank
        Number of components with which regions start.
    max_rank
        Largest number of components of a region. The same as `min_rank`: no search.
    rank_step
        Components that a region is given at a time.
    loc_threshold
        Share of a footprint's energy (sum of squares) that must be in its region. Higher
        values (.9) for sharper regions, at the price of more components. 0: none, which
        is semi-NMF started from the atlas; 1: footprints end at the border.
    r2_threshold
        Share of the variance of each region that must be explained. Where noise alone
        is more than the rest, all regions come to `max_rank`: lower it, or denoise with
        fewer components of :func:`nonneg.pp.svd`.
    r2
        `"pooled"`: of all pixels of a region together. `"mean"`: mean of the shares of
        its pixels, as published, in which dark pixels count as much as bright ones.
    localization
        What holds footprints back. `"energy"`: a small amount per mm from the region,
        and, once the fit has settled, what components below `loc_threshold` have
        outside is divided by a number that brings them there, while no footprint
        spreads any more: nothing takes over what is cut off. With the others,
        components below the threshold are held back more and more by their distance.
        `"scale-free"`: by an amount taken off the footprint, whatever the units of the
        movie. `"paper"`: by a penalty :math:`\lambda_k d_k^\top a_k`, twice as
        strong with the same number as in `"reference"`, the published program.
    penalty
        The first penalty of each component, before it grows: in 1/mm of a peak of 1 for
        `"energy"` and `"scale-free"`, else in squared units of the movie per mm. `None`:
        a hundredth of the peak as far away as a region is long.
    penalty_growth
        Factor by which penalties of components below `loc_threshold` grow at a time; by
        `"energy"`, of those below half of it. Lower values (1.1) end closer to the
        threshold and take longer.
    nonnegative_traces
        Time courses that are non-negative, of the movie with its mean. For ΔF/F above a
        baseline: a signal that is corrected for hemodynamics has no mean, and half of it
        would be lost. Takes all frames instead of their basis: slower.
    init
        `"regions"`: components of each region alone. `"random"`: the published
        comparison, semi-NMF from random pixels, without penalties; takes
        `n_components` and `loc_threshold=0`.
    n_components
        Number of components with `init="random"`.
    min_pixels
        Smaller regions have no components. `None`: `max_rank`, or a twentieth of the
        median region if that is more.
    coarse
        Pixels along each axis whose mean is taken in the search; all pixels are fitted
        at last. 1: none. `None`: as many as make it quick.
    tol
        Stop when the squared error changes by at most `tol` of its value in an
        iteration, and all components are localised.
    max_iter
        Maximum number of iterations of each fit in the search. Interrupting (Ctrl-C)
        keeps the components so far.
    rng
        Of `init="random"` only: seed or :class:`numpy.random.Generator`; the seed used
        is stored in `params`.
    key_added
        Key under which to store the result instead of `locanmf`.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. Sets the following fields:

    `.obsm['X_locanmf' | key_added]` : :class:`numpy.ndarray` (shape `(n_obs, n_components)`)
        Footprints, with a largest value of 1. Ordered by region, and in a region by
        energy, :math:`\lVert a_k \rVert^2 \lVert c_k \rVert^2`, the largest first.
    `.varm['locanmf' | key_added]` : :class:`numpy.ndarray` (shape `(n_vars, n_components)`)
        Time courses, in units of the movie.
    `.uns['locanmf' | key_added]` : :class:`dict`
        `region` of each component; `localization`, the share of its energy inside;
        `penalty` at the end; `damping`, of what lies outside; `regions`, a data frame
        with `n_pixels`, `rank`, `r2`, NaN where nothing varies, and the lowest
        `localization`; `objective`, the share of the squares that is left after every
        iteration; `n_iter`, `converged`, `interrupted` and `params`.

    Raises
    ------
    KeyError
        If there is no such movie, column or table.
    ValueError
        If the movie has NaN or infinite values, no region is large enough, pixels have
        no grid, or an argument does not suit.

    See Also
    --------
    nonneg.tl.project : time courses of another session on the same footprints
    nonneg.tl.region_traces : means of regions, and singular vectors, in the same form
    nonneg.pl.footprints : shows them on the atlas

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.widefield(
    ...     form="svd", shape=(40, 48), n_regions=2, n_frames=200
    ... )
    >>> nng.tl.locanmf(adata, max_rank=4)
    >>> bool((adata.uns["locanmf"]["localization"] >= 0.8).all())
    True
    """
    ranks = [
        check_positive_int(value, name)
        for value, name in (
            (min_rank, "min_rank"),
            (max_rank, "max_rank"),
            (rank_step, "rank_step"),
        )
    ]
    if ranks[0] > ranks[1]:
        msg = f"min_rank={min_rank} exceeds max_rank={max_rank}."
        raise ValueError(msg)
    _check_share(loc_threshold, "loc_threshold")
    _check_share(r2_threshold, "r2_threshold")
    check_one_of(r2, ("pooled", "mean"), "r2")
    check_one_of(localization, RULES, "localization")
    check_one_of(init, ("regions", "random"), "init")
    n_random = _n_random(init, n_components, loc_threshold)
    if penalty is not None:
        check_at_least(penalty, 0, "penalty")
    if penalty == 0:
        msg = "penalty=0 would not grow. Take loc_threshold=0 for none."
        raise ValueError(msg)
    check_at_least(penalty_growth, 1, "penalty_growth")
    if penalty_growth == 1:
        msg = f"penalty_growth={penalty_growth!r} must be above 1."
        raise ValueError(msg)
    check_at_least(tol, 0, "tol")
    max_iter = check_positive_int(max_iter, "max_iter")
    if coarse is not None:
        check_positive_int(coarse, "coarse")
    if (
        min_pixels is not None
        and check_positive_int(min_pixels, "min_pixels") < ranks[1]
    ):
        msg = (
            f"min_pixels={min_pixels} must be at least max_rank={max_rank}: a region "
            "cannot have more components than pixels."
        )
        raise ValueError(msg)
    seed = as_seed(rng)
    target = resolve_adata(adata, table_key=table_key, copy=copy)
    keys = keys_to_write(target, "locanmf", key_added)
    parcels = regions_to_fit(
        target,
        region_key,
        hemisphere_key,
        min_pixels=min_pixels,
        max_rank=ranks[1],
    )
    if coarse is None:
        coarse = 1 if n_random else parcels.choose_coarse(ranks[1])
    options = Options(
        threshold=float(loc_threshold),
        rule=localization,
        weight=_FIRST_PENALTY / parcels.region_size
        if penalty is None
        else float(penalty),
        growth=float(penalty_growth),
        tol=float(tol),
        max_iter=max_iter,
        nonnegative=bool(nonnegative_traces),
        relative=penalty is None,
    )
    with computing(), progress("locanmf", None) as callback:
        movie = build_movie(target, key, parcels, with_mean=options.nonnegative)
        _check_rank(movie.data.shape[1], ranks[0])
        if n_random:
            fit = fit_vanilla(
                movie, n_random, options, r2, seed=seed, callback=callback
            )
        else:
            largest = np.full(
                movie.n_regions, min(ranks[1], movie.data.shape[1]), np.intp
            )
            fit = search(
                movie,
                Ranks(
                    np.full(movie.n_regions, ranks[0], np.intp),
                    largest,
                    ranks[2],
                    float(r2_threshold),
                    r2,
                ),
                options,
                parcels.cells(coarse)[parcels.order] if coarse > 1 else None,
                callback,
            )
    store_components(
        target,
        keys,
        parcels,
        method="locanmf",
        found=fit,
        params={
            "key": key,
            "region_key": region_key,
            "hemisphere_key": hemisphere_key,
            "min_rank": ranks[0],
            "max_rank": ranks[1],
            "rank_step": ranks[2],
            "loc_threshold": float(loc_threshold),
            "r2_threshold": float(r2_threshold),
            "r2": r2,
            "localization": localization,
            "penalty": options.weight,
            "penalty_growth": float(penalty_growth),
            "nonnegative_traces": options.nonnegative,
            "init": init,
            "min_pixels": int(parcels.size.min()) if min_pixels is None else min_pixels,
            "coarse": coarse,
            "tol": float(tol),
            "max_iter": max_iter,
            "seed": seed,
        },
        info={
            "penalty": fit.weight,
            "damping": fit.damping,
            "objective": np.asarray(fit.objective),
            "n_iter": fit.n_iter,
            "converged": fit.converged,
            "interrupted": fit.interrupted,
        },
    )
    _report(
        fit,
        parcels.names,
        options,
        r2_threshold,
        ranks=(ranks[0], ranks[1]),
        width=movie.data.shape[1],
        searched=not n_random,
    )
    return target if copy else None


def _check_share(value: float, name: str) -> None:
    check_at_least(value, 0, name)
    if value > 1:
        msg = f"{name}={value} must be a share, 0 to 1."
        raise ValueError(msg)


def _n_random(init: str, n_components: int | None, loc_threshold: float) -> int:
    """Number of components without a search; 0: they are searched for."""
    if init == "regions":
        if n_components is not None:
            msg = (
                "n_components only applies to init='random'. Regions have min_rank to "
                "max_rank components each."
            )
            raise ValueError(msg)
        return 0
    if n_components is None or loc_threshold != 0:
        msg = (
            "init='random' has no regions: give n_components, and loc_threshold=0, but "
            f"they are {n_components} and {loc_threshold}."
        )
        raise ValueError(msg)
    return check_positive_int(n_components, "n_components")


def _check_rank(width: int, min_rank: int) -> None:
    if min_rank > width:
        msg = (
            f"min_rank={min_rank} exceeds the {width} components of the movie. Keep more "
            "of them in `nonneg.pp.svd`."
        )
        raise ValueError(msg)


def _report(
    fit: Fit,
    names: list[str],
    options: Options,
    r2_threshold: float,
    *,
    ranks: tuple[int, int],
    width: int,
    searched: bool,
) -> None:
    """Warn of what was not reached."""
    if fit.interrupted:
        warn(
            f"Interrupted after {fit.n_iter} iterations; the components found so far "
            "are stored."
        )
        return
    low = np.flatnonzero(fit.localization < options.threshold - 1e-6)
    if low.size:
        regions = [f"{names[fit.region[k]]} ({fit.localization[k]:.2f})" for k in low]
        warn(
            f"{counted(low.size, 'component', 'has')} less than loc_threshold={options.threshold} of "
            f"their energy inside: {', '.join(regions[:5])}. Increase "
            f"max_iter={options.max_iter}.",
            ConvergenceWarning,
        )
    elif not fit.converged:
        warn(
            f"Not converged after {options.max_iter} iterations. Increase max_iter or "
            f"tol={options.tol:g}.",
            ConvergenceWarning,
        )
    if fit.region.size > width and ranks[0] < ranks[1]:
        warn(
            f"{counted(fit.region.size, 'component')} of a movie of rank {width}: time courses depend "
            "on each other linearly, and only regions tell them apart. Lower max_rank or "
            "r2_threshold, or keep more components in `nonneg.pp.svd`."
        )
    empty = np.setdiff1d(np.arange(len(names)), fit.region)
    if empty.size:
        warn(
            f"{counted(empty.size, 'region', 'has')} no component: nothing varies in them, or "
            f"components of others explain it: "
            f"{', '.join(names[j] for j in empty[:5])}."
        )
    poor = np.flatnonzero(fit.r2 < r2_threshold)
    if poor.size and searched:
        regions = [f"{names[j]} ({fit.r2[j]:.3f})" for j in poor]
        warn(
            f"{counted(poor.size, 'region', 'has')} max_rank={ranks[1]} components and less than "
            f"r2_threshold={r2_threshold} explained: {', '.join(regions[:5])}."
        )
