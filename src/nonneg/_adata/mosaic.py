"""Data sets that have partly different variables: AnnData by name, or a MuData."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from .checks import check_key, check_unique_names
from .genes import as_mask
from .labels import read_sections
from .read import is_mudata, resolve_adata, select_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from .genes import Genes


class Mosaic(NamedTuple):
    """Cells of all data sets, with the variables of each."""

    source: AnnData
    """What is read."""
    target: AnnData
    """What results are written to."""
    unshared: Mapping[str, Genes] | None
    """By data set, variables that it has and not all others have."""
    is_new: bool
    """Whether the target was made here."""


def resolve_mosaic(
    data: AnnData | SpatialData | MuData | Mapping[str, AnnData],
    *,
    batch_key: str,
    layer: str | None,
    mask_var: Genes,
    unshared: Mapping[str, Genes] | None,
    table_key: str | None,
    copy: bool,
) -> Mosaic:
    """The cells to work on, whatever holds them."""
    of_mapping = isinstance(data, Mapping)
    if not of_mapping and not is_mudata(data):
        adata = resolve_adata(
            cast("AnnData | SpatialData", data), table_key=table_key, copy=copy
        )
        return Mosaic(adata, adata, unshared, is_new=False)
    if unshared is not None:
        msg = (
            "`unshared` is for a single AnnData. Here the variables themselves tell "
            "which of them data sets share."
        )
        raise ValueError(msg)
    if of_mapping:
        joined, own = _join(
            cast("Mapping[str, AnnData]", data), batch_key, layer, mask_var
        )
        return Mosaic(joined, joined, own, is_new=True)
    target = resolve_adata(
        cast("Any", data), table_key=table_key, copy=copy, scores_only=True
    )
    stacked, own = _stack(cast("Any", target), batch_key, layer)
    return Mosaic(stacked, target, own, is_new=False)


def _join(
    data: Mapping[str, AnnData], batch_key: str, layer: str | None, mask_var: Genes
) -> tuple[AnnData, dict[str, Genes]]:
    """All cells, with the variables of all data sets.

    In the order of their names: results do not depend on that of the mapping.
    """
    data_sets = {str(name): one for name, one in data.items()}
    for name, one in data_sets.items():
        if not isinstance(one, AnnData):
            msg = f"{name!r} must be an AnnData, not a {type(one).__name__}."
            raise TypeError(msg)
        check_unique_names(one.var_names, f"Variables of {name!r}")
        x, where = select_matrix(one, layer=layer)
        _check_in_memory(x, f"{where} of {name!r}")
        if one.n_obs == 0:
            msg = f"{name!r} has no cells."
            raise ValueError(msg)
    names = sorted(data_sets)
    if not names:
        msg = "There is no data set in the mapping."
        raise ValueError(msg)
    cells = pd.Index(np.concatenate([data_sets[name].obs_names for name in names]))
    joined = ad.concat(
        {name: _only(data_sets[name], layer) for name in names},
        join="outer",
        label=batch_key,
        index_unique=None if cells.is_unique else "-",
        fill_value=0,
    )
    # Those of the first data set come first, in its order.
    genes = pd.Index(np.concatenate([data_sets[name].var_names for name in names]))
    genes = genes[~genes.duplicated()]
    if not joined.var_names.equals(genes):
        joined = joined[:, genes].copy()
    if isinstance(mask_var, str):
        selected = {
            gene
            for name in names
            for gene in _selected(data_sets[name], name, mask_var)
        }
        joined.var[mask_var] = joined.var_names.isin(selected)
    everywhere = reduce(
        lambda a, b: a.intersection(b), (data_sets[name].var_names for name in names)
    )
    own: dict[str, Genes] = {}
    for name in names:
        more = data_sets[name].var_names.difference(everywhere)
        if len(more):
            own[name] = genes.isin(more)
    return joined, own


def _only(adata: AnnData, layer: str | None) -> AnnData:
    """The matrix that is fitted, and columns of cells."""
    x, _ = select_matrix(adata, layer=layer)
    layers = {} if layer is None else {layer: x}
    return AnnData(
        x if layer is None else None,
        obs=cast("pd.DataFrame", adata.obs),
        var=pd.DataFrame(index=adata.var_names),
        layers=layers,
    )


def _selected(adata: AnnData, name: str, mask_var: str) -> Sequence[str]:
    check_key(adata, "var", mask_var)
    where = f"var[{mask_var!r}] of {name!r}"
    return list(adata.var_names[as_mask(adata.var[mask_var], adata.n_vars, where)])


def _stack(
    mdata: MuData, batch_key: str, layer: str | None
) -> tuple[AnnData, dict[str, Genes]]:
    """All cells and the variables of all modalities, zero where there are no data."""
    if mdata.axis != 0:
        msg = (
            "The modalities of this MuData share variables rather than cells. Give its "
            "parts by name, `dict(mdata.mod)`."
        )
        raise ValueError(msg)
    check_unique_names(mdata.var_names, "Variables of the MuData")
    codes, names = read_sections(cast("Any", mdata), batch_key)
    n_cells = np.bincount(codes, minlength=len(names))
    stacked = sp.csr_matrix(mdata.shape)
    has: list[NDArray[np.bool_]] = []
    columns: list[NDArray[np.bool_]] = []
    for modality, adata in mdata.mod.items():
        x, where = select_matrix(adata, layer=layer)
        where = f"{where} of mdata.mod[{modality!r}]"
        _check_in_memory(x, where)
        # Positions from 1, and 0 for what the modality does not have.
        rows, cols = (
            np.ravel(np.asarray(of[modality])).astype(np.intp)
            for of in (mdata.obsmap, mdata.varmap)
        )
        n_here = np.bincount(codes[rows > 0], minlength=len(names))
        partly = (n_here > 0) & (n_here < n_cells)
        if partly.any():
            d = int(partly.argmax())
            msg = (
                f"{n_here[d]} of the {n_cells[d]} cells of data set {str(names[d])!r} "
                f"have the modality {modality!r}. A data set has a modality in all "
                "cells or in none: remove the others, or make them a data set of "
                "their own."
            )
            raise ValueError(msg)
        block = sp.csr_matrix(x)
        place = _places(rows, adata.n_obs)
        stacked = stacked + place @ block @ _places(cols, adata.n_vars).T
        has.append(n_here > 0)
        columns.append(cols > 0)
    measured = np.stack(has, 1)
    everywhere = measured.all(axis=0)
    own: dict[str, Genes] = {}
    for name, of_set in zip(names, measured, strict=True):
        unshared = np.zeros(mdata.n_vars, bool)
        for there, shared, some in zip(of_set, everywhere, columns, strict=True):
            unshared |= some & (there and not shared)
        if unshared.any():
            own[str(name)] = unshared
    return AnnData(sp.csr_matrix(stacked), obs=mdata.obs, var=mdata.var), own


def _places(positions: NDArray[np.intp], n: int) -> sp.csr_matrix:
    """A matrix of ones that puts what is at positions from 1 into its places."""
    there = np.flatnonzero(positions)
    ones = np.ones(there.size, np.float32)
    return sp.csr_matrix(
        (ones, (there, positions[there] - 1)), shape=(positions.size, n)
    )


def _check_in_memory(x: Any, where: str) -> None:
    if not (sp.issparse(x) or isinstance(x, np.ndarray)):
        msg = (
            f"{where} is a {type(x).__name__}, which cannot be joined with others. Read "
            "it with `.to_memory()` first."
        )
        raise TypeError(msg)
