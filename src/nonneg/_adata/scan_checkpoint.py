"""A scan that survives being killed: what it found, in a folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from ..models.stability.replicates import Patterns
from .checkpoint import differences

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .stored import AnyPath

_ARGUMENTS = "arguments.json"


class ScanCheckpoint:
    """Where the patterns of finished samples are kept, a file for each batch.

    Parameters
    ----------
    path
        The folder; made if its parent exists.
    made_by
        What determines the fits. A folder that something else has made is refused.
    """

    def __init__(self, path: AnyPath, made_by: Mapping[str, Any]) -> None:
        self._path = Path(path)
        label = f"checkpoint={str(path)!r}"
        # As it comes back from the file.
        made_by = json.loads(json.dumps(made_by))
        arguments = self._path / _ARGUMENTS
        if arguments.exists():
            try:
                there = json.loads(arguments.read_text())
                differing = differences(there, made_by)
            except (OSError, ValueError, AttributeError) as error:
                msg = f"{label} is not a checkpoint: {error}"
                raise ValueError(msg) from error
            if differing:
                msg = (
                    f"{label} belongs to another scan. Differences, as (there, here): "
                    f"{differing}. Give another path, or remove the folder."
                )
                raise ValueError(msg)
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
        self._path.mkdir(exist_ok=True)
        _replace(arguments, json.dumps(made_by).encode())

    def load(self, rank: int) -> list[Patterns]:
        """What was found with one number of components."""
        found = []
        for file in sorted(self._path.glob(f"k{rank}-*.npz")):
            try:
                with file.open("rb") as raw, np.load(raw, allow_pickle=False) as arrays:
                    found.append(Patterns(*(arrays[name] for name in Patterns._fields)))
            except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
                msg = f"{file} is damaged: {error} Remove it to fit its samples again."
                raise ValueError(msg) from error
        return found

    def save(self, rank: int, patterns: Patterns) -> None:
        """Keep what was found in a batch."""
        first = int(patterns.sample[0])
        unfinished = self._path / f".unfinished-{rank}-{first}.npz"
        with unfinished.open("wb") as file:
            np.savez(file, **patterns._asdict())
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self._path / f"k{rank}-{first}.npz")


def _replace(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f".unfinished-{path.name}")
    unfinished.write_bytes(content)
    unfinished.replace(path)
