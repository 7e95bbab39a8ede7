"""Files that are written: whole or not at all, by one process, with errors that name them."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import socket
import threading
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import h5py
import zarr
from zarr.storage import LocalStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from os import PathLike


type AnyPath = str | PathLike[str]

# Seconds after which a lock without content was not just made.
_FRESH = 60


def beside(path: Path, what: str) -> Path:
    """Name of a hidden file or folder beside another one."""
    return path.with_name(f".{what}-{path.name}")


def remove(path: Path) -> None:
    """Remove a file or folder, as far as that can be done."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


@contextmanager
def writing(what: str, safe: str) -> Iterator[None]:
    """Say what could not be written, and what is safe."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        msg = f"{what} could not be written: {reason}. {safe}"
        raise OSError(*filter(None, [error.errno]), msg) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write a file that takes the place of ``path`` when it is whole."""
    unfinished = beside(path, "unfinished")
    try:
        yield unfinished
        with unfinished.open("rb+") as file:
            # Some file systems find out here that they are full.
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        remove(unfinished)
        raise


# --- one process at a time --------------------------------------------------------------


@contextmanager
def locked(path: AnyPath, label: str) -> Iterator[None]:
    """Let no other process write to ``path`` meanwhile.

    A file beside it names the process. That of a process which has died is taken over.
    """
    lock = beside(Path(path).resolve(), "lock")
    with writing(label, "Nothing was changed."):
        _acquire(lock, label)
    try:
        yield
    finally:
        # Another process has it if the user removed this one's.
        if _holder(lock) in ({}, _process(os.getpid())):
            remove(lock)


def _acquire(lock: Path, label: str) -> None:
    for _ in range(2):
        try:
            descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            holder = _holder(lock)
            if _is_running(holder, lock):
                break
            _clear(lock, holder)
        else:
            try:
                with os.fdopen(descriptor, "w") as file:
                    file.write(json.dumps(_process(os.getpid())))
            except BaseException:
                remove(lock)
                raise
            return
    host = holder.get("host", socket.gethostname())
    msg = f"{label} is in use by process {holder.get('pid', '?')} on {host}. "
    if host == socket.gethostname():
        msg += (
            f"Give another path, wait for it, or remove {lock} if there is no such "
            "process."
        )
    else:
        msg += (
            "That is another machine than this one, which cannot be asked from here: "
            "where the process has ended, free the checkpoint by removing the file "
            f"{lock}. Otherwise give another path, or wait for it."
        )
    raise ValueError(msg)


def _clear(lock: Path, holder: dict[str, Any]) -> None:
    """Remove the lock of a process that has died, unless another was faster.

    One process alone can move a file away, and then looks whose it was.
    """
    moved = lock.with_name(f"{lock.name}-{os.getpid()}-{threading.get_ident()}")
    with suppress(FileNotFoundError):
        lock.rename(moved)
        if _holder(moved) != holder:
            moved.rename(lock)
        remove(moved)


def _process(pid: int) -> dict[str, Any]:
    """What tells a process from all others: numbers of processes are used again."""
    began = None
    with suppress(OSError, IndexError):
        # Behind the name, which may hold spaces and brackets.
        stat = Path(f"/proc/{pid}/stat").read_text()
        began = stat.rpartition(")")[2].split()[19]
    return {"pid": pid, "host": socket.gethostname(), "began": began}


def _holder(lock: Path) -> dict[str, Any]:
    try:
        holder = json.loads(lock.read_text())
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _is_running(holder: dict[str, Any], lock: Path) -> bool:
    pid = holder.get("pid")
    if type(pid) is not int or not 0 < pid < 2**31:
        # Made a moment ago, or by a process that died before it wrote.
        with suppress(OSError):
            return time.time() - lock.stat().st_mtime < _FRESH
        return False
    if holder.get("host") != socket.gethostname() or os.name == "nt":
        # Nobody can be asked; signals end processes on Windows.
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    # Not to be seen on macOS, and where processes of others are hidden.
    return _process(pid)["began"] in (None, holder.get("began"))


# --- HDF5 and zarr ----------------------------------------------------------------------


class _QuietFile(io.RawIOBase):
    """A file under HDF5 that takes what is written even when the disk does not.

    HDF5 cannot close a file that it cannot write, and ends the process at exit. So it
    is not told: the first error is kept for those who look.
    """

    def __init__(self, path: Path, mode: str) -> None:
        super().__init__()
        self.error: OSError | None = None
        self._file: io.FileIO = io.FileIO(path, mode)

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        n_read = 0
        while n_read < len(view):
            n = self._file.readinto(view[n_read:])
            if not n:
                # What was not taken, or lies behind the end.
                view[n_read:] = bytes(len(view) - n_read)
                break
            n_read += n
        return len(view)

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        n_written = 0
        try:
            while self.error is None and n_written < len(view):
                n_written += self._file.write(view[n_written:])
        except OSError as error:
            self.error = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            if self.error is None:
                self._file.truncate(size)
        except OSError as error:
            self.error = error
        return self.tell() if size is None else size

    def flush(self) -> None:
        """Nothing is held back."""

    def sync(self) -> None:
        """Make sure that all of it is on the disk."""
        try:
            if self.error is None:
                os.fsync(self._file.fileno())
        except OSError as error:
            self.error = error

    def close(self) -> None:
        # Not there if it could not be opened.
        if hasattr(self, "_file"):
            self._file.close()
        super().close()


class FolderStore(LocalStore):
    """A zarr folder to which nothing is written any more once a write has failed.

    zarr writes several files at a time. The others would go on behind the error, and
    make folders anew that were removed.
    """

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self.error: Exception | None = None
        self._turn = asyncio.Lock()

    async def set(self, key: str, value: Any) -> None:
        async with self._watched():
            await super().set(key, value)

    async def set_if_not_exists(self, key: str, value: Any) -> None:
        async with self._watched():
            await super().set_if_not_exists(key, value)

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        async with self._turn:
            if self.error is not None:
                raise self.error
            try:
                yield
            except Exception as error:
                self.error = error
                raise


class NewGroup:
    """The root of a file that is being written, .h5ad or .zarr.

    Parameters
    ----------
    path
        Of the file or folder, which belongs to the caller alone.
    mode
        ``"w"``: a new one; ``"r+"``: one that is there.
    zarr_format
        Of a new folder; ``None``: that of zarr.
    """

    def __init__(
        self, path: Path, mode: Literal["w", "r+"], zarr_format: Any = None
    ) -> None:
        self._file: _QuietFile | None = None
        if path.suffix == ".zarr":
            self.group: Any = zarr.open_group(
                FolderStore(path),
                mode=mode,
                zarr_format=zarr_format,
                use_consolidated=False,
            )
            return
        self._file = _QuietFile(path, "w+" if mode == "w" else "r+")
        self.group = h5py.File(self._file, mode)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Raise what the disk said meanwhile."""
        try:
            yield
        except Exception as error:
            if self._error is None:
                raise
            # What HDF5 makes of missing pieces comes of this.
            raise self._error from error
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Write the rest; raises if not all of it is on the disk."""
        if self._file is None or self._file.closed:
            return
        with self.watched():
            self.group.close()
            self._file.sync()
        self._file.close()

    def abandon(self) -> None:
        """Close it, whatever it holds."""
        if self._file is not None and not self._file.closed:
            # Nothing is written any more.
            self._file.error = self._file.error or OSError("abandoned")
            with suppress(Exception):
                self.group.close()
            self._file.close()

    @property
    def _error(self) -> OSError | None:
        return None if self._file is None else self._file.error


def new_array(
    group: Any, name: str, shape: tuple[int, ...], dtype: Any, kind: str
) -> Any:
    """An array in a group, to be filled, as anndata reads it."""
    chunks = (max(min(shape[0], _CHUNK), 1), *shape[1:])
    create = (
        group.create_dataset if isinstance(group, h5py.Group) else group.create_array
    )
    array = create(name, shape=shape, dtype=dtype, chunks=chunks)
    array.attrs.update({"encoding-type": kind, "encoding-version": "0.2.0"})
    return array


# Rows of a stored chunk.
_CHUNK = 4096
