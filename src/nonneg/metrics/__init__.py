"""Numbers that compare arrays."""

from __future__ import annotations

from ._agreement import agreement
from ._alignment import alignment
from ._composition_correlation import composition_correlation
from ._composition_divergence import composition_divergence
from ._composition_error import composition_error
from ._composition_rmse import composition_rmse
from ._instability import instability
from ._localization import localization
from ._marker_agreement import marker_agreement
from ._match_factors import FactorMatch, match_factors
from ._poisson_deviance import poisson_deviance
from ._presence_aupr import presence_aupr
from ._purity import purity
from ._r2 import r2
from ._region_auc import region_auc

__all__ = [
    "FactorMatch",
    "agreement",
    "alignment",
    "composition_correlation",
    "composition_divergence",
    "composition_error",
    "composition_rmse",
    "instability",
    "localization",
    "marker_agreement",
    "match_factors",
    "poisson_deviance",
    "presence_aupr",
    "purity",
    "r2",
    "region_auc",
]
