"""Labels of observations: sections, data sets, clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from .._core.text import counted
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


def as_text(stored: Any) -> NDArray[np.str_]:
    """Strings as they were stored, from whichever file they were read."""
    # Zarr stores give text of numpy's new type, which does not turn into the old one.
    return np.ravel(np.asarray(stored, object)).astype(str)


def read_labels(adata: AnnData, key: str, *, hint: str = "") -> Labels:
    """Labels in a column of obs, in the user's order; some may be missing."""
    check_key(adata, "obs", key, hint=hint)
    return _encode(adata.obs[key])


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
    labels = _encode(column)
    check_labelled(labels, where)
    # Results do not depend on the order of categories.
    order = np.argsort(labels.names)
    return np.argsort(order)[labels.codes], labels.names[order]


def check_labelled(labels: Labels, where: str) -> None:
    """Raise if labels are missing."""
    missing = labels.codes < 0
    if missing.any():
        is_column = where.startswith("adata.obs[")
        how = f", as in `adata[{where}.notna()].copy()`" if is_column else ""
        msg = (
            f"{where} is missing for {counted(int(missing.sum()), 'observation')}: NaN, or None, "
            f"first in row {int(missing.argmax())}. Remove these first{how}, or give them a label."
        )
        raise ValueError(msg)


def _encode(column: Any) -> Labels:
    """Categories that no observation has are left out."""
    names: Any
    # Of a lazy AnnData, columns are not pandas.
    is_pandas = isinstance(column, pd.Series | pd.Categorical)
    if is_pandas and isinstance(column.dtype, pd.CategoricalDtype):
        categorical = pd.Categorical(column).remove_unused_categories()
        codes, names = categorical.codes, categorical.categories
    else:
        codes, names = pd.factorize(np.asarray(column, object), sort=True)
    text = pd.Index(names).astype(str)
    unique = text.unique()
    # Labels that are the same as text, such as 1 and "1", are one. The last entry is
    # that of missing labels, whose code is -1.
    position = np.append(unique.get_indexer(text), -1)
    return Labels(position[codes].astype(np.intp), unique.to_numpy(object))
