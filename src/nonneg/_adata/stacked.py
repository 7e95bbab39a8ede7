"""Sections that lie on top of each other because nothing tells them apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._core.warnings import warn
from .labels import read_labels

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

# Cells of one section share a place where coordinates are rounded, to micrometres say:
# one in a hundred at most, with a cell in 100 square micrometres. Of two sections on one
# lattice, most locations do.
_MANY = 0.05


def warn_stacked(
    adata: AnnData,
    coords: NDArray[np.float64],
    section: NDArray[np.intp],
    *,
    spatial_key: str,
    library_key: str | None,
) -> None:
    """Warn where locations of several sections would be neighbours."""
    table = pd.DataFrame(coords).assign(section=section)
    share = table.duplicated(keep=False).mean()
    if share > _MANY:
        columns = _columns(adata, table)
        head = (
            f"{share:.0%} of the locations in adata.obsm[{spatial_key!r}] have the "
            "coordinates of another one, as where sections lie on top of each other."
        )
    elif library_key is None and (names := _sections_of(adata, spatial_key)):
        columns = [
            name
            for name in _texts(adata)
            if len(names & set(read_labels(adata, name).names)) > 1
        ]
        head = f"adata.uns names several sections, {sorted(names)}."
        if not columns:
            # All but one may have been removed since.
            return
    else:
        return
    such = f", such as {columns}" if columns else ""
    warn(
        f"{head} They are treated as one section unless `library_key` names the column of "
        f"adata.obs that tells them apart{such}."
    )


def _columns(adata: AnnData, table: pd.DataFrame) -> list[str]:
    """Columns whose groups have hardly any place in common."""
    found = []
    for name in _texts(adata):
        labels = read_labels(adata, name)
        # Names of the locations themselves tell all apart.
        if 1 < labels.names.size <= len(table) // 2:
            apart = table.assign(label=labels.codes)
            if apart.duplicated(keep=False).mean() <= _MANY:
                found.append(name)
    return found


def _sections_of(adata: AnnData, spatial_key: str) -> set[str]:
    """Names of sections, where squidpy or SpatialData know of several."""
    known: list[Any] = []
    pictures = adata.uns.get(spatial_key)
    if isinstance(pictures, Mapping):
        known += pictures
    regions = adata.uns.get("spatialdata_attrs", {}).get("region")
    if isinstance(regions, list | np.ndarray):
        known += list(regions)
    names = {str(name) for name in known}
    return names if len(names) > 1 else set()


def _texts(adata: AnnData) -> list[str]:
    """Columns of labels."""
    numeric = pd.api.types.is_numeric_dtype
    return [str(name) for name in adata.obs if not numeric(adata.obs[name].dtype)]
