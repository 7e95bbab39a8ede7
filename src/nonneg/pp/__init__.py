"""Preprocessing."""

from __future__ import annotations

from ._average_experiments import average_experiments
from ._correct_slices import correct_slices
from ._deviant_genes import deviant_genes
from ._impute_knn import impute_knn
from ._mirror_hemispheres import mirror_hemispheres
from ._signatures import signatures

__all__ = [
    "average_experiments",
    "correct_slices",
    "deviant_genes",
    "impute_knn",
    "mirror_hemispheres",
    "signatures",
]
