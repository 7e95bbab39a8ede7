"""What somebody passes by mistake: values, data and files with something wrong."""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from ._small_data import scratch

if TYPE_CHECKING:
    from collections.abc import Callable


# Values that somebody passes by mistake where another was meant.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 5, 10**6, 2**70, 0.0, 0.5, -0.5, 1.5, 1e300, float("nan"),
    float("inf"), "", "nope", "spatial", "batch", "region", "all", "auto", "stored", b"bytes",
    [], [0], [0, 1], [1.5], ["a"], ["a", "a"], [None], (), (1, 2), (2, 1), (0.5, float("nan")),
    {}, {"a": 1}, {"nope": []}, set(), range(3), slice(2), object(), int, len, 1 + 2j,
    np.int64(2), np.float32(0.5), np.bool_(1), np.array(3), np.array([]), np.array([1.0, np.nan]),
    np.zeros(3), np.ones((2, 2)), np.ones((2, 3, 4)), np.array(["a", "b"]), np.array([None, 1]),
    np.array("2020-01-01", "datetime64[s]"), pd.Series([1.0, 2.0]), pd.Series(["a", None]),
    pd.DataFrame({"a": [1, 2]}), pd.DataFrame(), pd.Categorical(["a", "b"]), pd.NA,
    Path("nowhere/nothing.h5ad"), "nowhere/nothing.h5ad", sp.eye_array(3), AnnData(),
    np.random.default_rng(0), lambda x: x,
)  # fmt: skip

# Of which a large one would take all of the memory, or most of an hour.
COSTLY = (10**6, 2**70, 1e300)


def _wrong_column(column: pd.Series[Any], rng: np.random.Generator) -> Any:
    n = len(column)
    options: list[Callable[[], Any]] = [
        lambda: np.full(n, np.nan),
        lambda: pd.array([None] * n, "Int64"),
        lambda: np.array([None] * n, object),
        lambda: pd.Categorical(["x"] * n),
        lambda: pd.Categorical([None] * n, ["x"]),
        lambda: np.arange(n),
        lambda: np.arange(n) * 1j,
        lambda: pd.to_datetime(np.arange(n)),
        lambda: np.where(np.arange(n) < 1, "a", "b"),
        lambda: np.array(["a", None] * n, object)[:n],
        lambda: pd.array([True, None] * (n // 2) + [True] * (n % 2), "boolean"),
        lambda: [f"name {i}" for i in range(n)],
    ]
    return options[rng.integers(len(options))]()


def _wrong_matrix(x: Any, rng: np.random.Generator) -> Any:
    stored: Any = x.toarray() if hasattr(x, "toarray") else x
    dense = np.array(stored, np.float64)
    first = dense.reshape(-1)[:1].copy()

    def with_entry(value: float) -> Any:
        changed = dense.copy()
        if not changed.size:
            return changed
        changed.flat[rng.integers(changed.size)] = value
        return changed

    options: list[Callable[[], Any]] = [
        lambda: with_entry(np.nan),
        lambda: with_entry(np.inf),
        lambda: with_entry(-1.0),
        lambda: with_entry(1e30),
        lambda: np.zeros_like(dense),
        lambda: dense.astype(complex),
        lambda: dense.astype(object),
        lambda: dense.astype(str),
        lambda: dense > first,
        lambda: np.clip(dense, -99, 99).astype(np.int8),
        lambda: dense.astype(np.float16),
        lambda: np.asfortranarray(dense),
        lambda: sp.csc_matrix(dense),
        lambda: sp.csr_array(dense),
        lambda: np.ma.masked_less(dense, 1),
        lambda: dense * 1e-30,
        lambda: dense - dense.mean(0),
        lambda: np.log1p(np.abs(dense)),
    ]
    return options[rng.integers(len(options))]()


def spoil(adata: AnnData, rng: np.random.Generator) -> tuple[Any, str]:
    """The data with one mistake, and what it is."""
    groups = ["obs", "var", "obsm", "varm", "uns", "layers", "obsp"]
    kind = rng.choice(["drop", "column", "matrix", "entry", "rows", "names", "other", "form", "field"])  # fmt: skip
    if kind == "drop":
        held = [(g, k) for g in groups for k in getattr(adata, g) if k is not None]
        if not held:
            return adata, "as it was"
        group, key = held[rng.integers(len(held))]
        del getattr(adata, group)[key]
        return adata, f"no {group}[{key!r}]"
    if kind == "column":
        group = str(rng.choice(["obs", "var"]))
        frame = getattr(adata, group)
        if len(frame.columns) == 0:
            return adata, "as it was"
        key = frame.columns[rng.integers(len(frame.columns))]
        frame[key] = _wrong_column(frame[key], rng)
        return adata, f"{group}[{key!r}] of other kind"
    if kind == "matrix":
        if adata.X is not None:
            adata.X = _wrong_matrix(adata.X, rng)
        return adata, f"X is {type(adata.X).__name__} {getattr(adata.X, 'dtype', None)}"
    if kind == "entry":
        held = [(g, k) for g in ("obsm", "varm") for k in getattr(adata, g)]
        if held:
            group, key = held[rng.integers(len(held))]
            values = np.asarray(getattr(adata, group)[key], np.float64)
            options: list[Callable[[], Any]] = [
                lambda: values[:, :1],
                lambda: np.zeros((len(values), 0)),
                lambda: values.astype(complex),
                lambda: values.astype(object),
                lambda: np.full_like(values, np.nan),
                lambda: np.zeros_like(values),
                lambda: values[..., None],
                lambda: sp.csr_matrix(values) if values.ndim == 2 else values,
                lambda: np.hstack([values, values]),
                lambda: -values,
            ]
            getattr(adata, group)[key] = options[rng.integers(len(options))]()
            return adata, f"{group}[{key!r}] of other kind"
    if kind == "field":
        held = [(k, v) for k, v in adata.uns.items() if isinstance(v, dict) and v]
        if held:
            key, entry = held[rng.integers(len(held))]
            name = list(entry)[rng.integers(len(entry))]
            if isinstance(entry[name], dict) and entry[name] and rng.random() < 0.7:
                part = list(entry[name])[rng.integers(len(entry[name]))]
                del entry[name][part]
                return adata, f"no uns[{key!r}][{name!r}][{part!r}]"
            if rng.random() < 0.5:
                del entry[name]
            else:
                entry[name] = VALUES[rng.integers(len(VALUES))]
            return adata, f"uns[{key!r}][{name!r}] of other kind"
    if kind == "rows":
        n = int(rng.choice([0, 1, 2, 3]))
        return (adata[:n].copy(), f"{n} observations") if rng.random() < 0.5 else (
            adata[:, :n].copy(), f"{n} variables")  # fmt: skip
    if kind == "names":
        if rng.random() < 0.5:
            adata.obs_names = ["same"] * adata.n_obs
        else:
            adata.var_names = ["same"] * adata.n_vars
        return adata, "names that repeat"
    if kind == "form":
        return adata[:], "a view"
    others: list[Any] = [None, 3, "data.h5ad", adata.X, adata.obs, [adata], {"a": adata}, Path("nowhere.h5ad"), type(adata), adata.uns]  # fmt: skip
    return others[rng.integers(len(others))], "not an AnnData"


def spoil_file(path: Path, rng: np.random.Generator) -> tuple[Path, str]:
    """A copy of a file, or of a folder of files, with one mistake, and what it is."""
    folder = Path(tempfile.mkdtemp(dir=scratch()))
    copied = folder / path.name
    (shutil.copytree if path.is_dir() else shutil.copy)(path, copied)
    parts = sorted(p for p in copied.rglob("*") if p.is_file()) or [copied]
    part = parts[rng.integers(len(parts))]
    content = part.read_bytes()

    def renamed() -> None:
        part.rename(part.with_suffix(".xyz"))

    def as_folder() -> None:
        part.unlink()
        part.mkdir()

    options: dict[str, Callable[[], Any]] = {
        "missing": part.unlink,
        "empty": lambda: part.write_bytes(b""),
        "cut in half": lambda: part.write_bytes(content[: len(content) // 2]),
        "longer": lambda: part.write_bytes(content + content),
        "garbage": lambda: part.write_bytes(bytes(reversed(range(256))) * 8),
        "text": lambda: part.write_text("a,b\n1,x\n"),
        "one byte changed": lambda: part.write_bytes(_flipped(content, rng)),
        "a folder": as_folder,
        "of another name": renamed,
    }
    if part.suffix == ".npy":
        values = np.load(part)
        arrays = {
            "complex": values.astype(complex),
            "of text": values.astype(str),
            "of objects": np.array(["a", None], object),
            "flat": values.ravel(),
            "a scalar": values.ravel()[0],
            "without entries": values[:0],
            "negative": -values.astype(float),
            "NaN": np.full(values.shape, np.nan),
            "turned": values.T,
            "deeper": values[None],
        }
        options |= {
            what: partial(np.save, part, array, allow_pickle=True)
            for what, array in arrays.items()
        }
    if part.suffix in {".csv", ".tsv"}:
        lines = part.read_text().splitlines()
        texts = {
            "without its first line": lines[1:],
            "without rows": lines[:1],
            "with a short row": [*lines, lines[-1].split(",")[0]],
            "with text for numbers": [*lines, "x,y,z,w"],
            "with its last line twice": [*lines, lines[-1]],
        }
        options |= {
            what: partial(part.write_text, "\n".join(text))
            for what, text in texts.items()
        }
    what = str(rng.choice(list(options)))
    options[what]()
    return copied, f"{part.name} {what}"


def _flipped(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    changed[rng.integers(min(len(changed), 200))] ^= 0xFF
    return bytes(changed)
