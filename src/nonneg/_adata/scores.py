"""Scores of many cells, written to a file row by row."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from anndata.io import write_elem

from .stored import AnyPath, open_group

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray


# Rows of a stored chunk.
_CHUNK = 4096


class ScoreFile:
    """An AnnData of scores that is written row by row, and appears when complete.

    Parameters
    ----------
    path
        Where to write it: .h5ad or .zarr.
    key
        Of the scores in obsm.
    shape
        Observations x components.
    """

    def __init__(self, path: AnyPath, key: str, shape: tuple[int, int]) -> None:
        self._path = Path(path)
        self._unfinished = self._path.with_name(f".unfinished-{self._path.name}")
        self.group = open_group(self._unfinished, "w")
        for name in ("obsm", "layers", "obsp", "varp"):
            write_elem(self.group, name, {})
        self.group.attrs.update(
            {"encoding-type": "anndata", "encoding-version": "0.1.0"}
        )
        self._n_obs = shape[0]
        self.scores = self._array(self.group["obsm"], key, shape, "float32", "array")

    def write_obs(
        self, names: Iterator[NDArray[Any]], columns: Mapping[str, pd.Categorical]
    ) -> None:
        """Names of all observations, and columns."""
        obs = self.group.create_group("obs")
        obs.attrs.update(
            {
                "encoding-type": "dataframe",
                "encoding-version": "0.2.0",
                "_index": "_index",
                "column-order": np.array(list(columns), dtype=object)
                if isinstance(obs, h5py.Group)
                else list(columns),
            }
        )
        dtype = h5py.string_dtype() if isinstance(obs, h5py.Group) else str
        index = self._array(obs, "_index", (self._n_obs,), dtype, "string-array")
        start = 0
        for some in names:
            index[start : start + some.size] = some
            start += some.size
        for name, values in columns.items():
            write_elem(obs, name, values)

    def write_model(self, model: AnnData) -> None:
        """Variables and all that is known of them."""
        write_elem(self.group, "var", model.var)
        for name in ("varm", "uns"):
            write_elem(self.group, name, dict(getattr(model, name)))

    def close(self) -> None:
        """Put the file in its place."""
        if isinstance(self.group, h5py.File):
            self.group.close()
        self._unfinished.replace(self._path)

    def discard(self) -> None:
        """Remove what was written so far."""
        if isinstance(self.group, h5py.File):
            self.group.close()
        if self._unfinished.is_dir():
            shutil.rmtree(self._unfinished)
        else:
            self._unfinished.unlink(missing_ok=True)

    @staticmethod
    def _array(
        group: Any, name: str, shape: tuple[int, ...], dtype: Any, kind: str
    ) -> Any:
        chunks = (max(min(shape[0], _CHUNK), 1), *shape[1:])
        create = (
            group.create_dataset
            if isinstance(group, h5py.Group)
            else group.create_array
        )
        array = create(name, shape=shape, dtype=dtype, chunks=chunks)
        array.attrs.update({"encoding-type": kind, "encoding-version": "0.2.0"})
        return array


def check_target(path: AnyPath, inputs: Sequence[AnyPath]) -> None:
    """Raise unless scores can be written to a new file of this name."""
    target = Path(path)
    if target.suffix not in {".h5ad", ".zarr"}:
        msg = f"scores={str(path)!r} must end in .h5ad or .zarr."
        raise ValueError(msg)
    if target.resolve() in {Path(used).resolve() for used in inputs}:
        msg = f"scores={str(path)!r} is one of the files to read."
        raise ValueError(msg)
    if target.exists():
        msg = f"scores={str(path)!r} exists. Remove it, or write elsewhere."
        raise ValueError(msg)
    if not target.parent.exists():
        msg = f"The folder of scores={str(path)!r} does not exist."
        raise ValueError(msg)
