"""Checks of the arguments of a deconvolution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anndata import AnnData

from ..._core.validators import check_at_least, check_one_of, check_positive_int
from ...models.deconvolution.problem import IS_COUNTS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from .front import Choices


def check_choices(choices: Choices) -> None:
    """Raise if a number or a name is out of range."""
    options = choices.options
    check_one_of(options.likelihood, tuple(IS_COUNTS), "likelihood")
    for name in ("n_genes", "max_types"):
        value = choices.n_genes if name == "n_genes" else options.max_types
        if value is not None:
            check_positive_int(value, name)
    check_positive_int(choices.n_neighbors, "n_neighbors")
    check_positive_int(options.budget.max_iter, "max_iter")
    check_at_least(options.budget.tol, 0, "tol")
    for name in ("graph_weight", "group_weight"):
        value = getattr(options.wishes, name)
        if value is not None:
            check_at_least(value, 0, name)
    if not 0 < options.fdr < 1:
        msg = f"fdr={options.fdr!r} must be above 0 and below 1."
        raise ValueError(msg)
    check_compositions(choices.compositions, choices.region_key)
    if choices.spatial_key is None and options.wishes.graph_weight:
        msg = (
            f"graph_weight={options.wishes.graph_weight} needs coordinates, but "
            "spatial_key is None."
        )
        raise ValueError(msg)
    if options.likelihood != "poisson" and options.wishes.effects:
        msg = "effects=True is for likelihood='poisson'."
        raise ValueError(msg)


def check_compositions(
    compositions: pd.DataFrame | None, region_key: str | None
) -> None:
    """Raise where there are no regions to have them."""
    if compositions is not None and region_key is None:
        msg = "compositions are of regions: pass region_key."
        raise ValueError(msg)


def check_order(adata: AnnData, reference: Any, cell_type_key: str | None) -> None:
    """Raise where the section and the reference have changed places."""
    if cell_type_key is None or not isinstance(reference, AnnData):
        return
    if cell_type_key in adata.obs and cell_type_key not in reference.obs:
        msg = (
            f"cell_type_key={cell_type_key!r} is a column of adata, the section, and not "
            "of reference, the cells: the section comes first, (adata, reference)."
        )
        raise ValueError(msg)


def check_types(types: NDArray[Any], per_cell: NDArray[np.float64]) -> None:
    """Raise unless there are several types, each with counts."""
    if types.size < 2:
        msg = f"There is one cell type, {types[0]!r}; nothing is mixed."
        raise ValueError(msg)
    empty = types[~(per_cell > 0)]
    if empty.size:
        msg = (
            f"The signatures of {list(empty)} are zero in all genes used. Remove these "
            "types, or use more genes."
        )
        raise ValueError(msg)
