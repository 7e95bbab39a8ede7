"""Plots of factors and of what follows from them."""

from __future__ import annotations

from ._canonical_pair import canonical_pair
from ._cluster_composition import cluster_composition
from ._cluster_dots import cluster_dots
from ._coexpression_network import coexpression_network
from ._compare_patterns import compare_patterns
from ._comparison import comparison
from ._decoded_trace import decoded_trace
from ._decoding import decoding
from ._deconvolution import deconvolution
from ._demixed_pca import demixed_pca
from ._event_average import event_average
from ._factor_correlation import factor_correlation
from ._factor_maps import factor_maps
from ._factor_merge import factor_merge
from ._footprints import footprints
from ._gene_importance import gene_importance
from ._hemodynamic_maps import hemodynamic_maps
from ._inmf_search import inmf_search
from ._loadings import loadings
from ._map_distances import map_distances
from ._marker_agreement import marker_agreement
from ._metagenes import metagenes
from ._missing_type import missing_type
from ._motion import motion
from ._movie import movie
from ._objective import objective
from ._presence import presence
from ._region_cca import region_cca
from ._region_correlation import region_correlation
from ._region_map import region_map
from ._region_matrix import region_matrix
from ._region_prediction import region_prediction
from ._region_quality import region_quality
from ._region_sets import region_sets
from ._seed_correlation import seed_correlation
from ._shared_change import shared_change
from ._shared_history import shared_history
from ._spatial_importance import spatial_importance
from ._stability import stability
from ._svd_variance_ratio import svd_variance_ratio
from ._top_genes import top_genes
from ._traces import traces
from ._type_correlation import type_correlation
from ._volume_maps import volume_maps
from ._widefield_report import widefield_report

__all__ = [
    "canonical_pair",
    "cluster_composition",
    "cluster_dots",
    "coexpression_network",
    "compare_patterns",
    "comparison",
    "decoded_trace",
    "decoding",
    "deconvolution",
    "demixed_pca",
    "event_average",
    "factor_correlation",
    "factor_maps",
    "factor_merge",
    "footprints",
    "gene_importance",
    "hemodynamic_maps",
    "inmf_search",
    "loadings",
    "map_distances",
    "marker_agreement",
    "metagenes",
    "missing_type",
    "motion",
    "movie",
    "objective",
    "presence",
    "region_cca",
    "region_correlation",
    "region_map",
    "region_matrix",
    "region_prediction",
    "region_quality",
    "region_sets",
    "seed_correlation",
    "shared_change",
    "shared_history",
    "spatial_importance",
    "stability",
    "svd_variance_ratio",
    "top_genes",
    "traces",
    "type_correlation",
    "volume_maps",
    "widefield_report",
]
