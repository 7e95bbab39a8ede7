"""Regions of patterns, as they are stored."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from .._core.validators import check_positive_int
from .keys import SIDE_KEYS
from .schema import SCHEMA, Stored

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

# Joins the names of a set's regions, in tables that files can store.
TOGETHER = " + "

# Of tables that are read: names, and numbers.
_COLUMNS = {
    "regions": (("region", "path"), ()),
    "sets": (
        ("factor",),
        (
            *("n_regions", "n_obs", "score", "sign", "p_value"),
            *("is_best", "p_search", "p_adjusted", "exclusivity"),
        ),
    ),
}


@dataclass(frozen=True, kw_only=True)
class RegionCorrelation:
    """What ``uns`` holds of the regions that patterns fit."""

    params: Mapping[str, Any]
    factors: NDArray[Any]
    """(k,): names of the patterns."""
    regions: pd.DataFrame
    """Name, path and number of observations of every region."""
    scores: NDArray[Any]
    """(n_regions, k): of single regions."""
    sets: pd.DataFrame
    """Best set of every number of regions for every pattern."""
    members: NDArray[Any]
    """(n_sets, max_regions): rows of ``regions``; -1 behind the last one."""
    matrix: NDArray[Any]
    """(k, k): score of every pattern (rows) on the best set of every one (columns)."""
    null: NDArray[Any]
    """(n_surrogates, k): scores of the best sets of random maps."""

    def to_uns(self) -> dict[str, Any]:
        """As a dictionary that files can store."""
        stored = {f.name: getattr(self, f.name) for f in fields(self)}
        return {"schema": SCHEMA, **stored}

    @property
    def best(self) -> NDArray[np.intp]:
        """(k,): rows of ``sets`` with the best set of every pattern."""
        return np.flatnonzero(self.sets["is_best"].to_numpy(bool))

    def rows(self, n_regions: int | None) -> NDArray[np.intp]:
        """(k,): rows of the best sets of so many regions, or of any number."""
        if n_regions is None:
            return self.best
        number = check_positive_int(n_regions, "n_regions")
        most = int(self.params["max_regions"])
        if number > most:
            msg = f"n_regions={number} exceeds the max_regions={most} of the search."
            raise ValueError(msg)
        return np.flatnonzero(self.sets["n_regions"].to_numpy() == number)

    def names(self, row: int) -> tuple[str, ...]:
        """Names of the regions of a set."""
        return self._of(row, "region")

    def paths(self, row: int) -> tuple[str, ...]:
        """Paths of the regions of a set in the ontology."""
        return self._of(row, "path")

    def _of(self, row: int, column: str) -> tuple[str, ...]:
        members = np.asarray(self.members)[row]
        return tuple(self.regions[column].iloc[members[members >= 0]])


def correlation_key(key: str) -> str:
    """Key in uns of the regions of patterns."""
    return key + SIDE_KEYS["uns"]["region_correlation"]


def prediction_key(key: str) -> str:
    """Key in uns of a region that is predicted from patterns."""
    return key + SIDE_KEYS["uns"]["region_prediction"]


def read_region_prediction(adata: AnnData, key: str) -> Stored:
    """The prediction of a region that was stored."""
    name = prediction_key(key)
    stored: Any = adata.uns.get(name)
    if not hasattr(stored, "keys") or not {"auc", "random"} <= set(stored.keys()):
        msg = (
            f"adata.uns has no {name!r}. Call "
            f"`nonneg.tl.region_prediction(adata, region, key={key!r})` first."
        )
        raise KeyError(msg)
    return Stored(stored, f"adata.uns[{name!r}]", "Call `nonneg.tl.region_prediction`")


def read_region_correlation(adata: AnnData, key: str) -> RegionCorrelation:
    """The regions of patterns that were stored."""
    name = correlation_key(key)
    stored: Any = adata.uns.get(name)
    if not is_region_correlation(stored):
        msg = (
            f"adata.uns has no {name!r}. Call "
            f"`nonneg.tl.region_correlation(adata, key={key!r})` first."
        )
        raise KeyError(msg)
    if stored.get("schema") != SCHEMA:
        msg = (
            f"adata.uns[{name!r}] was written by another version of nonneg (schema "
            f"{stored.get('schema')}, here {SCHEMA}). Compute it again."
        )
        raise ValueError(msg)
    again = "Call `nonneg.tl.region_correlation`"
    complete = Stored(stored, f"adata.uns[{name!r}]", again)
    parts: dict[str, Any] = {
        name: complete.table(name, text=text, numbers=numbers)
        for name, (text, numbers) in _COLUMNS.items()
    }
    for part in fields(RegionCorrelation):
        parts.setdefault(part.name, complete[part.name])
    found = RegionCorrelation(**parts)
    rows = len(found.regions), len(found.sets), len(found.best)
    if rows != tuple(
        len(np.atleast_1d(x)) for x in (found.scores, found.members, found.factors)
    ):
        msg = (
            f"adata.uns[{name!r}] has {rows[0]} regions and {rows[1]} sets, {rows[2]} of them "
            f"the best of a pattern, which are not those of its scores. {again} again."
        )
        raise ValueError(msg)
    return found


def is_region_correlation(stored: Any) -> bool:
    """Whether a value of uns looks like regions of patterns."""
    names = {f.name for f in fields(RegionCorrelation)}
    return hasattr(stored, "keys") and names <= set(stored.keys())
