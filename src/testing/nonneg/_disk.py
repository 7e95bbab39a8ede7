"""Disks on which writing fails."""

from __future__ import annotations

import builtins
import errno
import io
import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


class FailingDisk:
    """Counts what is written below a folder, and fails from one write on.

    Every write to a file, every change of its size, every file or folder that is made,
    every rename and link, and every wait for the disk counts.

    Parameters
    ----------
    folder
        Where writing fails; elsewhere nothing is changed.
    first
        Number of the first write that fails; ``None``: none does.
    n_fail
        How many fail; ``None``: all from there on, as where a disk is full. Names can
        be changed and files removed on a full disk.
    """

    def __init__(
        self, folder: Path, first: int | None = None, n_fail: int | None = None
    ) -> None:
        self.n_writes = 0
        self.operations: list[str] = []
        self._folder = os.path.realpath(folder)
        self._first, self._n_fail = first, n_fail
        self._descriptors: dict[int, str] = {}

    def write(self, path: Any, what: str, *, needs_room: bool = True) -> None:
        """Count a write, or fail."""
        name = self._descriptors.get(path, "") if isinstance(path, int) else path
        full = os.path.realpath(os.fsdecode(name))
        if not name or not full.startswith(self._folder + os.sep):
            return
        if self._n_fail is None and not needs_room:
            return
        self.n_writes += 1
        self.operations.append(f"{what} {os.path.relpath(full, self._folder)}")
        if self._first is None or self.n_writes < self._first:
            return
        if self._n_fail is None or self.n_writes < self._first + self._n_fail:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """Let it fail."""
        with pytest.MonkeyPatch.context() as patch:
            for name, needs_room in (
                ("mkdir", True),
                ("replace", False),
                ("rename", False),
                ("link", True),
            ):
                patch.setattr(
                    os,
                    name,
                    self._named(getattr(os, name), name, needs_room=needs_room),
                )
            for name in ("write", "fsync", "ftruncate", "sendfile"):
                patch.setattr(os, name, self._named(getattr(os, name), name))
            patch.setattr(os, "open", self._descriptor(os.open))
            opened = self._opened(io.open)
            patch.setattr(io, "open", opened)
            patch.setattr(builtins, "open", opened)
            patch.setattr(io, "FileIO", self._raw(io.FileIO))
            yield

    def places(self) -> list[int]:
        """Numbers of the first and last write of each kind."""
        kinds = [re.sub(r"[0-9a-f]{32}", "", name) for name in self.operations]
        last = {kind: n for n, kind in enumerate(kinds, 1)}
        first = {kind: n for n, kind in reversed([*enumerate(kinds, 1)])}
        return sorted({*first.values(), *last.values()})

    def _named(self, original: Any, what: str, *, needs_room: bool = True) -> Any:
        def called(path: Any, *args: Any, **kwargs: Any) -> Any:
            if what != "mkdir" or not Path(path).exists():
                self.write(path, what, needs_room=needs_room)
            return original(path, *args, **kwargs)

        return called

    def _descriptor(self, original: Any) -> Any:
        def called(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            if flags & os.O_CREAT and not Path(path).exists():
                self.write(path, "create")
            descriptor: int = original(path, flags, *args, **kwargs)
            self._descriptors[descriptor] = os.fspath(path)
            return descriptor

        return called

    def _opened(self, original: Any) -> Any:
        def called(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            is_new = set(mode) & set("wxa+")
            if not is_new:
                return original(file, mode, *args, **kwargs)
            if not isinstance(file, int) and not Path(file).exists():
                self.write(file, "create")
            opened = original(file, mode, *args, **kwargs)
            if not isinstance(file, int):
                self._descriptors[opened.fileno()] = os.fspath(file)
            return _FailingFile(opened, self)

        return called

    def _raw(self, original: Any) -> Any:
        disk = self

        class Raw(original):  # type: ignore[misc]
            def __init__(self, file: Any, mode: str = "r") -> None:
                if not Path(file).exists():
                    disk.write(file, "create")
                super().__init__(file, mode)
                disk._descriptors[self.fileno()] = os.fspath(file)

            def write(self, data: Any) -> int:
                disk.write(self.fileno(), "write")
                n: int = super().write(data)
                return n

            def truncate(self, size: int | None = None) -> int:
                disk.write(self.fileno(), "truncate")
                n: int = super().truncate(size)
                return n

        return Raw


class _FailingFile:
    """A file of which writes are counted; closing writes what was held back."""

    def __init__(self, file: Any, disk: FailingDisk) -> None:
        self._file, self._disk = file, disk
        self._held_back = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: Any) -> Any:
        self._disk.write(self._file.fileno(), "write")
        self._held_back = True
        return self._file.write(data)

    def flush(self) -> None:
        if self._held_back:
            self._held_back = False
            self._disk.write(self._file.fileno(), "flush")
        self._file.flush()

    def close(self) -> None:
        if self._file.closed:
            return
        try:
            self.flush()
        finally:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Any:
        return iter(self._file)
