"""Tools: factorizations and what follows from them."""

from __future__ import annotations

from ._anatomy.compare_patterns import compare_patterns
from ._anatomy.region_correlation import region_correlation
from ._anatomy.region_prediction import region_prediction
from ._compare.compare import compare
from ._deconvolve.deconvolve import deconvolve
from ._deconvolve.learn_deconvolution import learn_deconvolution
from ._genes.coexpression_network import coexpression_network
from ._genes.gene_importance import gene_importance
from ._inmf.centroid_align import centroid_align
from ._inmf.factor_markers import factor_markers
from ._inmf.inmf import inmf
from ._inmf.inmf_search import inmf_search
from ._inmf.online_inmf import online_inmf
from ._inmf.online_inmf_update import online_inmf_update
from ._inmf.quantile_align import quantile_align
from ._locanmf.compare_atlases import compare_atlases
from ._locanmf.locanmf import locanmf
from ._locanmf.region_traces import region_traces
from ._nmf.nmf import nmf
from ._nmf.seminmf import seminmf
from ._nsf.fa import fa
from ._nsf.nsf import nsf
from ._nsf.nsfh import nsfh
from ._nsf.pnmf import pnmf
from ._nsf.rsf import rsf
from ._predict.predict import predict
from ._project.project import project
from ._stability.stability import stability
from ._traces.decode_behavior import decode_behavior
from ._traces.decode_events import decode_events
from ._traces.demixed_pca import demixed_pca
from ._traces.event_average import event_average
from ._traces.map_distances import MapDistances, map_distances
from ._traces.match_components import ComponentMatches, match_components
from ._traces.region_cca import region_cca
from ._traces.seed_correlation import seed_correlation

__all__ = [
    "ComponentMatches",
    "MapDistances",
    "centroid_align",
    "coexpression_network",
    "compare",
    "compare_atlases",
    "compare_patterns",
    "decode_behavior",
    "decode_events",
    "deconvolve",
    "demixed_pca",
    "event_average",
    "fa",
    "factor_markers",
    "gene_importance",
    "inmf",
    "inmf_search",
    "learn_deconvolution",
    "locanmf",
    "map_distances",
    "match_components",
    "nmf",
    "nsf",
    "nsfh",
    "online_inmf",
    "online_inmf_update",
    "pnmf",
    "predict",
    "project",
    "quantile_align",
    "region_cca",
    "region_correlation",
    "region_prediction",
    "region_traces",
    "rsf",
    "seed_correlation",
    "seminmf",
    "stability",
]
