"""The regions of patterns as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from .._adata.anatomy import read_region_correlation
from .._adata.tables import read_table
from .._core.arguments import checked
from .._core.docs import shared_docs

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData


@checked
@shared_docs
def region_sets(
    adata: AnnData | SpatialData,
    key: str = "nmf",
    *,
    n_regions: int | None = None,
    table_key: str | None = None,
) -> pd.DataFrame:
    """List the set of regions that each pattern fits best.

    Parameters
    ----------
    adata
        Annotated data after :func:`nonneg.tl.region_correlation`.
    key
        Key of the patterns.
    n_regions
        The best sets of so many regions. `None`: those with the highest score.
    %(table_key)s

    Returns
    -------
    Data frame with one row per pattern, indexed by its name:

    `regions`
        Names of the regions.
    `score`
        Correlation, or Dice coefficient.
    `sign`
        -1 where it is the pattern's negative that fits; only for signed patterns.
    `p_value`
        Share of random maps that fit some set as well: of any size, or of `n_regions`.
        NaN if there were none. A pattern that does not vary has a score of 0 and a
        p-value of 1.
    `p_adjusted`
        After Benjamini and Hochberg over the patterns; of the best sets only.
    `exclusivity`
        Score less that of the pattern that comes next on the same set: high where the
        set has one pattern, negative where another one fits it better. Of the best sets
        only.
    `n_obs`
        Number of observations in the set.
    `path`
        For each region, its path in the ontology, from the root.

    Raises
    ------
    KeyError
        If :func:`nonneg.tl.region_correlation` was not called for the key.
    ValueError
        If `n_regions` is above the `max_regions` that were searched.

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> adata = nng.datasets.quilt(12, 30)
    >>> x, y = adata.obsm["spatial"].T
    >>> adata.obs["region"] = np.where(x < 6, "west", np.where(y < 6, "north", "south"))
    >>> nng.tl.region_correlation(adata, key="truth", null=None)
    >>> nng.get.region_sets(adata, "truth").shape
    (4, 8)
    """
    adata = read_table(adata, table_key)
    found = read_region_correlation(adata, key)
    rows = found.rows(n_regions)
    chosen = found.sets.iloc[rows]
    p_value = "p_search" if n_regions is None else "p_value"
    columns = {
        "regions": [found.names(row) for row in rows],
        "score": chosen["score"].to_numpy(),
        "sign": chosen["sign"].to_numpy(),
        "p_value": chosen[p_value].to_numpy(),
    }
    if n_regions is None:
        columns |= {
            "p_adjusted": chosen["p_adjusted"].to_numpy(),
            "exclusivity": chosen["exclusivity"].to_numpy(),
        }
    columns |= {
        "n_obs": chosen["n_obs"].to_numpy(),
        "path": [found.paths(row) for row in rows],
    }
    index = pd.Index(chosen["factor"].astype(str), name="factor")
    return pd.DataFrame(columns, index=index)
