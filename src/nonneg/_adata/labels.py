"""Labels of observations: sections, data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .checks import check_key

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


def read_sections(
    adata: AnnData, library_key: str | None
) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """Section of every observation, and their names."""
    if library_key is None:
        return np.zeros(adata.n_obs, np.intp), np.array([""], object)
    check_key(adata, "obs", library_key)
    # Of a lazy AnnData, columns are not pandas.
    column = pd.Series(np.asarray(adata.obs[library_key], object))
    if column.isna().any():
        msg = (
            f"adata.obs[{library_key!r}] is missing for {int(column.isna().sum())} "
            "observations. Fill or remove them first."
        )
        raise ValueError(msg)
    labels = np.asarray(column.astype(str), object)
    names, section = np.unique(labels, return_inverse=True)
    return section.astype(np.intp), names
