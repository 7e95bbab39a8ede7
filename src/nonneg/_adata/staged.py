"""Scores on their way into what the cells come from: into all of them, or none."""

from __future__ import annotations

import os
import shutil
import warnings
from abc import ABC, abstractmethod
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import zarr
from anndata.io import write_elem

from .files import NewGroup, beside, locked, new_array, remove, writing
from .stored import StoredAnnData, open_group
from .write import write_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from .sources import Source


class Staged(Protocol):
    """Scores that are in no place yet where anybody looks."""

    name: str
    """Of the file or object, in messages."""

    def write(self, rows: Any, scores: NDArray[Any]) -> None:
        """Scores of some cells, counted from the first one of the source."""

    def seal(self) -> None:
        """All scores are there: write what is held back."""

    def commit(self) -> None:
        """Put them in their place."""

    def undo(self) -> None:
        """Bring back what was there before, however far that came."""

    def discard(self) -> None:
        """Remove everything that is not in its place."""


def stage(source: Source, key: str, rank: int) -> Staged:
    """Room for the scores of a source."""
    data = source.data
    if not isinstance(data, StoredAnnData):
        return _StagedInMemory(data, key, rank, source.place)
    if Path(data.path).suffix == ".zarr":
        return _StagedZarr(data, key, rank)
    return _StagedHDF5(data, key, rank)


def commit_all(staged: Sequence[Staged], safe: str) -> None:
    """Put all in their places, or none, where it says what is ``safe``."""
    names = f"The scores of {', '.join(one.name for one in staged)}"
    begun: list[Staged] = []
    try:
        with writing(names, safe):
            for one in staged:
                one.seal()
            for one in staged:
                begun.append(one)
                one.commit()
    except BaseException as error:
        lost = []
        for one in reversed(begun):
            try:
                one.undo()
            except OSError as failed:
                kept = beside(Path(one.name).resolve(), "before")
                lost.append(f"{one.name} ({failed}), which is beside it as {kept.name}")
        if lost:
            msg = (
                f"{names} could not be written to all of them, and it was not possible "
                f"to bring back what was there before in {'; '.join(lost)}."
            )
            raise OSError(msg) from error
        raise


class _StagedInMemory:
    """Scores for an AnnData in memory."""

    def __init__(self, adata: AnnData, key: str, rank: int, name: str) -> None:
        self.name = name
        self._adata, self._key = adata, key
        self._scores = np.zeros((adata.n_obs, rank), np.float32)
        self._before = adata.obsm.get(key)

    def write(self, rows: Any, scores: NDArray[Any]) -> None:
        self._scores[rows] = scores

    def seal(self) -> None:
        pass

    def commit(self) -> None:
        write_values(self._adata, {("obsm", self._key): self._scores})

    def undo(self) -> None:
        place = ("obsm", self._key)
        if self._before is not None:
            write_values(self._adata, {place: self._before})
        elif self._key in self._adata.obsm:
            write_values(self._adata, {}, [place])

    def discard(self) -> None:
        pass


class _StagedFile(ABC):
    """What scores in h5ad and zarr files share."""

    def __init__(self, data: StoredAnnData, rank: int) -> None:
        self.name = str(data.path)
        self._data = data
        # The file itself, not a link to it.
        self._path = Path(data.path).resolve()
        self._unfinished = beside(self._path, "unfinished")
        self._before = beside(self._path, "before")
        # Whether that is all there is of what was there.
        self._keeps_before = False
        self._shape = (data.n_obs, rank)
        self._lock = ExitStack()
        self._lock.enter_context(locked(self._path, self.name))
        self._group: NewGroup
        self._scores: Any

    def write(self, rows: Any, scores: NDArray[Any]) -> None:
        with self._group.watched():
            self._scores[rows] = scores

    def seal(self) -> None:
        self._group.close()
        self._data.close()

    def undo(self) -> None:
        self._keeps_before = True
        self._bring_back()
        self._keeps_before = False

    @abstractmethod
    def _bring_back(self) -> None:
        """Put back what was there."""

    def discard(self) -> None:
        if hasattr(self, "_group"):
            self._group.abandon()
        remove(self._unfinished)
        if not self._keeps_before:
            remove(self._before)
        self._lock.close()


class _StagedHDF5(_StagedFile):
    """Scores in a copy of the file, which then takes its place.

    HDF5 cannot be written to safely where it is: whatever ends it halfway leaves a file
    that cannot be read.
    """

    def __init__(self, data: StoredAnnData, key: str, rank: int) -> None:
        super().__init__(data, rank)
        self._has_begun = False
        try:
            self._stamp = self._state()
            shutil.copyfile(self._path, self._unfinished)
            shutil.copymode(self._path, self._unfinished)
            self._group = NewGroup(self._unfinished, "r+")
            with self._group.watched():
                group = self._group.group
                if "obsm" not in group:
                    write_elem(group, "obsm", {})
                if key in group["obsm"]:
                    del group["obsm"][key]
                self._scores = new_array(
                    group["obsm"], key, self._shape, "float32", "array"
                )
        except BaseException:
            self.discard()
            raise

    def _state(self) -> tuple[int, int]:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_size

    def commit(self) -> None:
        if self._state() != self._stamp:
            msg = f"{self.name} was changed by something else during the fit"
            raise OSError(msg)
        # Of a process that was killed.
        self._before.unlink(missing_ok=True)
        self._has_begun = True
        try:
            os.link(self._path, self._before)
        except OSError:
            # Not all file systems have links.
            self._path.replace(self._before)
        self._unfinished.replace(self._path)

    def _bring_back(self) -> None:
        if self._has_begun and self._before.exists():
            self._before.replace(self._path)


class _StagedZarr(_StagedFile):
    """Scores in a folder beside the file, which then moves into it."""

    def __init__(self, data: StoredAnnData, key: str, rank: int) -> None:
        super().__init__(data, rank)
        self._key = key
        self._undo = ExitStack()
        try:
            remove(self._unfinished)
            self._group = NewGroup(
                self._unfinished, "w", data.group.metadata.zarr_format
            )
            write_elem(self._group.group, "obsm", {})
            self._scores = new_array(
                self._group.group["obsm"], key, self._shape, "float32", "array"
            )
        except BaseException:
            self.discard()
            raise

    def commit(self) -> None:
        old = self._path / "obsm" / self._key
        new = self._unfinished / "obsm" / self._key
        if "obsm" not in open_group(self._path, "r+"):
            old, new = old.parent, new.parent
        elif old.exists():
            self._move(old, self._before)
        self._move(new, old)
        self._consolidate()

    def _move(self, one: Path, other: Path) -> None:
        remove(other)
        one.replace(other)
        self._undo.callback(other.replace, one)

    def _consolidate(self) -> None:
        """Bring consolidated metadata up to date, where there are some."""
        group = zarr.open_group(self._path, mode="r")
        if group.metadata.consolidated_metadata is None:
            return
        name = "zarr.json" if group.metadata.zarr_format == 3 else ".zmetadata"
        kept = self._unfinished / f"before-{name}"
        shutil.copyfile(self._path / name, kept)
        self._undo.callback(kept.replace, self._path / name)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Consolidated metadata", UserWarning)
            zarr.consolidate_metadata(self._path)

    def _bring_back(self) -> None:
        self._undo.close()
