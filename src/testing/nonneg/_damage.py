"""Stored AnnData that are damaged in one way each."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
import zarr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

N_OBS, N_VARS = 60, 20


def sound(*, dense: bool = False, seed: int = 0) -> ad.AnnData:
    """Counts of two data sets."""
    rng = np.random.default_rng(seed)
    x = rng.poisson(1.0, (N_OBS, N_VARS)).astype(np.float32)
    adata = ad.AnnData(x if dense else sp.csr_matrix(x))
    adata.obs_names = [f"cell_{i}" for i in range(N_OBS)]
    adata.obs["batch"] = pd.Categorical(np.where(np.arange(N_OBS) % 2, "b", "a"))
    return adata


def write(adata: ad.AnnData, path: Path) -> None:
    """Write by the ending of the path."""
    (adata.write_zarr if path.suffix == ".zarr" else adata.write_h5ad)(path)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if path.suffix != ".zarr":
        with h5py.File(path, "r+") as group:
            yield group
        return
    yield zarr.open_group(path, mode="r+", use_consolidated=False)
    _forget_consolidated(path)


def _forget_consolidated(path: Path) -> None:
    """Consolidated metadata would hide a change."""
    file = path / "zarr.json"
    entries = json.loads(file.read_text())
    entries.pop("consolidated_metadata", None)
    file.write_text(json.dumps(entries))


def _replace(group: Any, name: str, values: Any) -> None:
    """Another array under the same name, with the same attributes."""
    attributes = dict(group[name].attrs)
    del group[name]
    values = np.asarray(values)
    if isinstance(group, h5py.Group):
        kind = h5py.string_dtype() if values.dtype.kind in "OU" else values.dtype
        group.create_dataset(
            name,
            data=values.astype(object) if values.dtype.kind == "U" else values,
            dtype=kind,
        )
    else:
        array = group.create_array(
            name,
            shape=values.shape,
            dtype=str if values.dtype.kind in "OU" else values.dtype,
        )
        array[...] = values
    group[name].attrs.update(attributes)


def _edit(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with _opened(path) as group:
            x = group["X"]
            _replace(x, name, change(x[name][:].copy()))

    return damage


def _put(position: int, value: int) -> Callable[[Any], Any]:
    def change(values: Any) -> Any:
        values = values.astype(np.int64)
        values[position] = value
        return values

    return change


def _wrapped(rows: slice) -> Callable[[Any], Any]:
    def change(values: Any) -> Any:
        values = values.astype(np.int64)
        values[rows] -= 2**31
        return values.astype(np.int32)

    return change


def _shape(shape: tuple[int, int]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with _opened(path) as group:
            attributes = group["X"].attrs
            attributes["shape"] = list(shape)

    return damage


def _remove(name: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with _opened(path) as group:
            del group[name]

    return damage


def _shorter_obs(path: Path) -> None:
    with _opened(path) as group:
        obs = group["obs"]
        names = [f"cell_{i}" for i in range(N_OBS - 7)]
        _replace(obs, obs.attrs["_index"], np.asarray(names, object))


def _names_of_floats(path: Path) -> None:
    with _opened(path) as group:
        var = group["var"]
        _replace(var, var.attrs["_index"], np.arange(N_VARS) / 2)


def _cut(share: float) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        for file in [path] if path.is_file() else _chunks(path):
            os.truncate(file, int(share * file.stat().st_size))

    return damage


def _garbage(path: Path) -> None:
    for file in [path] if path.is_file() else _chunks(path):
        size = file.stat().st_size
        file.write_bytes(bytes(reversed(range(256))) * (size // 256 + 1))


def _chunks(path: Path) -> list[Path]:
    return [p for p in (path / "X").rglob("*") if p.is_file() and p.name != "zarr.json"]


def _broken_json(path: Path) -> None:
    (path / "X" / "indices" / "zarr.json").write_text('{"zarr_format": 3, "node')
    _forget_consolidated(path)


_WRONG = r"indptr|cannot be read|damaged"
# What is wrong -> what does it, and what the message says.
DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "an index too large": (_edit("indices", _put(7, 99999)), "indices hold 99999"),
    "a negative index": (_edit("indices", _put(7, -1)), "indices hold -1"),
    "an index beyond 32 bits": (_edit("indices", _put(7, 2**32 + 3)), "indices hold"),
    "indices of floats": (_edit("indices", lambda v: v + 0.5), "indices have dtype"),
    "fewer indices": (_edit("indices", lambda v: v[:-3]), "values, but"),
    "fewer values": (_edit("data", lambda v: v[:-3]), "values, but|cannot be read"),
    "values of strings": (
        _edit("data", lambda v: v.astype(str)),
        "numbers|cannot be read",
    ),
    "complex values": (_edit("data", lambda v: v + 1j), "numbers|cannot be read"),
    "values with NaN": (
        _edit("data", lambda v: np.where(np.arange(v.size) == 5, np.nan, v)),
        "NaN",
    ),
    "infinite values": (
        _edit("data", lambda v: np.where(np.arange(v.size) == 5, np.inf, v)),
        "infinite",
    ),
    "negative values": (_edit("data", lambda v: -v), "negative"),
    "pointers wrapped at the end": (
        _edit("indptr", _wrapped(slice(30, None))),
        "indptr is negative.*32-bit",
    ),
    "pointers wrapped in the middle": (
        _edit("indptr", _wrapped(slice(30, 40))),
        "indptr is negative",
    ),
    "pointers that fall": (_edit("indptr", _put(20, 1)), "never fall"),
    "pointers that do not start at 0": (_edit("indptr", _put(0, 2)), "start at 0"),
    "pointers past the end": (
        _edit("indptr", lambda v: v + (np.arange(v.size) == v.size - 1) * 1000),
        "indptr ends at",
    ),
    "too few pointers": (_edit("indptr", lambda v: v[:-4]), _WRONG),
    "too many pointers": (_edit("indptr", lambda v: np.append(v, v[-1])), _WRONG),
    "pointers of floats": (_edit("indptr", lambda v: v * 1.0), _WRONG),
    "no pointers": (_remove("X/indptr"), "cannot be read"),
    "no values": (_remove("X/data"), "cannot be read"),
    "no indices": (_remove("X/indices"), "cannot be read"),
    "fewer rows than observations": (_shape((N_OBS - 5, N_VARS)), r"55 x 20|damaged"),
    "more columns than variables": (_shape((N_OBS, N_VARS + 3)), r"60 x 23|damaged"),
    "fewer columns than variables": (_shape((N_OBS, N_VARS - 3)), r"60 x 17|damaged"),
    "fewer names of observations": (_shorter_obs, "damaged|53 observations"),
    "names of floats": (_names_of_floats, "names have dtype float64"),
    "no X": (_remove("X"), "has no X"),
    "no var": (_remove("var"), "holds no AnnData"),
    "cut in half": (_cut(0.5), "cannot be read"),
    "cut to nothing": (_cut(0.0), "cannot be read"),
    "garbage": (_garbage, "cannot be read"),
}
ZARR_DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "broken metadata": (_broken_json, "cannot be read"),
}
