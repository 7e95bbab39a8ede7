"""Where the scores of many cells go, block by block."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pandas as pd
from anndata.io import write_elem

from .files import NewGroup, beside, locked, new_array, remove, writing
from .staged import commit_all, stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from .data_sets import DataSets
    from .files import AnyPath
    from .staged import Staged


class ScoreSink:
    """Takes scores of some cells after the other, and keeps none: nobody asked."""

    def __init__(self, rank: int) -> None:
        self.scores = np.empty((0, rank), np.float32)
        """What belongs into obsm beside the model."""

    def write(self, rows: Any, scores: NDArray[Any]) -> None:
        """Scores of the cells at these positions."""

    def complete(self, model: AnnData) -> None:
        """All scores are there, and belong to this model."""

    def discard(self) -> None:
        """Remove what is not in its place."""


class ScoresInMemory(ScoreSink):
    """An array of scores, for an AnnData in memory."""

    def __init__(self, n_obs: int, rank: int) -> None:
        self.scores = np.zeros((n_obs, rank), np.float32)

    def write(self, rows: Any, scores: NDArray[Any]) -> None:
        self.scores[rows] = scores


class ScoresInSources(ScoreSink):
    """Scores on their way to the files and objects that the cells come from."""

    def __init__(
        self, data_sets: DataSets, key: str, rank: int, safe: Callable[[], str]
    ) -> None:
        super().__init__(rank)
        self._more = safe
        self._staged: list[Staged] = []
        sizes = [source.n_obs for source in data_sets.sources]
        self._first = np.cumsum([0, *sizes])[:-1]
        try:
            for source in data_sets.sources:
                with writing(f"A copy of {source.place} with scores", self._safe):
                    self._staged.append(stage(source, key, rank))
        except BaseException:
            self.discard()
            raise

    @property
    def _safe(self) -> str:
        return f"No file has changed. {self._more()}".rstrip()

    def write(self, rows: Any, scores: NDArray[Any]) -> None:
        if not len(scores):
            return
        start = rows.start if isinstance(rows, slice) else rows[0]
        # Cells that come together are of one source.
        number = int(np.searchsorted(self._first, start, side="right")) - 1
        first, one = int(self._first[number]), self._staged[number]
        with writing(f"The scores of {one.name}", self._safe):
            one.write(
                slice(rows.start - first, rows.stop - first)
                if isinstance(rows, slice)
                else rows - first,
                scores,
            )

    def complete(self, model: AnnData) -> None:
        """All sources get theirs, or none."""
        commit_all(self._staged, self._safe)

    def discard(self) -> None:
        for one in self._staged:
            one.discard()


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
    safe
        What to say, where this fails, of all that is not lost.
    """

    def __init__(
        self,
        path: AnyPath,
        data_sets: DataSets,
        key: str,
        rank: int,
        *,
        column: str,
        safe: Callable[[], str],
    ) -> None:
        super().__init__(rank)
        # Links are followed, and the working directory may change.
        self._path = Path(path).resolve()
        self._label = f"scores={str(path)!r}"
        self._more = safe
        self._unfinished = beside(self._path, "unfinished")
        self._data_sets, self._column = data_sets, column
        self._new: NewGroup | None = None
        self._lock = ExitStack()
        self._lock.enter_context(locked(path, self._label))
        try:
            with writing(self._label, self._safe):
                self._scores = self._begin(key, rank)
        except BaseException:
            self.discard()
            raise

    @property
    def _safe(self) -> str:
        safe = "Nothing of it is left, and no other file has changed."
        return f"{safe} {self._more()}".rstrip()

    def _begin(self, key: str, rank: int) -> Any:
        remove(self._unfinished)
        self._new = NewGroup(self._unfinished, "w")
        with self._new.watched():
            self._group = self._new.group
            for name in ("obsm", "layers", "obsp", "varp"):
                write_elem(self._group, name, {})
            self._group.attrs.update(
                {"encoding-type": "anndata", "encoding-version": "0.1.0"}
            )
            shape = (self._data_sets.n_obs, rank)
            return new_array(self._group["obsm"], key, shape, "float32", "array")

    def write(self, rows: Any, scores: NDArray[Any]) -> None:
        assert self._new is not None
        with writing(self._label, self._safe), self._new.watched():
            self._scores[rows] = scores

    def complete(self, model: AnnData) -> None:
        """Add names and model, and put the file in its place."""
        assert self._new is not None
        with writing(self._label, self._safe):
            with self._new.watched():
                self._write_rest(model)
            self._new.close()
            if self._path.exists():
                msg = "something else has made it meanwhile"
                raise FileExistsError(msg)
            self._unfinished.replace(self._path)

    def _write_rest(self, model: AnnData) -> None:
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

    def discard(self) -> None:
        if self._new is not None:
            self._new.abandon()
        remove(self._unfinished)
        self._lock.close()

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
        index = new_array(obs, "_index", shape, dtype, "string-array")
        start = 0
        for some in names:
            index[start : start + some.size] = some
            start += some.size
        for name, values in columns.items():
            write_elem(obs, name, values)


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
    safe: Callable[[], str],
) -> Iterator[ScoreSink]:
    """Where scores go; what is not completed is removed."""
    sink: ScoreSink
    if in_memory:
        sink = ScoresInMemory(data_sets.n_obs, rank)
    elif write_back:
        sink = ScoresInSources(data_sets, key, rank, safe)
    elif path is not None:
        sink = ScoresInFile(path, data_sets, key, rank, column=column, safe=safe)
    else:
        sink = ScoreSink(rank)
    try:
        yield sink
    finally:
        sink.discard()


def check_target(
    path: AnyPath, inputs: Sequence[AnyPath], checkpoint: AnyPath | None
) -> None:
    """Raise unless scores can be written to a new file of this name."""
    target = Path(path)
    if target.suffix not in {".h5ad", ".zarr"}:
        msg = f"scores={str(path)!r} must end in .h5ad or .zarr."
        raise ValueError(msg)
    target = target.resolve()
    if any(target.is_relative_to(Path(used).resolve()) for used in inputs):
        msg = f"scores={str(path)!r} is one of the files to read, or within it."
        raise ValueError(msg)
    if checkpoint is not None and target == Path(checkpoint).resolve():
        msg = f"scores={str(path)!r} is the checkpoint as well. Give it another path."
        raise ValueError(msg)
    if target.exists():
        msg = f"scores={str(path)!r} exists. Remove it, or write elsewhere."
        raise ValueError(msg)
    if not target.parent.exists():
        msg = f"The folder of scores={str(path)!r} does not exist."
        raise ValueError(msg)
