"""How clusters and data sets share cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from .._adata.labels import read_labels
from .._adata.tables import read_table
from .._adata.views import read_factors
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_one_of

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

# The label of cells without a cluster, besides missing ones.
NO_CLUSTER = "-1"


@checked
@shared_docs
def cluster_composition(
    adata: AnnData | SpatialData,
    key: str = "inmf",
    *,
    cluster_key: str | None = None,
    batch_key: str | None = None,
    normalize: Literal["batch", "cluster"] | None = None,
    table_key: str | None = None,
) -> pd.DataFrame:
    """Count the cells that every cluster has of every data set.

    Parameters
    ----------
    %(key)s
    %(cluster_columns)s
    normalize
        `None`: numbers of cells. `"batch"`: the share of the data set's cells; cells
        without a cluster, missing or `-1`, count in the total, so that sums may be below
        1. `"cluster"`: whose cells the cluster would be if all data sets had equally
        many, so that sums are 1.
    %(table_key)s

    Returns
    -------
    Data frame of clusters x data sets, in the order of the categories.

    Raises
    ------
    KeyError
        If there is no factorization under the key, or a column does not exist.
    ValueError
        If the factorization knows no data sets, or `normalize` is something else.

    See Also
    --------
    nonneg.pl.cluster_composition : the shares of data sets as bars
    nonneg.pl.cluster_dots : both shares as dots

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.batches((60, 40), 50, 3)
    >>> table = nng.get.cluster_composition(adata, "truth", cluster_key="cell_type")
    >>> table["batch_0"].to_dict()
    {'type_0': 18, 'type_1': 25, 'type_2': 17}
    """
    adata = read_table(adata, table_key)
    if normalize is not None:
        check_one_of(normalize, ("batch", "cluster"), "normalize")
    clusters, batches = read_clusters(adata, key, cluster_key, batch_key)
    # Missing ones count in the last place.
    counts = np.zeros((len(clusters.names) + 1, len(batches.names) + 1), np.int64)
    np.add.at(counts, (clusters.codes, batches.codes), 1)
    counts = counts[:, :-1]
    total = counts.sum(axis=0)
    named = clusters.names != NO_CLUSTER
    table = pd.DataFrame(
        counts[:-1][named],
        index=pd.Index(clusters.names[named], name=clusters.key),
        columns=pd.Index(batches.names, name=batches.key),
    )
    if normalize is None:
        return table
    shares = table.div(np.maximum(total, 1), axis=1)
    if normalize == "batch":
        return shares
    sums = shares.sum(axis=1)
    return shares.div(sums.where(sums > 0, 1), axis=0)


class Column(NamedTuple):
    """Labels, and the column that they are from."""

    key: str
    names: NDArray[Any]
    codes: NDArray[np.intp]


def read_clusters(
    adata: AnnData, key: str, cluster_key: str | None, batch_key: str | None
) -> tuple[Column, Column]:
    """Clusters and data sets of all cells, of the columns that a factorization has."""
    if batch_key is None:
        batch_key = _find_batch_key(adata, key)
    batches = read_labels(adata, batch_key, hint="Name another column as `batch_key`.")
    if cluster_key is None:
        cluster_key = f"{key}_cluster"
    hint = "Call `nonneg.tl.quantile_align` first, or name a column as `cluster_key`."
    clusters = read_labels(adata, cluster_key, hint=hint)
    return (
        Column(cluster_key, clusters.names, clusters.codes),
        Column(batch_key, batches.names, batches.codes),
    )


def _find_batch_key(adata: AnnData, key: str) -> str:
    """The column that names the data sets of a factorization."""
    params = read_factors(adata, key).entry.params
    if "batch_key" not in params:
        msg = (
            f"adata.uns[{key!r}] knows no data sets. Name the column of adata.obs that "
            "tells them apart as `batch_key`."
        )
        raise ValueError(msg)
    return str(params["batch_key"])
