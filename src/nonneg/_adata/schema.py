"""What ``uns`` holds of a factorization, one class per kind of method.

Entries are written by :func:`to_uns` and read by :func:`from_uns` only. Fields that a fit
did not have are ``None`` here and absent in the AnnData.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import pandas as pd

from .checks import as_numbers, check_columns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


class Stored(dict[str, Any]):
    """A mapping that was stored with a fit, which says so where an entry is gone."""

    def __init__(
        self, entries: Mapping[str, Any], where: str, again: str = "Fit"
    ) -> None:
        super().__init__(
            {
                str(name): Stored(value, f"{where}[{name!r}]", again)
                if isinstance(value, Mapping)
                else value
                for name, value in entries.items()
            }
        )
        self._where, self._again = where, again

    def __missing__(self, name: str) -> Any:
        msg = f"{self._where} has no {name!r}, {_CHANGED} {self._again} again."
        raise ValueError(msg)

    def table(
        self, name: str, *, text: Iterable[str] = (), numbers: Iterable[str] = ()
    ) -> pd.DataFrame:
        """A table, see :func:`stored_table`."""
        where = f"{self._where}[{name!r}]"
        return stored_table(self[name], where, self._again, text=text, numbers=numbers)


def stored_table(
    table: Any,
    where: str,
    again: str = "Fit",
    *,
    text: Iterable[str] = (),
    numbers: Iterable[str] = (),
) -> pd.DataFrame:
    """A table that was stored with a fit, which says so where a column is gone.

    Columns of ``text`` are names, whatever held them. Those of ``numbers`` are of NumPy's
    types: floats if they were of another kind.
    """
    if not isinstance(table, pd.DataFrame):
        msg = f"{where} is no table, {_CHANGED} {again} again."
        raise ValueError(msg)
    check_columns(table, where)
    text, numbers = list(text), list(numbers)
    for name in (*text, *numbers):
        if name not in table:
            msg = f"{where} has no column {name!r}, {_CHANGED} {again} again."
            raise ValueError(msg)
    return table.assign(
        **{name: table[name].map(str) for name in text},
        **{name: _numeric(table[name], f"{where}[{name!r}]") for name in numbers},
    )


def _numeric(column: pd.Series[Any], where: str) -> Any:
    is_plain = isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf"
    return column if is_plain else as_numbers(column, where)


_CHANGED = "which was stored there: it has changed since."


# Increased when an older version could not read what is stored.
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What every factorization stores."""

    method: str
    params: Mapping[str, Any]
    obsm_key: str
    varm_key: str | None = None
    """``None``: loadings of an element of obsm, kept in ``loadings``."""
    side_keys: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """What else was written, by the attribute of the AnnData that holds it."""
    objective: NDArray[Any] | None = None
    iteration: NDArray[Any] | None = None
    seconds: NDArray[Any] | None = None
    n_iter: int | None = None
    converged: bool | None = None
    interrupted: bool | None = None
    """Whether it was ended by Ctrl-C: what was found until then is kept."""
    mass: NDArray[Any] | None = None
    scale: NDArray[Any] | None = None
    loadings: NDArray[Any] | None = None
    columns: NDArray[Any] | None = None
    projected: float | None = None
    align: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class ProbabilisticEntry(Entry):
    """The NSF family, and simulated patterns of its kind."""

    is_spatial: NDArray[Any] | None = None
    spatial_share: NDArray[Any] | None = None
    spatial_share_null: NDArray[Any] | None = None
    elbo: NDArray[Any] | None = None
    sparsity: float | None = None
    loading_totals: NDArray[Any] | None = None
    total_std: NDArray[Any] | None = None
    totals_explained: float | None = None
    nonspatial_prior: NDArray[Any] | None = None
    nonspatial_elsewhere: NDArray[Any] | None = None
    temperature: float | None = None
    dispersion: float | None = None
    """What earlier versions called the temperature."""
    kernel: Mapping[str, Any] | None = None
    search: pd.DataFrame | None = None
    transform: Mapping[str, Any] | None = None
    field: Mapping[str, Any] | None = None
    kriged: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class IntegrationEntry(Entry):
    """Factorizations of several data sets."""

    batches: NDArray[Any] | None = None
    n_cells: NDArray[Any] | None = None
    lam: NDArray[Any] | None = None
    weight: NDArray[Any] | None = None
    sq_norm: NDArray[Any] | None = None
    gram: NDArray[Any] | None = None
    change: NDArray[Any] | None = None
    change_batch: NDArray[Any] | None = None
    history_batch: NDArray[Any] | None = None
    cells: NDArray[Any] | None = None
    validation: pd.DataFrame | None = None
    n_held_out: NDArray[Any] | None = None
    projected_objective: float | None = None


@dataclass(frozen=True, kw_only=True)
class DeconvolutionEntry(Entry):
    """Mixtures of cell types."""

    cell_types: NDArray[Any] | None = None
    library_size: NDArray[Any] | None = None
    counts_per_cell: NDArray[Any] | None = None
    tuning: Mapping[str, Any] | None = None
    trials: pd.DataFrame | None = None
    presence: Mapping[str, Any] | None = None
    missing_threshold: float | None = None
    missing_genes: pd.DataFrame | None = None
    marker_scores: pd.DataFrame | None = None


@dataclass(frozen=True, kw_only=True)
class StabilityEntry(Entry):
    """Patterns that samples of the data have in common, by number of components."""

    best: int | None = None
    table: pd.DataFrame | None = None
    patterns: pd.DataFrame | None = None


@dataclass(frozen=True, kw_only=True)
class SVDEntry(Entry):
    """Videos as U and V, with the singular values in V."""

    singular_values: NDArray[Any] | None = None
    total_variance: float | None = None


@dataclass(frozen=True, kw_only=True)
class LocaNMFEntry(Entry):
    """Components of a movie, each of a region."""

    region: NDArray[Any] | None = None
    localization: NDArray[Any] | None = None
    penalty: NDArray[Any] | None = None
    damping: NDArray[Any] | None = None
    regions: pd.DataFrame | None = None


@dataclass(frozen=True, kw_only=True)
class WidefieldEntry(Entry):
    """Simulated components of a video, in regions."""

    region: NDArray[Any] | None = None
    informative_region: str | None = None


ENTRIES: dict[str, type[Entry]] = {
    "nmf": Entry,
    "seminmf": Entry,
    **dict.fromkeys(("nsf", "nsfh", "pnmf", "rsf", "fa"), ProbabilisticEntry),
    **dict.fromkeys(("inmf", "online_inmf"), IntegrationEntry),
    "deconvolve": DeconvolutionEntry,
    "stability": StabilityEntry,
    **dict.fromkeys(("svd", "hemo"), SVDEntry),
    **dict.fromkeys(("locanmf", "region_traces"), LocaNMFEntry),
    # Simulated, with the truth in the form of a fit.
    **dict.fromkeys(("quilt", "ggblocks"), ProbabilisticEntry),
    "batches": IntegrationEntry,
    "spots": DeconvolutionEntry,
    "atlas_expression": Entry,
    "widefield": WidefieldEntry,
}


# Of the fields that say where things are. Arrays are checked where they are used.
_TYPES: dict[str, Any] = {
    "params": Mapping,
    "obsm_key": str,
    "varm_key": str | None,
    "side_keys": Mapping,
    "align": Mapping | None,
}


def to_uns(entry: Entry) -> dict[str, Any]:
    """The entry as a dictionary that files can store."""
    stored = {
        f.name: _plain(value)
        for f in fields(entry)
        if (value := getattr(entry, f.name)) is not None or f.name == "varm_key"
    }
    return {"schema": SCHEMA, **stored}


def _plain(value: Any) -> Any:
    """As files take it: dictionaries of no class of ours."""
    if not isinstance(value, Stored | dict):
        return value
    return {name: _plain(entry) for name, entry in value.items()}


def recorded(entry: Entry) -> list[str]:
    """Names of the fields that the fit had."""
    return [f.name for f in fields(entry) if getattr(entry, f.name) is not None]


def is_entry(stored: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether a value of uns looks like a factorization of ours."""
    return hasattr(stored, "keys") and "obsm_key" in stored


def from_uns(stored: Mapping[str, Any], where: str) -> Entry:
    """The entry that was stored, or an error that says why it cannot be read."""
    schema = stored.get("schema")
    if schema is None:
        msg = (
            f"{where} was written by a development version of nonneg, which this one "
            "cannot read. Fit again."
        )
        raise ValueError(msg)
    if not isinstance(schema, int | np.integer) or schema < 1:
        msg = f"{where} has schema={schema!r}, which nonneg never writes. Fit again."
        raise ValueError(msg)
    if schema > SCHEMA:
        msg = (
            f"{where} was written by a newer nonneg (schema {schema}, here {SCHEMA}). "
            "Update nonneg to read it."
        )
        raise ValueError(msg)
    method = stored.get("method")
    if not isinstance(method, str) or method not in ENTRIES:
        msg = (
            f"{where} was made by {method!r}, which this nonneg does not know; it knows "
            f"{sorted(ENTRIES)}. Update nonneg, or fit again."
        )
        raise ValueError(msg)
    kind = ENTRIES[method]
    # With a message for what is missing in a mapping.
    complete = Stored(stored, where)
    known = {f.name: complete[f.name] for f in fields(kind) if f.name in complete}
    needed = {
        f.name
        for f in fields(kind)
        if f.default is MISSING and f.default_factory is MISSING
    }
    if missing := sorted(needed - set(known)):
        msg = f"{where} is incomplete: {missing} are missing. Fit again."
        raise ValueError(msg)
    entry = kind(**known)
    wrong = [
        name
        for name, form in _TYPES.items()
        if not isinstance(getattr(entry, name), form)
    ]
    if wrong:
        msg = f"{where} was changed: {wrong} have other types than a fit stores. Fit again."
        raise ValueError(msg)
    return entry
