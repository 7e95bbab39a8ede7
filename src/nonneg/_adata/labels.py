"""Labels of observations: sections, data sets, clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from .checks import check_key

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


class Labels(NamedTuple):
    """Labels that some observation has."""

    codes: NDArray[np.intp]
    """(n_obs,): position among the names; -1 where the label is missing."""
    names: NDArray[Any]
    """As strings, in the order of the categories, or sorted."""


def read_labels(adata: AnnData, key: str, *, hint: str = "") -> Labels:
    """Labels in a column of obs, in the user's order; some may be missing."""
    check_key(adata, "obs", key, hint=hint)
    column = pd.Series(np.asarray(adata.obs[key], object)).astype("category")
    if isinstance(adata.obs[key].dtype, pd.CategoricalDtype):
        order = adata.obs[key].cat.categories
        column = column.cat.set_categories([c for c in order if c in set(column)])
    return Labels(
        np.asarray(column.cat.codes, np.intp),
        np.asarray(column.cat.categories.astype(str), object),
    )


def read_sections(
    adata: AnnData, library_key: str | None
) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """Section of every observation, and their sorted names."""
    if library_key is None:
        return np.zeros(adata.n_obs, np.intp), np.array([""], object)
    check_key(adata, "obs", library_key)
    return encode_labels(adata.obs[library_key], f"adata.obs[{library_key!r}]")


def encode_labels(column: Any, where: str) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """Labels as positions among their sorted names; none may be missing."""
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
