"""Tables of structures, of whatever origin, in one form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._adata.checks import as_numbers, check_columns
from ..operators.validate import reading

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Names that columns have in tables of the Allen Institute, BrainGlobe and others.
_NAMES = {
    "id": ("id", "structure_id", "label"),
    "acronym": ("acronym", "abbreviation"),
    "name": ("name", "safe_name"),
    "parent": ("parent", "parent_id", "parent_structure_id", "structure_id_path"),
    "color": ("color", "color_hex_triplet"),
}
_HEX_DIGITS = 6
# At the end of acronyms of one hemisphere.
_SIDE = re.compile(r"[ ._-]((?P<left>l|left)|r|right)$", re.IGNORECASE)

LEFT, RIGHT = 1, 2
"""Values of hemispheres, as BrainGlobe has them."""


def read_structures(given: Any, labels: NDArray[np.integer[Any]]) -> pd.DataFrame:
    """A table of structures, each followed by its descendants; checked.

    Index: `id`. Columns: `acronym`, `name`, `parent` (0: none), `level` (0: no parent),
    `color` (`""`: none).
    """
    where = "structures"
    if given is None:
        names = np.unique(labels[labels != 0])
        table = pd.DataFrame({"id": names})
    elif isinstance(given, Mapping):
        table = pd.DataFrame({"id": list(given), "acronym": list(given.values())})
    elif isinstance(given, pd.DataFrame):
        table = given.reset_index() if given.index.name in _NAMES["id"] else given
    else:
        where = str(given)
        table = read_structure_file(given)
    check_columns(table, where)
    columns = {
        ours: next((name for name in names if name in table), None)
        for ours, names in _NAMES.items()
    }
    if columns["id"] is None:
        msg = (
            f"{where} must have a column of ids, one of {list(_NAMES['id'])}, but has "
            f"{list(table.columns)}. Rename the one that holds the labels of the volume."
        )
        raise ValueError(msg)
    ids = _integers(table[columns["id"]], f"{where}[{columns['id']!r}]")
    # 0 is what no structure is: the Allen table calls it void.
    table, ids = table[ids != 0], ids[ids != 0]
    if np.unique(ids).size < ids.size:
        repeated = pd.Series(ids)[pd.Series(ids).duplicated()].unique()[:3].tolist()
        msg = f"{where} has ids that repeat, e.g. {repeated}."
        raise ValueError(msg)
    acronym = _text(table, columns["acronym"], ids.astype(str))
    if pd.Index(acronym).has_duplicates:
        repeated = pd.Series(acronym)[pd.Series(acronym).duplicated()].unique()[:3]
        msg = f"{where} has acronyms that repeat, e.g. {repeated.tolist()}."
        raise ValueError(msg)
    parent = _parents(table, columns["parent"], ids, where)
    order, level = _depth_first(ids, parent, where)
    return pd.DataFrame(
        {
            "acronym": acronym,
            "name": _text(table, columns["name"], acronym),
            "parent": parent,
            "level": level,
            "color": _colors(table, columns["color"], where),
        },
        index=pd.Index(ids, name="id"),
    ).iloc[order]


def read_structure_file(given: Any) -> pd.DataFrame:
    """A table that is a CSV file."""
    path = Path(given)
    if not path.is_file():
        msg = f"There is no file {str(path)!r} with a table of structures."
        raise FileNotFoundError(msg)
    with reading(str(path)):
        return pd.read_csv(path)


def _integers(column: pd.Series[Any], where: str) -> NDArray[np.int64]:
    numbers = as_numbers(column, where)
    whole = np.isfinite(numbers) & (numbers == np.rint(numbers))
    if not whole.all():
        msg = f"{where} must hold whole numbers, but holds {column[~whole].iloc[0]!r}."
        raise ValueError(msg)
    return numbers.astype(np.int64)


def _text(
    table: pd.DataFrame, column: str | None, default: NDArray[Any]
) -> NDArray[Any]:
    """Text, with something else where it is missing."""
    if column is None:
        return default.astype(object)
    values = table[column]
    return np.where(values.isna(), default, values.astype(str)).astype(object)


def _parents(
    table: pd.DataFrame, column: str | None, ids: NDArray[np.int64], where: str
) -> NDArray[np.int64]:
    if column is None:
        return np.zeros(ids.size, np.int64)
    values = table[column]
    if column == "structure_id_path":
        # "/997/8/567/", or a list of ids.
        paths = [
            [part for part in path.split("/") if part]
            if isinstance(path, str)
            else path
            if isinstance(path, list | tuple | np.ndarray)
            else []
            for path in values
        ]
        values = pd.Series([path[-2] if len(path) > 1 else 0 for path in paths])
    numbers = as_numbers(values, f"{where}[{column!r}]")
    # Roots have no parent, -1, or themselves.
    none = np.isnan(numbers) | (numbers == -1) | (numbers == ids)
    parent = np.where(none, 0, numbers).astype(np.int64)
    unknown = ~np.isin(parent, ids) & (parent != 0)
    if unknown.any():
        msg = (
            f"{where}[{column!r}] names parents that are not in the table, e.g. "
            f"{parent[unknown][:3].tolist()}."
        )
        raise ValueError(msg)
    return parent


def _depth_first(
    ids: NDArray[np.int64], parent: NDArray[np.int64], where: str
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """An order in which each structure is followed by its descendants, and depths."""
    children: dict[int, list[int]] = {}
    for position, above in enumerate(parent.tolist()):
        children.setdefault(above, []).append(position)
    level = np.zeros(ids.size, np.int64)
    order = []
    ahead = children.get(0, [])[::-1]
    while ahead:
        position = ahead.pop()
        order.append(position)
        below = children.get(int(ids[position]), [])
        level[below] = level[position] + 1
        ahead.extend(below[::-1])
    if len(order) < ids.size:
        lost = np.setdiff1d(ids, ids[order])[:3].tolist()
        msg = f"{where} is not a tree: {lost} are their own ancestors."
        raise ValueError(msg)
    return np.array(order, np.intp), level


def _colors(table: pd.DataFrame, column: str | None, where: str) -> NDArray[Any]:
    if column is None:
        return np.full(len(table), "", object)
    values = table[column].fillna("").astype(str)
    digits = values.str.removeprefix("#")
    # As numbers, colours lose their leading zeros, e.g. 5C900 of 05C900.
    hexadecimal = digits.str.fullmatch(f"[0-9a-fA-F]{{1,{_HEX_DIGITS}}}")
    if not (hexadecimal | (digits == "")).all():
        wrong = values[~hexadecimal & (digits != "")].iloc[0]
        msg = f"{where}[{column!r}] must hold colours such as '#B0FFB8', not {wrong!r}."
        raise ValueError(msg)
    padded = "#" + digits.str.zfill(_HEX_DIGITS).str.lower()
    return padded.where(digits != "", "").to_numpy(object)


def merge_sides(table: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Structures without those of negative ids, and the side of positive ones.

    The marks at the ends of two acronyms say which of them is on the left; without, it
    is the positive one.
    """
    acronyms = dict(zip(table.index.tolist(), table["acronym"].tolist(), strict=True))
    stems, positive = {}, LEFT
    for number, acronym in acronyms.items():
        if number < 0 or -number not in acronyms:
            continue
        own, other = _SIDE.search(acronym), _SIDE.search(acronyms[-number])
        if own is None or other is None or bool(own["left"]) == bool(other["left"]):
            continue
        stem = acronym[: own.start()]
        if stem != acronyms[-number][: other.start()]:
            continue
        stems[acronym] = stem
        if not own["left"]:
            positive = RIGHT
    table = table[table.index > 0].replace({"acronym": stems, "name": stems})
    return table, positive
