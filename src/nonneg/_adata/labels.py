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
    return encode_labels(adata.obs[library_key], f"adata.obs[{library_key!r}]")


def encode_labels(column: Any, where: str) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """Labels as positions among their sorted names."""
    # Of a lazy AnnData, columns are not pandas.
    column = pd.Series(np.asarray(column, object))
    if column.isna().any():
        msg = (
            f"{where} is missing for {int(column.isna().sum())} observations. Fill or "
            "remove them first."
        )
        raise ValueError(msg)
    labels = np.asarray(column.astype(str), object)
    names, codes = np.unique(labels, return_inverse=True)
    return codes.astype(np.intp), names
