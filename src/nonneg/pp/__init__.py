"""Preprocessing."""

from __future__ import annotations

from ._align_behavior import align_behavior
from ._align_events import align_events
from ._average_experiments import average_experiments
from ._correct_slices import correct_slices
from ._delta_f import delta_f
from ._deviant_genes import deviant_genes
from ._hemodynamic_correction import hemodynamic_correction
from ._impute_knn import impute_knn
from ._mirror_hemispheres import mirror_hemispheres
from ._motion_correct import motion_correct
from ._signatures import signatures
from ._svd import svd

__all__ = [
    "align_behavior",
    "align_events",
    "average_experiments",
    "correct_slices",
    "delta_f",
    "deviant_genes",
    "hemodynamic_correction",
    "impute_knn",
    "mirror_hemispheres",
    "motion_correct",
    "signatures",
    "svd",
]
