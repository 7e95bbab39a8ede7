"""Readers that take a SpatialData as they take an AnnData."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, cast

from anndata import AnnData

from .read import is_mudata

if TYPE_CHECKING:
    from collections.abc import Callable

    from spatialdata import SpatialData


def of_table[F: Callable[..., Any]](function: F) -> F:
    """Let a function that reads an AnnData read a MuData, or a SpatialData's table.

    Its signature stays: of a SpatialData with several tables, users give one.
    """

    @wraps(function)
    def of_either(adata: AnnData | SpatialData, *args: Any, **kwargs: Any) -> Any:
        return function(_table(adata), *args, **kwargs)

    return cast("F", of_either)


def _table(data: AnnData | SpatialData) -> AnnData:
    if isinstance(data, AnnData) or is_mudata(data):
        return cast("AnnData", data)
    tables = getattr(data, "tables", None)
    if tables is None:
        msg = f"Expected an AnnData or a SpatialData, not a {type(data).__name__}."
        raise TypeError(msg)
    if len(tables) != 1:
        msg = (
            f"The SpatialData has {len(tables)} tables, {list(tables)}: give the AnnData "
            "itself, as in `sdata.tables['table']`."
        )
        raise ValueError(msg)
    (table,) = tables.values()
    return table
