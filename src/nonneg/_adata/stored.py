"""AnnData on disk, read and written piece by piece."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pandas as pd
import zarr
from anndata.io import read_elem, sparse_dataset

from ..operators.validate import reading
from .checks import check_shape
from .files import beside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from .files import AnyPath

# Kinds of dtype of stored names; anndata reads whole numbers as text.
_TEXT = "OSUTiu"

# Names that are read at a time.
_NAMES = 8192


def open_group(path: AnyPath, mode: str) -> Any:
    if Path(path).suffix == ".zarr":
        # Consolidated metadata cannot be written to.
        consolidated = False if mode == "r+" else None
        return zarr.open_group(path, mode=mode, use_consolidated=consolidated)  # type: ignore[arg-type]
    return h5py.File(path, mode)


@dataclass(frozen=True)
class StoredAnnData:
    """An AnnData in a file, of which nothing is in memory yet."""

    path: AnyPath
    group: Any

    @property
    def n_obs(self) -> int:
        """Number of observations."""
        with reading(f"obs of {self.path}"):
            return int(self._index("obs")[0].shape[0])

    @property
    def var_names(self) -> pd.Index[str]:
        """Names of the variables."""
        return pd.Index(self._read_names("var", slice(None))).astype(str)

    def matrix(self, layer: str | None) -> tuple[Any, str]:
        """X or a layer, and what to call it in messages."""
        where = "X" if layer is None else f"layers/{layer}"
        label = f"{where} of {self.path}"
        with reading(label):
            missing = where not in self.group
            layers = sorted(self.group.get("layers", {}))
        if missing:
            msg = f"{self.path} has no {where}; its layers are {layers}."
            raise KeyError(msg)
        with reading(label):
            x = self.group[where]
            is_sparse = isinstance(x, h5py.Group | zarr.Group)
            x = sparse_dataset(x) if is_sparse else x
        check_shape(x, (self.n_obs, len(self.var_names)), label)
        return x, label

    def column(self, of: str, name: str) -> pd.Series[Any]:
        """A column of obs or var."""
        label = f"{name!r} in {of} of {self.path}"
        with reading(label):
            frame = self.group[of]
            columns = [str(column) for column in frame.attrs["column-order"]]
        if name not in columns:
            msg = f"{name!r} is not in {of} of {self.path}, which holds {columns}."
            raise KeyError(msg)
        with reading(label):
            values = _read_column(frame, name)
        n_rows = self.n_obs if of == "obs" else len(self.var_names)
        if len(values) != n_rows:
            msg = f"{label} has {len(values)} entries for {n_rows} rows: it is damaged."
            raise ValueError(msg)
        return values

    def obs_names(self) -> Iterator[NDArray[Any]]:
        """Names of the observations, some at a time."""
        for start in range(0, self.n_obs, _NAMES):
            yield self._read_names("obs", slice(start, start + _NAMES))

    def _index(self, of: str) -> tuple[Any, NDArray[Any] | None]:
        """Stored names, or codes and the categories that they stand for."""
        index = self.group[of][self.group[of].attrs["_index"]]
        if not isinstance(index, h5py.Group | zarr.Group):
            return index, None
        if "codes" in index:
            return index["codes"], np.asarray(read_elem(index["categories"]), object)
        # Strings that may be missing have a mask beside them; names never are.
        return index["values"], None

    def _read_names(self, of: str, rows: slice) -> NDArray[Any]:
        with reading(f"{of} of {self.path}"):
            stored, categories = self._index(of)
            if categories is not None:
                codes = stored[rows]
                if codes.min(initial=0) < 0:
                    msg = "names are missing"
                    raise ValueError(msg)
                return categories[codes]
            if stored.dtype.kind not in _TEXT:
                msg = f"names have dtype {stored.dtype}"
                raise TypeError(msg)
            is_text = isinstance(stored, h5py.Dataset) and h5py.check_string_dtype(
                stored.dtype
            )
            return np.asarray((stored.asstr() if is_text else stored)[rows], object)

    def close(self) -> None:
        """Let go of the file."""
        if isinstance(self.group, h5py.File):
            self.group.close()


def _read_column(frame: Any, name: str) -> pd.Series[Any]:
    column = frame[name]
    if "categories" not in column.attrs:
        return pd.Series(read_elem(column))
    # Before anndata 0.8, categories were kept beside the codes.
    categories = frame["__categories"][name]
    if h5py.check_string_dtype(categories.dtype) is not None:
        categories = categories.asstr()
    index = pd.Index(categories[:])
    return pd.Series(pd.Categorical.from_codes(column[:], index))


def open_stored(path: AnyPath, *, write: bool = False) -> StoredAnnData:
    """Open an .h5ad or .zarr file, which can be written to later if that is asked."""
    if not Path(path).exists():
        msg = f"There is no file {path}."
        before = beside(Path(path).resolve(), "before")
        if before.exists():
            msg += (
                f" A process that was killed while it replaced it has left {before}: "
                "give that its name."
            )
        raise FileNotFoundError(msg)
    # Scores are written beside it first.
    if write and not all(
        os.access(p, os.W_OK) for p in (path, Path(path).resolve().parent)
    ):
        msg = f"{path} or its folder cannot be written to, as write_back=True asks."
        raise ValueError(msg)
    with reading(f"{path}, as .h5ad or .zarr,"):
        group = open_group(path, "r")
        held = sorted(group)
        parts = {name: group.get(name) for name in ("obs", "var")}
    stored = StoredAnnData(path, group)
    if any(isinstance(part, h5py.Dataset) for part in parts.values()):
        msg = (
            f"{path} was written by an old anndata. Read it with `anndata.read_h5ad` and "
            "write it again."
        )
        raise ValueError(msg)
    if None in parts.values():
        msg = f"{path} holds no AnnData: it has {held}."
        stored.close()
        raise ValueError(msg)
    return stored
