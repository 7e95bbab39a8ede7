"""Results as AnnData, tables and images."""

from __future__ import annotations

from ._cell_type_counts import cell_type_counts
from ._cluster_composition import cluster_composition
from ._coexpression_graph import coexpression_graph
from ._comparison import comparison
from ._dataset_specificity import dataset_specificity
from ._dominant_type import dominant_type
from ._factor_correlation import factor_correlation
from ._factor_df import factor_df
from ._factors import factors
from ._image import image
from ._loadings_df import loadings_df
from ._marker_overlap import marker_overlap
from ._presence import presence
from ._region_sets import region_sets
from ._top_genes import top_genes

__all__ = [
    "cell_type_counts",
    "cluster_composition",
    "coexpression_graph",
    "comparison",
    "dataset_specificity",
    "dominant_type",
    "factor_correlation",
    "factor_df",
    "factors",
    "image",
    "loadings_df",
    "marker_overlap",
    "presence",
    "region_sets",
    "top_genes",
]
