"""Cells as they are given to metrics: embeddings and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._adata.checks import as_numbers
from .._core.text import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_embedding(x: Any, name: str) -> NDArray[Any]:
    """An embedding (n_cells, n_dims) without NaN."""
    embedding = as_numbers(x, name)
    if embedding.ndim != 2:
        msg = f"{name} must be a matrix of cells x dimensions, not {embedding.shape}."
        raise ValueError(msg)
    if not np.isfinite(embedding).all():
        n_bad = int((~np.isfinite(embedding)).any(axis=1).sum())
        msg = f"{name} has {counted(n_bad, 'cell')} with NaN or infinite entries."
        raise ValueError(msg)
    return embedding


def encode(labels: Any) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """Code of every label, -1 where it is missing, and the sorted labels."""
    if np.ndim(labels) != 1:
        msg = f"Labels must be in one row, not of the shape {np.shape(labels)}."
        raise ValueError(msg)
    # A series: in an array of strings, NaN would be one of them.
    try:
        codes, names = pd.factorize(pd.Series(labels).to_numpy(), sort=True)
    except (TypeError, ValueError) as error:
        msg = f"Labels must be text or numbers, not a {type(labels).__name__}: {error}."
        raise TypeError(msg) from error
    return codes, names


def read_batches(batches: Any, n_cells: int) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """Data set of every cell as a code, and the sorted names of data sets."""
    codes, names = encode(batches)
    if codes.shape != (n_cells,):
        msg = f"x has {n_cells} cells, but batches has {codes.size} labels."
        raise ValueError(msg)
    if (codes < 0).any():
        msg = f"batches is missing for {counted(int((codes < 0).sum()), 'cell')}."
        raise ValueError(msg)
    return codes, names
