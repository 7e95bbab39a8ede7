"""Tables of events."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from .._adata.checks import as_numbers
from .._adata.video import TIME
from .._core.arguments import checked
from .._core.optional import import_optional
from .._core.validators import check_one_of
from ..operators.validate import reading
from ._parquet import read_parquet

if TYPE_CHECKING:
    from os import PathLike

# Names of columns with the time of an event, in the order in which they are looked for.
_TIMES = (TIME, "start_time", "timestamp", "timestamps", "onset")
_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


@checked
def read_events(
    path: str | PathLike[str],
    *,
    time_column: str | None = None,
    unit: Literal["s", "ms", "us"] = "s",
    table: str | None = None,
) -> pd.DataFrame:
    r"""Read a table of events: trials, stimuli, licks.

    Parameters
    ----------
    path
        `.csv`, `.tsv`, `.txt` (the separator is found out), `.parquet`; `.npy` with
        times; or `.nwb` (extra `nwb`).
    time_column
        Column with the time of each event. `None`: `time`, `start_time`, `timestamp`,
        `timestamps` or `onset`, whichever comes first.
    unit
        Of the times.
    table
        Of an NWB file: name of a table of intervals (`"trials"`, `"epochs"`), or of a
        series with time stamps in acquisition or in a processing module. `None`: the
        trials.

    Returns
    -------
    Data frame of the events in order of time: `time` in seconds, and all other columns
    as they are.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ImportError
        If the file is NWB, and the extra `nwb` is missing.
    KeyError
        If there is no such column or table.
    ValueError
        If the file cannot be read, or a time is missing or infinite.

    See Also
    --------
    nonneg.io.ttl_onsets : events from the trace of a digital or analog line
    nonneg.io.align_clocks : times of another computer
    nonneg.pp.align_events : next step

    Examples
    --------
    >>> import nonneg as nng
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "licks.csv"
    >>> _ = path.write_text("onset,side\n1500,left\n900,right\n")
    >>> nng.io.read_events(path, unit="ms")
       time   side
    0   0.9  right
    1   1.5   left
    """
    check_one_of(unit, _UNITS, "unit")
    file = Path(path)
    if not file.exists():
        msg = f"{file} does not exist."
        raise FileNotFoundError(msg)
    if file.suffix == ".nwb":
        events = _read_nwb(file, table)
    elif table is not None:
        msg = f"table={table!r} is of NWB files only, and {file} is not named .nwb."
        raise ValueError(msg)
    else:
        events = _read_table(file)
    column = _time_column(events, time_column, file)
    times = as_numbers(events[column], f"column {column!r} of {file}")
    bad = ~np.isfinite(times)
    if bad.any():
        msg = (
            f"Column {column!r} of {file} has {int(bad.sum())} times that are missing or "
            f"infinite, the first in row {int(bad.argmax())}. Remove these rows first."
        )
        raise ValueError(msg)
    others = events.drop(columns=[column])
    if TIME in others:
        msg = (
            f"{file} has a column {TIME!r} beside {column!r}. Rename it, or name it as "
            "`time_column`."
        )
        raise ValueError(msg)
    others.insert(0, TIME, times * _UNITS[unit])
    return others.sort_values(TIME, kind="stable").reset_index(drop=True)


def _time_column(events: pd.DataFrame, wanted: str | None, file: Path) -> str:
    names = [str(name) for name in events.columns]
    events.columns = pd.Index(names)
    found = [name for name in ((wanted,) if wanted else _TIMES) if name in names]
    if not found:
        msg = (
            f"{file} has no column {repr(wanted) if wanted else 'of times'}; it has "
            f"{names}. Name one as `time_column`."
        )
        raise KeyError(msg)
    return found[0]


def _read_table(file: Path) -> pd.DataFrame:
    if file.suffix == ".parquet":
        return read_parquet(file)
    with reading(str(file)):
        if file.suffix == ".npy":
            return pd.DataFrame({TIME: np.load(file).ravel()})
        if file.suffix == ".csv":
            return pd.read_csv(file)
        if file.suffix in {".tsv", ".txt"}:
            return pd.read_csv(file, sep=None, engine="python")
    msg = (
        f"{file} is of no known kind: .csv, .tsv, .txt, .parquet, .npy or .nwb. Read it "
        "with pandas; events are data frames with a column `time`."
    )
    raise ValueError(msg)


def _read_nwb(file: Path, name: str | None) -> pd.DataFrame:
    pynwb = import_optional("pynwb", "nwb", "NWB files")
    with (
        reading(str(file)),
        pynwb.NWBHDF5IO(file, "r", load_namespaces=True) as io,
    ):
        nwb = io.read()
        tables = {
            str(one.name): one
            for one in (nwb.trials, nwb.epochs, *(nwb.intervals or {}).values())
            if one is not None
        }
        series = {
            str(one.name): one
            for one in nwb.objects.values()
            if isinstance(one, pynwb.TimeSeries) and one.timestamps is not None
        }
        wanted = name or "trials"
        if wanted in tables:
            return tables[wanted].to_dataframe().reset_index(drop=True)
        if wanted in series:
            found = series[wanted]
            values = np.asarray(found.data)
            columns = {TIME: np.asarray(found.timestamps, np.float64)}
            if values.ndim == 1 and values.size == columns[TIME].size:
                columns["value"] = values
            return pd.DataFrame(columns)
    msg = (
        f"{file} has no table or series with time stamps named {wanted!r}; it has "
        f"{sorted({*tables, *series})}. Name one as `table`."
    )
    raise KeyError(msg)
