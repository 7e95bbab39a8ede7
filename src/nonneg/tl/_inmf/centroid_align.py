"""Alignment of data sets by centroids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..._adata.read import resolve_adata
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ..._core.validators import check_at_least, check_positive_int
from ...models.inmf import align
from .align import assign_clusters, read_scores, write_aligned

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData
    from spatialdata import SpatialData


@checked
@shared_docs
def centroid_align(
    adata: AnnData | SpatialData | MuData,
    key: str = "inmf",
    *,
    batch_key: str | None = None,
    lam: float = 1.0,
    n_neighbors: int = 20,
    refine: bool = True,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    """Align the scores of data sets by centroids; values have both signs.

    Scores are turned to z-scores over all cells. For every factor, a ridge regression
    on the data sets, in which cells count by the factor's share of their scores, finds
    how far the centroid of each data set is from the common one, and cells are shifted
    back by it, in proportion to the same share: the correction step of
    Harmony :cite:p:`Korsunsky2019` with factors as clusters.

    The result has both signs, so that its columns are not amounts of a factor.
    Use it for neighbours and embeddings; :func:`nonneg.tl.quantile_align` keeps scores
    non-negative.

    Parameters
    ----------
    %(alignable)s
    lam
        Penalty of the shifts, in cells: the larger, the less is shifted, above all in
        data sets where a factor has few cells.
    %(n_neighbors)s
    %(refine)s
        Clusters are reported only: shifts do not depend on them.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. For a factorization with scores in
    `X_inmf` under the key `inmf`, sets:

    `.obsm["X_inmf_aligned"]` : :class:`numpy.ndarray`
        Aligned z-scores, for neighbours and embeddings. Cells without scores have
        those of zero.
    %(clusters)s
    `.uns["inmf"]["align"]` : :class:`dict`
        The arguments.

    Raises
    ------
    %(align_errors)s
    ValueError
        If there is one data set only, labels are missing, scores are NaN or negative,
        or an argument does not suit.

    See Also
    --------
    nonneg.tl.quantile_align : keeps scores non-negative
    nonneg.metrics.alignment : how well data sets are mixed

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.quilt(12, 30)
    >>> adata.obs["batch"] = ["a", "b"] * 72
    >>> nng.tl.nmf(adata, 4)
    >>> nng.tl.centroid_align(adata, batch_key="batch", key="nmf")
    >>> adata.obsm["X_nmf_aligned"].shape
    (144, 4)
    """
    check_at_least(lam, 0, "lam")
    n_neighbors = check_positive_int(n_neighbors, "n_neighbors")
    target = resolve_adata(adata, table_key=table_key, copy=copy, scores_only=True)
    data = read_scores(target, key, batch_key)
    aligned = align.centroid_align(data.scores, data.batch, lam=lam)
    clusters = assign_clusters(data, n_neighbors, refine=refine)
    record = {
        "method": "centroid_align",
        "lam": float(lam),
        "n_neighbors": n_neighbors,
        "refine": refine,
    }
    write_aligned(target, data, aligned, clusters, record)
    return target if copy else None
