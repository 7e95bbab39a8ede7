"""What comparisons with regions have in common: from an AnnData to a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..._adata.regions import read_annotation, read_neighbours
from ...models.anatomy.correlate import plan_search
from ...models.anatomy.regions import graph_adjacency, lift

if TYPE_CHECKING:
    import scipy.sparse as sp
    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._adata.regions import Annotation
    from ...models.anatomy.correlate import Metric, RegionSearch
    from ...models.anatomy.regions import Regions


@dataclass(frozen=True)
class Plan:
    """Regions of the observations that are compared, and what to search."""

    annotation: Annotation
    used: NDArray[np.bool_]
    """(n_obs,): with a region and a value."""
    graph: sp.csr_matrix
    """Neighbours among those used."""
    regions: Regions
    search: RegionSearch


def plan(
    adata: AnnData,
    known: NDArray[np.bool_],
    *,
    region_key: str,
    max_regions: int,
    beam_width: int,
    metric: Metric,
    min_gain: float,
    connectivity_key: str,
    spatial_key: str,
) -> Plan:
    """Read regions and neighbours of the observations that are known."""
    annotation = read_annotation(adata, region_key)
    used = (annotation.codes >= 0) & known
    codes = annotation.codes[used]
    n_labels = annotation.members.shape[1]
    counts = np.bincount(codes, minlength=n_labels)
    if (counts > 0).sum() < 2:
        msg = (
            f"Of the regions in adata.obs[{region_key!r}], fewer than two have "
            "observations with values to compare."
        )
        raise ValueError(msg)
    graph = read_neighbours(
        adata, used, connectivity_key=connectivity_key, spatial_key=spatial_key
    )
    regions = lift(annotation.members, counts, graph_adjacency(codes, graph, n_labels))
    search = plan_search(
        codes,
        regions,
        max_regions=max_regions,
        beam_width=beam_width,
        metric=metric,
        min_gain=min_gain,
    )
    return Plan(annotation, used, graph, regions, search)
