"""Where the scores of many cells go, block by block."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pandas as pd
from anndata.io import write_elem

from .stored import AnyPath, open_group

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from .data_sets import DataSets


# Rows of a stored chunk.
_CHUNK = 4096


class ScoreSink:
    """Takes scores of some cells after the other, and keeps none: nobody asked."""

    def __init__(self, rank: int) -> None:
        self.scores = np.empty((0, rank), np.float32)
        """What belongs into obsm beside the model."""

    def write(self, rows: Any, scores: NDArray[Any]) -> None:
        """Scores of the cells at these positions."""

    def complete(self, model: AnnData) -> None:
        """All scores are there, and belong to this model."""


class ScoresInMemory(ScoreSink):
    """An array of scores, for an AnnData in memory."""

    def __init__(self, n_obs: int, rank: int) -> None:
        self.scores = np.zeros((n_obs, rank), np.float32)

    def write(self, rows: Any, scores: NDArray[Any]) -> None:
        self.scores[rows] = scores


class ScoresInSources(ScoreSink):
    """Scores on their way to the files and objects that the cells come from."""

    def __init__(
        self, data_sets: DataSets, key: str, rank: int, folder: AnyPath
    ) -> None:
        super().__init__(rank)
        self._sources, self._key = data_sets.sources, key
        shape = (data_sets.n_obs, rank)
        self._scores = np.memmap(Path(folder) / "scores", np.float32, "w+", shape=shape)

    def write(self, rows: Any, scores: NDArray[Any]) -> None:
        self._scores[rows] = scores

    def complete(self, model: AnnData) -> None:
        """Each source gets its own."""
        first = 0
        for source in self._sources:
            rows = slice(first, first + source.n_obs)
            source.write_scores(self._scores[rows], self._key)
            first = rows.stop


class ScoresInFile(ScoreSink):
    """An AnnData of scores in a file, which appears when it is complete.

    Parameters
    ----------
    path
        Where to write it: .h5ad or .zarr.
    data_sets
        The cells.
    key
        Of the scores in obsm.
    rank
        Number of components.
    column
        Of obs, for the names of the data sets.
    """

    def __init__(
        self, path: AnyPath, data_sets: DataSets, key: str, rank: int, column: str
    ) -> None:
        super().__init__(rank)
        self._path = Path(path)
        self._unfinished = self._path.with_name(f".unfinished-{self._path.name}")
        self._data_sets, self._column = data_sets, column
        self._group = open_group(self._unfinished, "w")
        for name in ("obsm", "layers", "obsp", "varp"):
            write_elem(self._group, name, {})
        self._group.attrs.update(
            {"encoding-type": "anndata", "encoding-version": "0.1.0"}
        )
        shape = (data_sets.n_obs, rank)
        self._scores = _new_array(self._group["obsm"], key, shape, "float32", "array")

    def write(self, rows: Any, scores: NDArray[Any]) -> None:
        self._scores[rows] = scores

    def complete(self, model: AnnData) -> None:
        """Add names and model, and put the file in its place."""
        data_sets = self._data_sets
        names = pd.Index(np.asarray(data_sets.names, object))
        labels = pd.Categorical.from_codes(data_sets.codes, names)
        self._write_obs(
            chain.from_iterable(source.obs_names() for source in data_sets.sources),
            {self._column: labels},
        )
        write_elem(self._group, "var", model.var)
        for name in ("varm", "uns"):
            write_elem(self._group, name, dict(getattr(model, name)))
        self._close()
        self._unfinished.replace(self._path)

    def discard(self) -> None:
        """Remove what was written so far."""
        self._close()
        if self._unfinished.is_dir():
            shutil.rmtree(self._unfinished)
        else:
            self._unfinished.unlink(missing_ok=True)

    def _write_obs(
        self, names: Iterator[NDArray[Any]], columns: Mapping[str, pd.Categorical]
    ) -> None:
        """Names of all observations, and columns."""
        obs = self._group.create_group("obs")
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
        shape = (self._data_sets.n_obs,)
        index = _new_array(obs, "_index", shape, dtype, "string-array")
        start = 0
        for some in names:
            index[start : start + some.size] = some
            start += some.size
        for name, values in columns.items():
            write_elem(obs, name, values)

    def _close(self) -> None:
        if isinstance(self._group, h5py.File):
            self._group.close()


def _new_array(
    group: Any, name: str, shape: tuple[int, ...], dtype: Any, kind: str
) -> Any:
    chunks = (max(min(shape[0], _CHUNK), 1), *shape[1:])
    create = (
        group.create_dataset if isinstance(group, h5py.Group) else group.create_array
    )
    array = create(name, shape=shape, dtype=dtype, chunks=chunks)
    array.attrs.update({"encoding-type": kind, "encoding-version": "0.2.0"})
    return array


@contextmanager
def open_scores(
    data_sets: DataSets,
    key: str,
    rank: int,
    *,
    in_memory: bool,
    path: AnyPath | None,
    write_back: bool,
    column: str,
) -> Iterator[ScoreSink]:
    """Where scores go; what is not completed is removed."""
    if in_memory:
        yield ScoresInMemory(data_sets.n_obs, rank)
    elif write_back:
        with TemporaryDirectory(prefix="nonneg-") as folder:
            yield ScoresInSources(data_sets, key, rank, folder)
    elif path is not None:
        sink = ScoresInFile(path, data_sets, key, rank, column)
        try:
            yield sink
        except BaseException:
            sink.discard()
            raise
    else:
        yield ScoreSink(rank)


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
