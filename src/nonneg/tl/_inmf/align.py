"""What alignments of data sets share around their computation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from ..._adata.keys import side_key
from ..._adata.labels import read_sections
from ..._adata.views import read_factors
from ..._adata.write import write_values
from ..._core.logging import logger
from ..._core.text import counted
from ...models.inmf.align import max_factor, vote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._adata.views import Factors


class AlignableScores(NamedTuple):
    """A factorization of several data sets."""

    stored: Factors
    scores: NDArray[np.floating[Any]]
    key: str
    """Column of obs that names the data sets."""
    batch: NDArray[np.intp]
    names: NDArray[Any]
    """Sorted."""


def read_scores(adata: AnnData, key: str, batch_key: str | None) -> AlignableScores:
    """Scores that can be aligned, and the data set of every cell."""
    stored = read_factors(adata, key)
    if batch_key is None:
        batch_key = stored.entry.params.get("batch_key")
    if batch_key is None:
        msg = (
            f"adata.uns[{key!r}] does not say which cells belong together. Give "
            f"`batch_key`, one of the columns of adata.obs, {list(adata.obs)}."
        )
        raise ValueError(msg)
    batch, names = read_sections(adata, batch_key)
    if len(names) < 2:
        msg = (
            f"adata.obs[{batch_key!r}] names one data set only, {names.tolist()}: there "
            "is nothing to align."
        )
        raise ValueError(msg)
    where = f"adata.obsm[{stored.keys.obsm!r}]"
    bad = ~np.isfinite(stored.scores).all(axis=1)
    if bad.any():
        msg = (
            f"{where} has {counted(int(bad.sum()), 'cell')} with NaN or infinite scores. Remove "
            "these cells, or fit again."
        )
        raise ValueError(msg)
    if stored.scores.min() < 0:
        msg = (
            f"{where} has negative scores (smallest: {stored.scores.min():g}). Align the "
            "scores of a non-negative factorization, e.g. of `nonneg.tl.inmf`."
        )
        raise ValueError(msg)
    return AlignableScores(stored, stored.scores, batch_key, batch, names)


def assign_clusters(
    data: AlignableScores, n_neighbors: int, *, refine: bool
) -> NDArray[np.intp]:
    """Leading factor of every cell, -1 where there is none."""
    clusters = max_factor(data.scores, data.batch)
    if refine:
        clusters = vote(data.scores, data.batch, clusters, n_neighbors=n_neighbors)
    return clusters


def write_aligned(
    adata: AnnData,
    data: AlignableScores,
    scores: NDArray[np.floating[Any]],
    clusters: NDArray[np.intp],
    record: Mapping[str, Any],
) -> None:
    """Store aligned scores, clusters, and how they came about."""
    used, codes = np.unique(clusters, return_inverse=True)
    # Cells without a cluster are NaN, and come first.
    codes = codes - int(used[0] < 0)
    categories = pd.Index(used[used >= 0].astype(str))
    keys = data.stored.keys
    obsm_key = side_key(keys, "obsm", "aligned")
    obs_key = side_key(keys, "obs", "cluster")
    entry = {
        **record,
        "batch_key": data.key,
        "obsm_key": obsm_key,
        "obs_key": obs_key,
    }
    write_values(
        adata,
        {
            ("obsm", obsm_key): scores.astype(np.float32),
            ("obs", obs_key): pd.Categorical.from_codes(codes, categories),
            # A new entry: the old one may be shared with another object.
            ("uns", keys.uns): {**adata.uns[keys.uns], "align": entry},
        },
    )
    logger.info("Stored adata.obsm[%r] and adata.obs[%r].", obsm_key, obs_key)
