"""Checks of AnnData and of what its matrices hold, with messages that say what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import scipy.sparse as sp
from pandas.api.extensions import ExtensionArray

from .._core.quiet import collected
from .._core.text import conjugated, counted
from .._core.validators import check_positive_int
from .._core.warnings import warn

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from ..operators.stats import MatrixStats


def check_n_components(n_components: object, shape: tuple[int, int]) -> int:
    """The number of components, which the data must be able to carry."""
    number = check_positive_int(n_components, "n_components")
    if number > min(shape):
        msg = (
            f"n_components={number} exceeds the smaller side of the data, "
            f"{shape[0]} observations x {shape[1]} variables."
        )
        raise ValueError(msg)
    return number


def check_some(adata: AnnData, *kinds: Literal["observations", "variables"]) -> None:
    """Raise if none is left, as of an object that keeps a fit only."""
    numbers = {"observations": adata.n_obs, "variables": adata.n_vars}
    for kind in kinds:
        if not numbers[kind]:
            msg = f"adata has no {kind}: it is {adata.n_obs} x {adata.n_vars}."
            raise ValueError(msg)


def check_key(
    adata: AnnData,
    attr: Literal["layers", "obsm", "varm", "obsp", "varp", "uns", "obs", "var"],
    key: str,
    *,
    hint: str = "",
    name: str = "adata",
) -> None:
    """Raise unless ``adata.<attr>`` holds the key."""
    if attr in {"obs", "var"}:
        check_flat(getattr(adata, attr), f"{name}.{attr}")
    present = [one for one in getattr(adata, attr) if one is not None]
    if key not in present:
        msg = f"{key!r} is not in {name}.{attr}, which holds {present}. {hint}"
        raise KeyError(msg.strip())
    if attr in {"obs", "var"} and present.count(key) > 1:
        msg = (
            f"{name}.{attr} has {present.count(key)} columns named {key!r}. Rename them, "
            "or leave one: files lose their content as well."
        )
        raise ValueError(msg)


def check_flat(table: Any, where: str) -> None:
    """Raise if the names of columns are tuples: of levels, of which a name is a part."""
    levels = getattr(getattr(table, "columns", None), "nlevels", 1)
    if levels > 1:
        msg = (
            f"The columns of {where} have {levels} levels, e.g. "
            f"{table.columns[:2].tolist()}. Give them one: `{where}.columns = "
            f"['_'.join(map(str, name)) for name in {where}.columns]`."
        )
        raise ValueError(msg)


def check_order(given: Any, names: Any, where: str, of: str) -> None:
    """Raise if a Series has another index than ``names``, which ``of`` has.

    Its values are read by position, and would be those of others. An index that only counts
    says nothing.
    """
    if not isinstance(given, pd.Series) or isinstance(given.index, pd.RangeIndex):
        return
    if len(given) == len(names) and not given.index.equals(pd.Index(names)):
        msg = (
            f"{where} is a Series whose index is not {of}, and it would be read by position. "
            f"Reorder it, as in `series.loc[{of}]`, or pass `series.to_numpy()` if it is in "
            "order."
        )
        raise ValueError(msg)


def check_columns(table: pd.DataFrame, where: str) -> None:
    """Raise if names of columns repeat, of which each would be a table."""
    if table.columns.has_duplicates:
        repeated = table.columns[table.columns.duplicated()].unique()[:3].tolist()
        msg = (
            f"{where} has columns of the same name, {repeated}. Rename them, or leave one "
            "of each."
        )
        raise ValueError(msg)


# NumPy would turn them into numbers in silence: nanoseconds, and real parts.
_NO_NUMBERS = {"M": "dates", "m": "time spans", "c": "complex numbers"}


def as_numbers(values: Any, where: str) -> NDArray[np.float64]:
    """Numbers as floats, NaN where they are missing, also of numbers kept as text.

    Dense and with all entries, whatever holds them: a sparse matrix, or a masked array.
    """
    if sp.issparse(values):
        values = values.toarray()  # type: ignore[attr-defined]
    kind = getattr(getattr(values, "dtype", None), "kind", "")
    if kind in _NO_NUMBERS:
        msg = f"{where} must hold numbers, but holds {_NO_NUMBERS[kind]}."
        raise ValueError(msg)
    try:
        if isinstance(values, pd.DataFrame | pd.Series | pd.Index | ExtensionArray):
            return np.asarray(values.to_numpy(np.float64, na_value=np.nan))
        if isinstance(values, np.ma.MaskedArray):
            values = np.ma.filled(values.astype(np.float64), np.nan)
        return np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        msg = f"{where} must hold numbers: {error}."
        raise ValueError(msg) from error


def as_flags(values: Any, where: str) -> NDArray[np.bool_]:
    """Flags, which may be kept as the numbers 0 and 1; none may be missing."""
    numbers = as_numbers(values, where)
    wrong = ~np.isin(numbers, (0, 1))
    if wrong.any():
        msg = (
            f"{where} must be true or false everywhere, but holds {numbers[wrong][0]:g} "
            f"in {int(wrong.sum())} of {numbers.size} places."
        )
        raise ValueError(msg)
    return numbers.astype(bool)


def check_shape(x: Any, shape: tuple[int, int], where: str) -> None:
    """Raise unless a matrix has a row per observation and a column per variable."""
    found = tuple(getattr(x, "shape", ()))
    # Lazy arrays may not know their length.
    if len(found) == 2 and found != shape and not np.isnan(found).any():
        msg = (
            f"{where} is {found[0]} x {found[1]}, but there are {shape[0]} observations "
            f"and {shape[1]} variables. The file it comes from is damaged."
        )
        raise ValueError(msg)


def check_unique_names(names: Any, where: str) -> None:
    """Raise if names repeat where they are matched."""
    if not names.is_unique:
        repeated = list(names[names.duplicated()].unique()[:3])
        msg = (
            f"{where} are matched by name but repeat, e.g. {repeated}. Call "
            "`adata.var_names_make_unique()` first."
        )
        raise ValueError(msg)


def check_finite(stats: MatrixStats, where: str) -> None:
    """Raise on NaN and infinite entries."""
    if np.isnan(stats.minimum) or np.isnan(stats.sq_norm):
        msg = f"{where} contains NaN. Fill or remove these entries first."
        raise ValueError(msg)
    if not stats.sq_norm < float(np.finfo(np.float32).max):
        msg = (
            f"{where} contains entries that are infinite, or whose squares are in single "
            "precision. Replace, remove or rescale them first."
        )
        raise ValueError(msg)
    if stats.sq_norm == 0:
        msg = f"{where} is all zero, or too small for single precision."
        raise ValueError(msg)


_ANY_DATA = (
    "Use raw or log-normalised data that were not centred or scaled, or "
    "`nonneg.tl.seminmf`, which takes any sign."
)


def check_nonnegative(stats: MatrixStats, where: str, hint: str = _ANY_DATA) -> None:
    """Raise on entries that no non-negative model can explain."""
    check_finite(stats, where)
    if stats.minimum < 0:
        msg = f"{where} contains negative entries (smallest: {stats.minimum:g}). {hint}"
        raise ValueError(msg)


def warn_logarithms(x: Any, where: str, doing: str) -> None:
    """Warn if a matrix in memory holds log-normalised data where counts are expected.

    Seen in the first entries: no whole numbers, and none above the logarithm of any count.
    """
    if sp.issparse(x):
        # Rows of some forms and types cannot be selected.
        entries: Any = getattr(x, "data", None)
    elif isinstance(x, np.ndarray):
        entries = x[: max(_FIRST // max(x.shape[-1], 1), 1)].ravel()
    else:
        return
    if getattr(entries, "dtype", np.dtype(object)).kind != "f" or not entries.size:
        return
    values = np.asarray(entries[:_FIRST], np.float32)
    # NaN is told elsewhere.
    in_range = values.min() >= 0 and values.max() <= _LOGARITHM
    if not in_range or (values == np.rint(values)).all():
        return
    warn(
        f"{where} looks like logarithms: its largest value is {values.max():.3g}, and not "
        f"all are whole numbers. {doing}: name a layer with counts if there is one."
    )


# Entries looked at, and log1p of a million counts, rounded up.
_FIRST, _LOGARITHM = 100_000, 14.0


def warn_empty(
    stats: MatrixStats, where: str, *, of_obs: str | None, of_vars: str | None
) -> None:
    """Warn of observations and variables that are all zero, as far as there are some.

    ``of_obs`` and ``of_vars`` are what is zero of them in the result.
    """
    # Whoever fits many tells it of the data from which all are taken.
    if collected() is not None:
        return
    found = []
    for n, noun, part in zip(
        count_empty(stats), ("observation", "variable"), (of_obs, of_vars), strict=True
    ):
        if n:
            of_it = "its" if n == 1 else "their"
            then = "" if part is None else f" ({of_it} {part} are zero)"
            found.append(
                f"{counted(n, noun)} that {conjugated(n, 'is')} all zero{then}"
            )
    if found:
        empty = np.flatnonzero(stats.row_sums == 0)
        first = (
            f" The first empty observation is in row {empty[0]}." if empty.size else ""
        )
        warn(f"{where} has {' and '.join(found)}.{first}")


def count_empty(stats: MatrixStats) -> tuple[int, int]:
    """Number of observations and of variables that are all zero.

    Sums tell only where entries are non-negative; for other data, none.
    """
    if stats.minimum < 0:
        return 0, 0
    return int((stats.row_sums == 0).sum()), int((stats.col_sums == 0).sum())
