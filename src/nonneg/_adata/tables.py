"""Readers that take a SpatialData as they take an AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from anndata import AnnData

from .read import is_mudata

if TYPE_CHECKING:
    from spatialdata import SpatialData


def read_table(data: AnnData | SpatialData, table_key: str | None) -> AnnData:
    """What to read: an AnnData or MuData as it is, or a table of a SpatialData."""
    if isinstance(data, AnnData) or is_mudata(data):
        if table_key is not None:
            msg = f"table_key={table_key!r} only applies to a SpatialData."
            raise ValueError(msg)
        return cast("AnnData", data)
    tables = getattr(data, "tables", None)
    if tables is None:
        msg = f"Expected an AnnData or a SpatialData, not a {type(data).__name__}."
        raise TypeError(msg)
    if table_key is not None:
        if table_key not in tables:
            msg = f"table_key={table_key!r} is not in {list(tables)}."
            raise KeyError(msg)
        return tables[table_key]
    if not tables:
        msg = "The SpatialData has no tables."
        raise ValueError(msg)
    if len(tables) > 1:
        names = list(tables)
        msg = (
            f"The SpatialData has {len(tables)} tables, {names}: name one, as in "
            f"table_key={names[0]!r}."
        )
        raise ValueError(msg)
    (table,) = tables.values()
    return table
