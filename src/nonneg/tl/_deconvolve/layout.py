"""Where locations are: coordinates, sections, regions and what is known of these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._adata.checks import as_numbers, check_key
from ..._adata.labels import encode_labels
from ..._adata.places import read_places

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Layout:
    """Where locations are."""

    coords: NDArray[np.float64] | None
    section: NDArray[np.intp]
    group: NDArray[np.intp]
    """Region within a section, or the section."""
    labels: NDArray[np.intp] | None
    """Region."""
    regions: NDArray[Any] | None
    """Names of the regions."""


def read_layout(
    adata: AnnData,
    spatial_key: str | None,
    library_key: str | None,
    region_key: str | None,
) -> Layout:
    """Coordinates, sections and regions."""
    coords, section, _ = read_places(
        adata,
        spatial_key,
        library_key,
        hint="Pass spatial_key=None to treat locations as unrelated.",
    )
    if region_key is None:
        return Layout(coords, section, section, None, None)
    check_key(adata, "obs", region_key)
    labels, names = encode_labels(adata.obs[region_key], f"adata.obs[{region_key!r}]")
    _, group = np.unique(section * len(names) + labels, return_inverse=True)
    return Layout(coords, section, group, labels, names)


def region_compositions(
    table: pd.DataFrame, layout: Layout, types: NDArray[Any]
) -> NDArray[np.float64]:
    """Share of cells in every region, (n_regions, n_types), in the order of codes."""
    assert layout.regions is not None
    table = table.rename(index=str, columns=str)
    for what, wanted, given in (
        ("regions", layout.regions, table.index),
        ("cell types", types, table.columns),
    ):
        if lacking := sorted(set(map(str, wanted)) - set(given)):
            msg = f"compositions lacks the {what} {lacking}."
            raise ValueError(msg)
        if not given.is_unique:
            msg = f"compositions names {what} twice."
            raise ValueError(msg)
    part = table.loc[list(map(str, layout.regions)), list(map(str, types))]
    values = as_numbers(part, "compositions")
    if not (values >= 0).all() or not (values.sum(1) > 0).all():
        msg = "compositions must be shares: not negative, and with a sum above 0."
        raise ValueError(msg)
    return values / values.sum(1, keepdims=True)
