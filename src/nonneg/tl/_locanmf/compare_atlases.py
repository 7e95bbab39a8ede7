"""Which atlas describes a recording."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from anndata import AnnData

from ..._adata.checks import check_key, check_some
from ..._adata.views import read_factors
from ..._core.arguments import check_taken, checked
from ..._core.random import as_seed
from ..._core.validators import check_n_folds
from ..._core.warnings import warn
from ...models.traces.blocks import contiguous_folds
from ...models.traces.timescale import correlation_time
from ...models.traces.transfer import transferred_r2
from ...operators.threads import computing
from .locanmf import locanmf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..._core.random import RNGLike


@checked
def compare_atlases(
    adata: AnnData,
    region_keys: Sequence[str],
    *,
    key: str = "svd",
    n_folds: int = 2,
    rng: RNGLike = 0,
    **kwargs: Any,
) -> pd.DataFrame:
    """Compare atlases by how well their components describe frames that were held out.

    For every atlas, components are fitted to all frames but one block, and an
    autocorrelation time of the movie on either side, since frames there are nearly those
    in the block. In it, time courses are found from one half of the pixels, drawn at
    random, and predict the other half. Compare an atlas with itself, shifted or turned,
    to see whether its borders matter at all.

    More components always describe more of a movie: compare atlases with as many, e.g.
    of as many regions with `min_rank=3, max_rank=3, r2_threshold=0`. `loc_threshold=1`
    holds footprints to the borders, which tells atlases apart best: below it, footprints
    reach over a border that is a few pixels off, which shows in their `localization`, and
    in the number of components that a search takes.

    Parameters
    ----------
    adata
        Annotated pixels x frames with a movie as a product.
    region_keys
        Columns of `adata.obs`, each with the regions of an atlas: of
        :func:`nonneg.atlas.annotate` with `key_added`.
    key
        Key of the movie: `"svd"`, `"hemo"`.
    n_folds
        Blocks of frames that are held out in turn.
    rng
        Of the halves of the pixels: seed or :class:`numpy.random.Generator`.
    kwargs
        Arguments of :func:`nonneg.tl.locanmf`, such as `max_rank`, but for those that say
        where to store.

    Returns
    -------
    Data frame with a row for every atlas and block: `atlas`, `fold`, `n_regions` with
    components, `n_components`, `r2`, held out, over the pixels that have a region in all
    atlases, `localization`, the mean over components, and `interrupted`: whether Ctrl-C ended
    the comparison, of which those that were finished are returned.

    Raises
    ------
    KeyError
        If there is no such movie or column.
    TypeError
        If an argument says where to store.
    ValueError
        If atlases have no pixel in common, there are too few frames, or
        :func:`nonneg.tl.locanmf` refuses something.

    See Also
    --------
    nonneg.tl.match_components : whether footprints are the same in two halves

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.widefield(
    ...     form="svd", shape=(40, 48), n_regions=2, n_frames=200
    ... )
    >>> adata.obs["sides"] = adata.obs["hemisphere"]
    >>> table = nng.tl.compare_atlases(
    ...     adata, ["region", "sides"], max_rank=1, loc_threshold=1, r2_threshold=0
    ... )
    >>> table.groupby("atlas")["n_components"].max().to_dict()
    {'region': 4, 'sides': 2}
    """
    n_folds = check_n_folds(n_folds)
    ours = {"key", "region_key", "key_added", "copy", "table_key"}
    refused = sorted((ours - {"key"}) & kwargs.keys())
    if refused:
        msg = f"{', '.join(refused)} cannot be given: nothing is stored in adata."
        raise TypeError(msg)
    check_taken(locanmf, kwargs, "tl.locanmf", own=ours)
    names = [region_keys] if isinstance(region_keys, str) else list(region_keys)
    for name in names:
        check_key(adata, "obs", name, hint="Call `nonneg.atlas.annotate` first.")
    check_some(adata, "observations", "variables")
    movie = read_factors(adata, key)
    common = np.logical_and.reduce([adata.obs[name].notna() for name in names])
    if not common.any():
        msg = f"No pixel has a region in all of {names}."
        raise ValueError(msg)
    # Without channels, which may be in files.
    light = AnnData(
        obs=cast("pd.DataFrame", adata.obs),
        var=cast("pd.DataFrame", adata.var),
        uns=dict(adata.uns),
    )
    for name in adata.obsm:
        light.obsm[name] = adata.obsm[name]
    light.varm[movie.keys.varm] = movie.loadings
    u = movie.scores[common].astype(np.float64)
    v = movie.loadings.astype(np.float64)
    half = np.random.default_rng(as_seed(rng)).permutation(len(u)) < len(u) // 2
    # Of the traces that matter most: half of the variance, at least.
    variance = np.sort(v.var(axis=0))[::-1].cumsum()
    n_leading = int(np.searchsorted(variance, variance[-1] / 2)) + 1
    leading = np.argsort(-v.var(axis=0), kind="stable")[:n_leading]
    gap = correlation_time(v[:, leading])
    if len(v) // n_folds <= 2 * gap:
        msg = (
            f"{len(v)} frames are too few for n_folds={n_folds}, with an autocorrelation "
            f"time of {gap} frames."
        )
        raise ValueError(msg)
    rows: list[dict[str, Any]] = []
    fits = list(product(names, enumerate(contiguous_folds(len(v), n_folds, gap))))
    interrupted = False
    try:
        for name, (i, fold) in fits:
            part = light[:, fold.train(len(v))].copy()
            locanmf(part, key=key, region_key=name, key_added="fitted", **kwargs)
            if part.uns["fitted"]["interrupted"]:
                raise KeyboardInterrupt
            held = v[fold.start : fold.stop]
            rows.append(
                {"atlas": name, "fold": i, **_scored(part, common, u, held, half)}
            )
    except KeyboardInterrupt:
        if not rows:
            raise
        interrupted = True
    if interrupted:
        warn(f"Interrupted after {len(rows)} of {len(fits)} fits, which are returned.")
    return pd.DataFrame(rows).assign(interrupted=interrupted)


def _scored(
    part: AnnData,
    common: NDArray[np.bool_],
    u: NDArray[np.float64],
    held: NDArray[np.float64],
    half: NDArray[np.bool_],
) -> dict[str, Any]:
    """How well footprints of some frames explain others."""
    footprints = np.asarray(part.obsm["fitted"], np.float64)[common]
    with computing():
        r2 = transferred_r2(footprints, u, held, half)
    entry = part.uns["fitted"]
    return {
        "n_regions": len(set(entry["region"].tolist())),
        "n_components": footprints.shape[1],
        "r2": r2,
        "localization": float(np.mean(entry["localization"])),
    }
