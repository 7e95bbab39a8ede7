"""Positions of body parts."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._adata.checks import as_numbers
from .._core.arguments import checked
from .._core.optional import import_optional
from .._core.validators import check_at_least
from .._core.warnings import warn
from ..operators.validate import reading

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import ArrayLike


@checked
def read_pose(
    path: str | PathLike[str],
    *,
    fs: float | None = None,
    times: ArrayLike | None = None,
    min_likelihood: float = 0.9,
) -> pd.DataFrame:
    r"""Read the body parts that DeepLabCut has tracked.

    Parameters
    ----------
    path
        `.csv`, or `.h5` (extra `pose`), as DeepLabCut :cite:p:`Mathis2018` writes them,
        of one animal or several.
    fs
        Frames per second of the behavioural video, whose first frame is at 0.
    times
        Or the seconds of every one of its frames, e.g. of
        :func:`nonneg.io.ttl_onsets`.
    min_likelihood
        Positions that are less likely are NaN: the tracker has lost the part. With
        `pp.align_behavior`, short gaps are interpolated.

    Returns
    -------
    Data frame with a row for every frame, whose index is `time` in seconds. Columns:
    `<part>_x`, `<part>_y`, in pixels of the video, and `<part>_likelihood`, with the name
    of the animal in front where there are several.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ImportError
        If the file is `.h5`, and the extra `pose` is missing.
    ValueError
        If neither `fs` nor `times` is given, or both, or there are as many times as
        frames, or the file is not of DeepLabCut.

    See Also
    --------
    nonneg.pp.align_behavior : next step

    Examples
    --------
    >>> import nonneg as nng
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "videoDLC.csv"
    >>> _ = path.write_text(
    ...     "scorer,net,net,net\nbodyparts,paw,paw,paw\ncoords,x,y,likelihood\n"
    ...     "0,10.5,20.0,0.99\n1,11.0,20.5,0.98\n"
    ... )
    >>> nng.io.read_pose(path, fs=100)
          paw_x  paw_y  paw_likelihood
    time
    0.00   10.5   20.0            0.99
    0.01   11.0   20.5            0.98
    """
    check_at_least(min_likelihood, 0, "min_likelihood")
    if (fs is None) == (times is None):
        msg = "Give fs, the frames per second of the behavioural video, or times."
        raise ValueError(msg)
    file = Path(path)
    if not file.exists():
        msg = f"{file} does not exist."
        raise FileNotFoundError(msg)
    with reading(str(file)):
        table = _read_h5(file) if file.suffix in {".h5", ".hdf5"} else _read_csv(file)
    levels = list(table.columns.names)
    if "bodyparts" not in levels or "coords" not in levels:
        msg = (
            f"{file} is not of DeepLabCut: its header has the rows {levels}, where "
            "scorer, bodyparts and coords are expected."
        )
        raise ValueError(msg)
    parts = table.columns.get_level_values("bodyparts").astype(str)
    coords = table.columns.get_level_values("coords").astype(str)
    if "individuals" in levels:
        animals = table.columns.get_level_values("individuals").astype(str)
        if len(set(animals)) > 1:
            parts = animals + "_" + parts
    try:
        values = table.to_numpy(np.float64)
    except (TypeError, ValueError) as error:
        msg = f"{file} holds entries that are no numbers: {error}"
        raise ValueError(msg) from error
    out = pd.DataFrame(values, columns=parts + "_" + coords)
    if not out.columns.is_unique:
        repeated = out.columns[out.columns.duplicated()][:3].tolist()
        msg = f"{file} has columns more than once, e.g. {repeated}."
        raise ValueError(msg)
    lost = 0
    for part in parts.unique():
        likelihood = out.get(f"{part}_likelihood")
        if likelihood is None:
            continue
        unlikely = ~(likelihood.to_numpy() >= min_likelihood)
        lost += int(unlikely.sum())
        for axis in ("x", "y"):
            if f"{part}_{axis}" in out:
                out.loc[unlikely, f"{part}_{axis}"] = np.nan
    if lost == len(out) * parts.nunique():
        warn(
            f"No position in {file} has a likelihood of min_likelihood={min_likelihood:g}."
        )
    out.index = pd.Index(_times(len(out), fs, times, file), name="time")
    return out


def _times(
    n: int, fs: float | None, times: ArrayLike | None, file: Path
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if fs is not None:
        if not 0 < fs < np.inf:
            msg = f"fs={fs!r} must be above 0."
            raise ValueError(msg)
        return np.arange(n) / fs
    given = as_numbers(times, "times").ravel()
    if given.size != n:
        msg = (
            f"There are {given.size} times for the {n} frames of {file}. Frames or "
            "triggers were dropped; find out which before you go on."
        )
        raise ValueError(msg)
    return given


def _read_csv(file: Path) -> pd.DataFrame:
    try:
        with file.open() as lines:
            names = [line.split(",", 1)[0].strip() for line in islice(lines, 4)]
        known = {"scorer", "individuals", "bodyparts", "coords"}
        header = [i for i, name in enumerate(names) if name in known]
        if "bodyparts" not in names or "coords" not in names:
            msg = (
                f"{file} is not of DeepLabCut: it begins with the rows {names}, where "
                "scorer, bodyparts and coords are expected."
            )
            raise ValueError(msg)
        table = pd.read_csv(file, header=header, index_col=0)
    except (
        UnicodeDecodeError,
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
    ) as error:
        msg = f"{file} cannot be read: {error}"
        raise ValueError(msg) from error
    table.columns = table.columns.set_names([names[i] for i in header])
    return table


def _read_h5(file: Path) -> pd.DataFrame:
    import_optional("tables", "pose", "DeepLabCut's .h5 files")
    try:
        found = pd.read_hdf(file)
    except Exception as error:
        # Damaged files fail in the many ways of HDF5 and of what is stored in it.
        msg = f"{file} cannot be read: {error}"
        raise ValueError(msg) from error
    if not isinstance(found, pd.DataFrame):
        msg = f"{file} holds a {type(found).__name__}, not a table of positions."
        raise ValueError(msg)
    return found
