"""Preprocessing."""

from __future__ import annotations

from ._align_behavior import align_behavior
from ._align_events import align_events
from ._average_experiments import average_experiments
from ._correct_slices import correct_slices
from ._deviant_genes import deviant_genes
from ._impute_knn import impute_knn
from ._mirror_hemispheres import mirror_hemispheres
from ._signatures import signatures

__all__ = [
    "align_behavior",
    "align_events",
    "average_experiments",
    "correct_slices",
    "deviant_genes",
    "impute_knn",
    "mirror_hemispheres",
    "signatures",
]
