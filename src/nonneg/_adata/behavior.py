"""Behaviour that is aligned to frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .checks import as_numbers, check_key

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

BEHAVIOR = "behavior"
"""In varm: (n_frames, n_columns); in uns: names of the columns."""


def read_behavior(adata: AnnData, column: str, key: str) -> NDArray[np.float64]:
    """(n_frames,): a column of behaviour, or of var; NaN where it is not known."""
    if column in adata.var:
        return as_numbers(adata.var[column], f"adata.var[{column!r}]")
    hint = "Call `nonneg.pp.align_behavior` first."
    check_key(adata, "varm", key, hint=hint)
    check_key(adata, "uns", key, hint=hint)
    stored: Any = adata.uns[key]
    names = [str(name) for name in np.ravel(stored.get("columns", ()))]
    if column not in names:
        msg = f"There is no behaviour {column!r}; there are {names}."
        raise KeyError(msg)
    values = as_numbers(adata.varm[key], f"adata.varm[{key!r}]")
    return np.asarray(values[:, names.index(column)])
