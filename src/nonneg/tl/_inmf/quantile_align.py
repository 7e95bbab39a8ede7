"""Alignment of data sets by quantiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..._adata.read import resolve_adata
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ..._core.random import as_seed
from ..._core.validators import check_positive_int
from ...models.inmf import align
from .align import assign_clusters, read_scores, write_aligned

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._core.random import RNGLike
    from .align import AlignableScores


@checked
@shared_docs
def quantile_align(
    adata: AnnData | SpatialData | MuData,
    key: str = "inmf",
    *,
    batch_key: str | None = None,
    reference: str | None = None,
    n_quantiles: int = 50,
    min_cells: int = 20,
    n_neighbors: int = 20,
    max_sample: int = 1000,
    refine: bool = True,
    rng: RNGLike = 0,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    """Align the scores of data sets by quantiles, which keeps them non-negative.

    What follows :func:`nonneg.tl.inmf` in LIGER :cite:p:`Welch2019`. Cells are clustered
    by their leading factor: the largest score, after division by each factor's root mean
    square in the data set. In every cluster, the scores of each factor are then mapped
    to the distribution that they have in the reference, such that their order stays.
    Cells whose scores are all zero have no cluster and stay as they are; so does the
    reference.

    Parameters
    ----------
    %(alignable)s
    reference
        Data set to which the others are aligned. `None`: the largest, and of several
        the first by name. Take the one with the best data, RNA before other modalities.
    n_quantiles
        Number of intervals between quantiles. More follow the distribution in the
        reference more closely, in clusters that have the cells for it.
    min_cells
        Clusters with fewer cells in the data set or the reference keep their scores.
    %(n_neighbors)s
    max_sample
        Maximum number of cells per cluster to compute quantiles from.
    %(refine)s
        With more than 15 factors, time grows with the square of the data set: 1 s for
        20,000 cells.
    %(rng)s
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. For a factorization with scores in
    `X_inmf` under the key `inmf`, sets:

    `.obsm["X_inmf_aligned"]` : :class:`numpy.ndarray`
        Aligned scores, for neighbours and embeddings
        (`sc.pp.neighbors(adata, use_rep="X_inmf_aligned")`).
    %(clusters)s
    `.uns["inmf"]["align"]` : :class:`dict`
        The arguments, and `moved`: the share of cells outside the reference that were
        in clusters large enough to be aligned.

    Raises
    ------
    %(align_errors)s
    ValueError
        If there is one data set only, labels are missing, the reference is not among
        them, scores are NaN or negative, or an argument does not suit.

    See Also
    --------
    nonneg.tl.centroid_align : shifts clusters instead; values of both signs
    nonneg.metrics.alignment : how well data sets are mixed

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.quilt(12, 30)
    >>> adata.obs["batch"] = ["a", "b"] * 72
    >>> nng.tl.nmf(adata, 4)
    >>> nng.tl.quantile_align(adata, batch_key="batch", key="nmf", min_cells=5)
    >>> adata.obsm["X_nmf_aligned"].shape
    (144, 4)
    >>> adata.obs["nmf_cluster"].cat.categories.tolist()
    ['0', '1', '2', '3']
    """
    sizes = {
        "n_quantiles": n_quantiles,
        "min_cells": min_cells,
        "n_neighbors": n_neighbors,
        "max_sample": max_sample,
    }
    sizes = {name: check_positive_int(value, name) for name, value in sizes.items()}
    seed = as_seed(rng)
    target = resolve_adata(adata, table_key=table_key, copy=copy, scores_only=True)
    data = read_scores(target, key, batch_key)
    chosen = _reference(data, reference)
    clusters = assign_clusters(data, sizes["n_neighbors"], refine=refine)
    found = align.quantile_align(
        data.scores,
        data.batch,
        clusters,
        reference=chosen,
        n_quantiles=sizes["n_quantiles"],
        min_cells=sizes["min_cells"],
        max_sample=sizes["max_sample"],
        seed=seed,
    )
    record = {
        "method": "quantile_align",
        "reference": str(data.names[chosen]),
        **sizes,
        "refine": refine,
        "seed": seed,
        "moved": float(found.moved[data.batch != chosen].mean()),
    }
    write_aligned(target, data, found.scores, clusters, record)
    return target if copy else None


def _reference(data: AlignableScores, reference: str | None) -> int:
    names: NDArray[np.object_] = data.names
    if reference is None:
        return int(np.bincount(data.batch).argmax())
    if str(reference) not in names:
        msg = (
            f"reference={reference!r} is not in adata.obs[{data.key!r}], which holds "
            f"{names.tolist()}."
        )
        raise ValueError(msg)
    return names.tolist().index(str(reference))
