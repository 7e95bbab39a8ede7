"""Tools: factorizations and what follows from them."""

from __future__ import annotations

from ._centroid_align import centroid_align
from ._compare import compare
from ._fa import fa
from ._factor_markers import factor_markers
from ._inmf import inmf
from ._inmf_search import inmf_search
from ._nmf import nmf
from ._nsf import nsf
from ._nsfh import nsfh
from ._online_inmf import online_inmf
from ._online_inmf_update import online_inmf_update
from ._pnmf import pnmf
from ._predict import predict
from ._project import project
from ._quantile_align import quantile_align
from ._rsf import rsf
from ._seminmf import seminmf

__all__ = [
    "centroid_align",
    "compare",
    "fa",
    "factor_markers",
    "inmf",
    "inmf_search",
    "nmf",
    "nsf",
    "nsfh",
    "online_inmf",
    "online_inmf_update",
    "pnmf",
    "predict",
    "project",
    "quantile_align",
    "rsf",
    "seminmf",
]
