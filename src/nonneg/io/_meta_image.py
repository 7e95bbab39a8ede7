"""MetaImage volumes: a text header, `.mhd`, and its values, `.raw`."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..operators.validate import reading, refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_NEEDED = ("NDims", "DimSize", "ElementSpacing", "ElementType", "ElementDataFile")


@dataclass(frozen=True)
class MetaImage:
    """A volume as stored: the axis that is first in the header comes first here."""

    voxels: NDArray[Any]
    spacing: tuple[float, ...]
    offset: tuple[float, ...]
    where: str
    """What to call it in messages."""


class Folder:
    """Files of a folder or of a zip archive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive: zipfile.ZipFile | None = None
        if path.is_dir():
            self.names = sorted(file.name for file in path.iterdir())
            return
        with refused(f"{path} is not a zip archive, or is damaged"):
            self._archive = zipfile.ZipFile(path)
        self.names = self._archive.namelist()

    def read(self, name: str) -> bytes:
        """The content of one of the files."""
        if self._archive is None:
            with reading(str(self.path / name)):
                return (self.path / name).read_bytes()
        with refused(f"{self.path} is damaged: {name} cannot be read"):
            return self._archive.read(name)

    def close(self) -> None:
        """Close the archive."""
        if self._archive is not None:
            self._archive.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def read_meta_image(path: Path, wanted: Sequence[str]) -> MetaImage:
    """The volume of a header, or that of a folder or archive with a name among these."""
    if not path.exists():
        msg = f"{path} does not exist."
        raise FileNotFoundError(msg)
    if path.suffix.lower() == ".mhd":
        with Folder(path.parent) as folder:
            return _read(folder, path.name)
    if path.suffix.lower() == ".raw":
        msg = f"{path} holds values only. Give its header, `.mhd`, which is beside it."
        raise ValueError(msg)
    with Folder(path) as folder:
        headers = [name for name in folder.names if name.lower().endswith(".mhd")]
        found = [h for h in headers if PurePosixPath(h).stem in wanted]
        if len(found) != 1:
            msg = (
                f"{path} must hold one header of {[f'{w}.mhd' for w in wanted]}, but its "
                f"headers are {headers}."
            )
            raise ValueError(msg)
        return _read(folder, found[0])


def _read(folder: Folder, name: str) -> MetaImage:
    where = str(folder.path / name)
    header = _parse(folder.read(name), where)
    shape = _numbers(header, "DimSize", int, where)
    n_axes = len(shape)
    if _numbers(header, "NDims", int, where) != (3,) or n_axes != 3 or min(shape) < 1:
        msg = (
            f"{where} must describe a volume of three axes, but NDims is "
            f"{header['NDims']} and DimSize {header['DimSize']}."
        )
        raise ValueError(msg)
    spacing = _numbers(header, "ElementSpacing", float, where)
    offset = _numbers({"Offset": "0 0 0", **header}, "Offset", float, where)
    if len(spacing) != 3 or len(offset) != 3 or min(spacing) <= 0:
        msg = (
            f"{where} must hold three positive numbers in ElementSpacing and three in "
            f"Offset, but holds {spacing} and {offset}."
        )
        raise ValueError(msg)
    kind = header["ElementType"]
    if kind not in _TYPES:
        msg = f"{where} has ElementType {kind}, which is none of {sorted(_TYPES)}."
        raise ValueError(msg)
    for field, supported in (("CompressedData", "False"), ("BinaryData", "True")):
        if header.get(field, supported).lower() != supported.lower():
            msg = (
                f"{where} has {field} = {header[field]}; only {supported} can be read."
            )
            raise ValueError(msg)
    if header.get("ElementNumberOfChannels", "1") != "1":
        msg = f"{where} holds several values per voxel; only one can be read."
        raise ValueError(msg)
    big = "true" in {
        header.get(field, "").lower()
        for field in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
    }
    dtype = np.dtype((">" if big else "<") + _TYPES[kind])
    data = str(PurePosixPath(name).parent / header["ElementDataFile"])
    if data not in folder.names:
        msg = (
            f"{where} says that its values are in {header['ElementDataFile']}, which is "
            f"not beside it; there are {folder.names[:10]}."
        )
        raise ValueError(msg)
    content = folder.read(data)
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    if len(content) != n_bytes:
        state = "truncated" if len(content) < n_bytes else "not of this header"
        msg = (
            f"{folder.path / data} is {state}: {shape} voxels of {kind} are {n_bytes} "
            f"bytes, but there are {len(content)}."
        )
        raise ValueError(msg)
    # The first axis of the header varies fastest.
    values = np.frombuffer(content, dtype).reshape(shape, order="F")
    return MetaImage(values.astype(dtype.newbyteorder("=")), spacing, offset, where)


def _parse(content: bytes, where: str) -> dict[str, str]:
    """Fields of a header."""
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        msg = f"{where} is not a header: it is not text."
        raise ValueError(msg) from error
    pairs = (line.partition("=") for line in lines if "=" in line)
    header = {key.strip(): value.strip() for key, _, value in pairs}
    missing = [field for field in _NEEDED if not header.get(field)]
    if missing:
        msg = f"{where} lacks the fields {missing}; it has {sorted(header)}."
        raise ValueError(msg)
    return header


def _numbers[T: (int, float)](
    header: dict[str, str], field: str, kind: type[T], where: str
) -> tuple[T, ...]:
    try:
        return tuple(kind(number) for number in header[field].split())
    except ValueError as error:
        msg = f"{where} has {field} = {header[field]}, which must be numbers."
        raise ValueError(msg) from error
