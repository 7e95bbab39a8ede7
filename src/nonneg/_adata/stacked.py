"""Sections that lie on top of each other because nothing tells them apart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from .._core.text import counted
from .._core.warnings import warn
from .labels import read_labels

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

# Cells of one section share a place where coordinates are rounded, to micrometres say:
# one in a hundred at most, with a cell in 100 square micrometres. Of two sections on one
# lattice, most locations do.
_MANY = 0.05

# Names of columns that tell sections apart, as scanpy, squidpy, SpatialData, Seurat and
# the instruments have them: `brain_section_label`, `orig.ident`. What else is in them may
# only say of what they are, or that they are names: neither `sample_qc` nor `good_batch`
# is a section.
_WHAT = (
    "animal|batch|donor|fov|image|individual|library|mouse|patient|puck|replicate|sample"
    "|section|slice|slide|specimen"
)
_OF = "array|brain|hashtag|imaging|spatial|tissue|tma|tumou?r|visium|whole|xenium"
_NAMES = re.compile(
    rf"(({_OF})[\W_]*)*({_WHAT})s?([\W_]*({_WHAT}))?[\W_]*(id|key|label|name|nr|no|number)?"
    r"|orig[\W_]ident",
    re.IGNORECASE,
)
# What the first of several columns of labels may end in.
_DIGITS = "0123456789_"

# Of neighbours with another label, relative to labels at random. Parts of one section
# touch along a border: a lattice of 6 x 6 in halves has .17, larger ones less. Two
# sections of which a third overlaps have .3.
_MIXED = 0.25
_N_NEIGHBORS = 4
_N_LOOKED_AT = 2_000
# Observations per label, on average: numbers that name sections, not counts.
_PER_LABEL = 10


def warn_stacked(
    adata: AnnData,
    coords: NDArray[np.float64],
    section: NDArray[np.intp],
    *,
    spatial_key: str,
    library_key: str | None,
) -> None:
    """Warn where locations of several sections would be neighbours."""
    table = pd.DataFrame(coords).assign(section=section)
    share = table.duplicated(keep=False).mean()
    where = f"adata.obsm[{spatial_key!r}]"
    twice = ""
    if share > _MANY:
        columns = [name for name in _columns(adata, table) if name != library_key]
        if not columns:
            within = (
                ""
                if library_key is None
                else f".assign(section=adata.obs[{library_key!r}].to_numpy())"
            )
            twice = (
                " Where cells are listed twice instead, with the same counts, as in fields of "
                "view that overlap, keep one of each: adata = "
                f"adata[~pd.DataFrame({where}){within}.duplicated().to_numpy()].copy()"
            )
        head = (
            f"{share:.0%} of the locations in {where} have the coordinates of another one, "
            "as where sections lie on top of each other."
        )
    elif library_key is not None:
        return
    elif columns := _of_names(adata, names := _sections_of(adata, spatial_key)):
        head = f"adata.uns names several sections, {sorted(names)}."
    elif columns := _mixed(adata, coords):
        head = (
            f"Observations with different adata.obs[{columns[0]!r}] lie among each other in "
            f"{where}, as where sections lie on top of each other."
        )
    else:
        return
    such = " or ".join(_proposed(adata, name) for name in columns[:3])
    treated = (
        "They are treated"
        if library_key is None
        else f"Those of one adata.obs[{library_key!r}] are treated"
    )
    warn(
        f"{head} {treated} as one section unless `library_key` names the column of "
        f"adata.obs that tells them apart{such and f', such as {such}'}.{twice}"
    )


def _proposed(adata: AnnData, name: str) -> str:
    """The argument, and what it asks for first: labels of all."""
    n_missing = int((read_labels(adata, name).codes < 0).sum())
    first = (
        f" (after a label is given to {counted(n_missing, 'observation')} without one)"
    )
    return f"library_key={name!r}{first if n_missing else ''}"


def _columns(adata: AnnData, table: pd.DataFrame) -> list[str]:
    """Columns whose groups have hardly any place in common."""
    found = []
    for name in dict.fromkeys([*_texts(adata), *_called_as_sections(adata)]):
        labels = read_labels(adata, name)
        # Names of the locations themselves tell all apart.
        if 1 < labels.names.size <= len(table) // 2:
            apart = table.assign(label=labels.codes)
            if apart.duplicated(keep=False).mean() <= _MANY:
                found.append(name)
    return found


def _sections_of(adata: AnnData, spatial_key: str) -> set[str]:
    """Names of sections, where squidpy or SpatialData know of several."""
    known: list[Any] = []
    pictures = adata.uns.get(spatial_key)
    if isinstance(pictures, Mapping):
        known += pictures
    regions = adata.uns.get("spatialdata_attrs", {}).get("region")
    if isinstance(regions, list | np.ndarray):
        known += list(regions)
    names = {str(name) for name in known}
    return names if len(names) > 1 else set()


def _of_names(adata: AnnData, names: set[str]) -> list[str]:
    """Columns with several of these names; all but one may have been removed since."""
    if not names:
        return []
    return [
        name
        for name in _texts(adata)
        if len(names & set(read_labels(adata, name).names)) > 1
    ]


def _mixed(adata: AnnData, coords: NDArray[np.float64]) -> list[str]:
    """Columns that are called as sections are, with labels that lie among each other."""
    axes = np.ptp(coords, axis=0) > 0
    # Slices of a volume are neighbours, and depth tells them apart.
    columns = [] if axes.sum() > 2 else _called_as_sections(adata)
    if not columns or len(coords) <= _N_NEIGHBORS:
        return []
    tree = cKDTree(coords, balanced_tree=False, compact_nodes=False)
    rows = np.unique(np.linspace(0, len(coords) - 1, _N_LOOKED_AT).astype(np.intp))
    near = tree.query(coords[rows], k=_N_NEIGHBORS + 1)[1]
    found = []
    for name in columns:
        labels = read_labels(adata, name)
        # Labels that are missing name no section.
        labelled = labels.codes[labels.codes >= 0]
        if not 1 < labels.names.size <= len(labelled) // _PER_LABEL:
            continue
        at_random = 1 - np.square(np.bincount(labelled) / len(labelled)).sum()
        code, others = labels.codes[rows][:, None], labels.codes[near]
        told = (code >= 0) & (others >= 0)
        # One of the neighbours is the observation itself.
        n_pairs = told.sum() - told.any(1).sum()
        if ((others != code) & told).sum() > _MIXED * at_random * n_pairs:
            found.append(name)
    return found


def _called_as_sections(adata: AnnData) -> list[str]:
    """Columns with such names that hold labels, or whole numbers.

    A name may end in digits, `slide1`, unless the column holds numbers: these count things.
    """
    whole = pd.api.types.is_integer_dtype
    return [
        name
        for name in _names(adata)
        if (
            _is_text(column := adata.obs[name])
            and _NAMES.fullmatch(name.rstrip(_DIGITS))
        )
        or (whole(column.dtype) and _NAMES.fullmatch(name))
    ]


def _texts(adata: AnnData) -> list[str]:
    """Columns of labels: others may hold anything, and are not looked at."""
    return [name for name in _names(adata) if _is_text(adata.obs[name])]


def _names(adata: AnnData) -> list[str]:
    """Of columns that can be asked for."""
    names = pd.Index(adata.obs.columns)
    return [
        name for name in names[~names.duplicated(keep=False)] if isinstance(name, str)
    ]


def _is_text(column: Any) -> bool:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return pd.api.types.infer_dtype(column.dtype.categories) in {
            "string",
            "integer",
        }
    if column.dtype.kind in "OUT" or isinstance(column.dtype, pd.StringDtype):
        return pd.api.types.infer_dtype(np.asarray(column), skipna=True) == "string"
    return False
