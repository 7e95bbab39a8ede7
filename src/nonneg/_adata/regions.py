"""Regions of observations, with the ontology that they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from .._core.text import counted
from ..models.anatomy.regions import grid_graph
from .checks import as_numbers
from .coordinates import read_coordinates
from .grid import find_grid
from .labels import read_labels
from .schema import is_entry
from .views import read_factors

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

# Joins names of nested regions.
_BELOW = " > "


@dataclass(frozen=True)
class Annotation:
    """Observations in regions, which may be nested."""

    codes: NDArray[np.intp]
    """(n_obs,): label of every observation, -1 for those without."""
    members: NDArray[np.bool_]
    """(n_regions, n_labels): labels that belong to every region."""
    names: list[str]
    """Of the regions; the deepest of the ontology first."""
    paths: list[str]
    """From the root of the ontology to every region."""


def read_annotation(
    adata: AnnData, region_key: str, structures: pd.DataFrame | None = None
) -> Annotation:
    """Regions in a column of obs, and those above them in an ontology.

    The ontology is the one that is given, or that `atlas.annotate` has stored, or none.
    """
    hint = (
        "Name the column of regions as `region_key`, or call `nonneg.atlas.annotate`."
    )
    labels = read_labels(adata, region_key, hint=hint)
    where = f"adata.obs[{region_key!r}]"
    column = np.asarray(adata.obs[region_key])
    if (
        column.dtype.kind == "f"
        and (column != np.rint(column))[~np.isnan(column)].any()
    ):
        msg = f"{where} holds numbers that are not whole, which name no regions. {hint}"
        raise ValueError(msg)
    if len(labels.names) < 2:
        msg = (
            f"{where} has {counted(len(labels.names), 'region')} ({list(labels.names)}); there must "
            "be two to tell apart."
        )
        raise ValueError(msg)
    if structures is None:
        stored: Any = adata.uns.get(region_key)
        structures = stored.get("structures") if hasattr(stored, "get") else None
    names = [str(name) for name in labels.names]
    if structures is None:
        return Annotation(labels.codes, np.eye(len(names), dtype=bool), names, names)
    parent = _read_parents(structures)
    unknown = [name for name in names if name not in parent]
    if unknown:
        msg = (
            f"{where} has regions that the ontology does not name: {unknown[:5]}"
            f"{' …' if len(unknown) > 5 else ''}. Annotate again, or remove "
            f"adata.uns[{region_key!r}]."
        )
        raise ValueError(msg)
    lines = {name: _line(name, parent) for name in names}
    depth = {node: i for line in lines.values() for i, node in enumerate(line)}
    order = {node: i for i, node in enumerate(parent)}
    # Of regions that hold the same observations, the most specific one comes first.
    nodes = sorted(depth, key=lambda node: (-depth[node], order[node]))
    position = {node: i for i, node in enumerate(nodes)}
    members = np.zeros((len(nodes), len(names)), bool)
    for label, name in enumerate(names):
        members[[position[node] for node in lines[name]], label] = True
    paths = [_BELOW.join(_line(node, parent)) for node in nodes]
    return Annotation(labels.codes, members, nodes, paths)


def _read_parents(structures: pd.DataFrame) -> dict[str, str | None]:
    """Name of the parent of every structure, by name."""
    table = structures if "id" in structures else structures.reset_index(names="id")
    missing = sorted({"id", "acronym", "parent"} - set(table))
    if missing:
        msg = f"The table of structures lacks {missing}; it has {list(table)}."
        raise ValueError(msg)
    names = table["acronym"].astype(str)
    if names.duplicated().any():
        repeated = sorted(set(names[names.duplicated()]))[:5]
        msg = f"Names of structures repeat, e.g. {repeated}. Make them unique first."
        raise ValueError(msg)
    by_id = dict(zip(table["id"], names, strict=True))
    return {
        name: by_id.get(parent)
        for name, parent in zip(names, table["parent"], strict=True)
    }


def _line(name: str, parent: dict[str, str | None]) -> list[str]:
    """From the root down to a structure."""
    line = [name]
    while (above := parent[line[-1]]) is not None:
        if above in line:
            msg = f"The ontology has a loop: {_BELOW.join([above, *line[::-1]])}."
            raise ValueError(msg)
        line.append(above)
    return line[::-1]


def read_neighbours(
    adata: AnnData,
    used: NDArray[np.bool_],
    *,
    connectivity_key: str,
    spatial_key: str,
) -> sp.csr_matrix:
    """Neighbours among some observations: a stored graph, or those of a grid."""
    if connectivity_key in adata.obsp:
        stored = adata.obsp[connectivity_key]
        graph = sp.csr_matrix(stored)[used][:, used]
        graph = sp.csr_matrix(abs(graph).maximum(abs(graph).T)).astype(np.float32)
        graph.setdiag(0)
        graph.eliminate_zeros()
        where = f"adata.obsp[{connectivity_key!r}]"
    else:
        hint = (
            f"There is no adata.obsp[{connectivity_key!r}] either. Call e.g. "
            "`squidpy.gr.spatial_neighbors_delaunay(adata)`."
        )
        coords = read_coordinates(adata, spatial_key, hint=hint)[used]
        grid = find_grid(coords)
        if grid is None or len(np.unique(grid.position, axis=0)) < len(coords):
            msg = (
                f"adata.obsm[{spatial_key!r}] is not a regular grid with one "
                f"observation at a place, and there is no "
                f"adata.obsp[{connectivity_key!r}] that says which observations are "
                "neighbours. Call e.g. `squidpy.gr.spatial_neighbors_delaunay(adata)` "
                "first."
            )
            raise ValueError(msg)
        graph = grid_graph(grid.position)
        where = f"the grid of adata.obsm[{spatial_key!r}]"
    if graph.nnz == 0:
        msg = f"In {where}, no two observations with a region are neighbours."
        raise ValueError(msg)
    return graph


@dataclass(frozen=True)
class Patterns:
    """Maps to compare with regions."""

    maps: NDArray[np.float64]
    """(n_obs, k); NaN where nothing is known."""
    names: list[str]


def read_patterns(adata: AnnData, key: str) -> Patterns:
    """Factors of a factorization, columns of an element of obsm, or clusters."""
    if is_entry(adata.uns.get(key)):
        found = read_factors(adata, key)
        return Patterns(found.scores.astype(np.float64), list(found.names))
    if key in adata.obsm:
        element: Any = adata.obsm[key]
        values = as_numbers(element, f"adata.obsm[{key!r}]")
        if isinstance(element, pd.DataFrame):
            return Patterns(values, [str(name) for name in element.columns])
        if values.ndim != 2:
            msg = f"adata.obsm[{key!r}] must be two-dimensional."
            raise ValueError(msg)
        return Patterns(values, [f"{key}_{i}" for i in range(values.shape[1])])
    if key in adata.obs:
        labels = read_labels(adata, key)
        values = (labels.codes[:, None] == np.arange(len(labels.names))).astype(float)
        values[labels.codes < 0] = np.nan
        return Patterns(values, [str(name) for name in labels.names])
    # The message of factorizations that are not there.
    read_factors(adata, key)
    raise AssertionError
