"""Where observations of spatial models are: coordinates, and the section of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._core.quiet import collected
from .coordinates import read_coordinates
from .labels import read_sections
from .stacked import warn_stacked

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


class Places(NamedTuple):
    """Where observations are."""

    coords: NDArray[np.float64] | None
    """(n_obs, 2 or 3); `None`: not asked for."""
    section: NDArray[np.intp]
    """(n_obs,)"""
    names: NDArray[Any]
    """Names of the sections, sorted; one empty name where there are none."""


def read_places(
    adata: AnnData, spatial_key: str | None, library_key: str | None, *, hint: str = ""
) -> Places:
    """Coordinates and sections, with a warning where sections seem to be untold."""
    section, names = read_sections(adata, library_key)
    if spatial_key is None:
        return Places(None, section, names)
    coords = read_coordinates(adata, spatial_key, hint=hint)
    # Models say it themselves of all at one place; and whoever fits many has read the
    # places of all.
    if collected() is None and np.ptp(coords, axis=0).any():
        warn_stacked(
            adata, coords, section, spatial_key=spatial_key, library_key=library_key
        )
    return Places(coords, section, names)
