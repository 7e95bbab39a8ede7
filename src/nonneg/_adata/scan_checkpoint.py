"""A scan that survives being killed: what it found, in a folder."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..models.stability.replicates import Patterns
from ..operators.validate import refused
from .checkpoint import Tried, as_stored, differences
from .files import locked, remove, replacing, writing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .files import AnyPath

_ARGUMENTS = "arguments.json"


class ScanCheckpoint:
    """Where the patterns of finished samples are kept, a file for each batch.

    Parameters
    ----------
    path
        The folder; made if its parent exists.
    made_by
        What determines the fits, as far as it is known before data are read. A folder
        that something else has made is refused.
    """

    def __init__(self, path: AnyPath, made_by: Mapping[str, Any]) -> None:
        # Links are followed, and the working directory may change.
        self._path = Path(path).resolve()
        self._label = label = f"checkpoint={str(path)!r}"
        self._tried = Tried(label)
        self._made_by = as_stored(made_by)
        self._arguments = self._path / _ARGUMENTS
        if self._arguments.exists():
            self._compare(self._made_by)
            return
        if self._path.exists() and (
            not self._path.is_dir() or any(self._path.iterdir())
        ):
            msg = (
                f"{label} exists and is not a checkpoint of a scan. Give the path of a "
                "folder that is empty or does not exist."
            )
            raise ValueError(msg)
        if not self._path.parent.exists():
            msg = f"The folder of {label} does not exist."
            raise ValueError(msg)

    def confirm(self, made_by: Mapping[str, Any]) -> None:
        """What else determines the fits, once data have been read; begins a new one."""
        made_by = as_stored(made_by)
        if self._arguments.exists():
            self._compare(made_by)
            return
        is_new = not self._path.exists()
        try:
            with writing(self._label, "Nothing was changed."):
                self._path.mkdir(exist_ok=True)
                with replacing(self._arguments) as unfinished:
                    unfinished.write_text(json.dumps({**self._made_by, **made_by}))
        except BaseException:
            if is_new:
                remove(self._path)
            raise

    def _compare(self, made_by: Mapping[str, Any]) -> None:
        """Refuse a folder of something else."""
        with refused(f"{self._label} is not a checkpoint"):
            there = json.loads(self._arguments.read_text())
            differing = differences(there, made_by)
        if differing:
            msg = (
                f"{self._label} belongs to another scan. Differences, as (there, here): "
                f"{differing}. Give another path, or remove the folder."
            )
            raise ValueError(msg)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other scans from it."""
        with locked(self._path, self._label):
            yield

    def load(self, rank: int) -> list[Patterns]:
        """What was found with one number of components."""
        found = []
        for file in sorted(self._path.glob(f"k{rank}-*.npz")):
            with (
                refused(f"{file} is damaged", ". Remove it to fit its samples again."),
                file.open("rb") as raw,
                np.load(raw, allow_pickle=False) as arrays,
            ):
                found.append(Patterns(*(arrays[name] for name in Patterns._fields)))
        return found

    def save(self, rank: int, patterns: Patterns) -> None:
        """Keep what was found in a batch."""
        first = int(patterns.sample[0])
        file = self._path / f"k{rank}-{first}.npz"
        with (
            self._tried.saving(f"{rank} components, sample {first}"),
            replacing(file) as unfinished,
            unfinished.open("wb") as raw,
        ):
            np.savez(raw, **patterns._asdict())
