"""Read an AnnData once, write it once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

from .._core.validators import check_positive_int
from ..operators.choose import as_operator, check_numeric
from ..operators.stored import name_of
from ..operators.validate import reading
from .checks import check_flat, check_key, check_shape
from .genes import read_mask
from .given import name_or_array

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..operators.protocol import MatrixOperator
    from .genes import Genes


def resolve_adata(
    data: AnnData | SpatialData,
    *,
    table_key: str | None,
    copy: bool,
    scores_only: bool = False,
) -> AnnData:
    """The AnnData to work on: the table of a SpatialData, or a copy if asked.

    With ``scores_only`` a MuData will do, which has all that AnnData has but a matrix.
    """
    if isinstance(data, AnnData) or (scores_only and is_mudata(data)):
        if table_key is not None:
            msg = f"table_key={table_key!r} only applies to a SpatialData."
            raise ValueError(msg)
        adata = data
        if is_mudata(data) and data.is_view:
            msg = "This MuData is a view, which cannot take results. Copy it first."
            raise ValueError(msg)
    elif hasattr(data, "tables"):
        if table_key is None and len(data.tables) == 1:
            (table_key,) = data.tables
        elif table_key is None:
            msg = (
                f"The SpatialData has {len(data.tables)} tables, {list(data.tables)}: "
                "name one with `table_key`."
            )
            raise ValueError(msg)
        elif table_key not in data.tables:
            msg = f"table_key={table_key!r} is not in {list(data.tables)}."
            raise KeyError(msg)
        adata = data.tables[table_key]
    else:
        msg = f"Expected an AnnData or a SpatialData, not a {type(data).__name__}."
        raise TypeError(msg)
    for frame in ("obs", "var"):
        # Columns that anndata refuses can be named later.
        check_flat(getattr(adata, frame), f"adata.{frame}")
    if adata.isbacked and adata.is_view:
        msg = (
            "This AnnData is a view of one that is backed by a file, which cannot take "
            "results. Read it with `adata.to_memory()`, or select variables with "
            "`mask_var`."
        )
        raise ValueError(msg)
    if not copy:
        return adata
    if adata.isbacked:
        msg = (
            "copy=True needs the data in memory, but this AnnData is backed by "
            f"{adata.filename}. Leave copy out: results are kept in memory and the "
            "file is not changed."
        )
        raise ValueError(msg)
    return adata.copy()


def is_mudata(data: Any) -> bool:
    """Whether this is a MuData, without a need for the package."""
    return hasattr(data, "mod") and hasattr(data, "obsmap")


@dataclass(frozen=True)
class Read:
    """The arguments that say which matrix to read, and how."""

    layer: str | None = None
    obsm: str | None = None
    mask_var: Genes = None
    chunk_size: int | None = None


@dataclass(frozen=True)
class MatrixInput:
    """The matrix to factorize and where it came from."""

    op: MatrixOperator
    where: str
    mask: NDArray[np.bool_] | None
    """Variables used; None: all."""
    columns: NDArray[Any] | None
    """Names of the columns, where a data frame of obsm has some."""
    source: Mapping[str, str | None]
    """The arguments `layer`, `obsm` and `mask_var` that led here."""

    def spread(self, loadings: NDArray[Any]) -> NDArray[Any]:
        """Loadings of all variables, NaN outside the mask."""
        if self.mask is None:
            return loadings
        full = np.full((self.mask.size, *loadings.shape[1:]), np.nan, loadings.dtype)
        full[self.mask] = loadings
        return full


def read_matrix(
    adata: AnnData, read: Read = Read(), *, on_cluster: bool = True
) -> MatrixInput:
    """The matrix a method was asked to work on, as an operator.

    Without ``on_cluster``, dask arrays are streamed also where there is a cluster.
    """
    mask_var = read.mask_var
    x, where = select_matrix(adata, layer=read.layer, obsm=read.obsm)
    if 0 in x.shape:
        msg = f"{where} is empty: {x.shape[0]} observations x {x.shape[1]} variables."
        raise ValueError(msg)
    mask = None
    if mask_var is not None:
        if read.obsm is not None:
            msg = "mask_var selects variables of X or a layer, not columns of obsm."
            raise ValueError(msg)
        mask = read_mask(adata, mask_var)
    if read.chunk_size is not None:
        check_positive_int(read.chunk_size, "chunk_size")
    return MatrixInput(
        op=as_operator(
            x,
            where=where,
            columns=mask,
            chunk_size=read.chunk_size,
            on_cluster=on_cluster,
        ),
        where=where,
        mask=mask,
        columns=x.columns.astype(str).to_numpy(object)
        if isinstance(x, pd.DataFrame)
        else None,
        source={
            "layer": read.layer,
            "obsm": read.obsm,
            "mask_var": name_or_array(mask_var),
        },
    )


def select_matrix(
    adata: AnnData,
    *,
    layer: str | None = None,
    obsm: str | None = None,
    name: str = "adata",
) -> tuple[Any, str]:
    """X, a layer, or an element of obsm, and what to call it in messages.

    With its file, where it is in one.
    """
    x: Any
    if layer is not None and obsm is not None:
        msg = f"Give either layer={layer!r} or obsm={obsm!r}, not both."
        raise ValueError(msg)
    if obsm is not None:
        check_key(adata, "obsm", obsm, name=name)
        x = adata.obsm[obsm]
        where = name_of(x, f"{name}.obsm[{obsm!r}]")
        _check_entries(x, where)
        return x, where
    if layer is not None:
        check_key(adata, "layers", layer, name=name)
        x, where = adata.layers[layer], f"{name}.layers[{layer!r}]"
        where = name_of(x, where)
        check_shape(x, adata.shape, where)
        _check_entries(x, where)
        return x, where
    with reading(f"{name}.X of {adata.filename}"):
        x = adata.X
    if x is None:
        names: Iterable[str | None] = adata.layers.keys()
        layers = [name for name in names if name is not None]
        where_else = f"Name a layer, one of {layers}."
        if not layers:
            where_else = "Nor are there layers."
        if adata.raw is not None:
            where_else += f" There are data in {name}.raw: use `{name}.raw.to_adata()`."
        msg = f"{name}.X is None. {where_else}"
        raise ValueError(msg)
    where = name_of(x, f"{name}.X")
    check_shape(x, adata.shape, where)
    _check_entries(x, where)
    return x, where


def _check_entries(x: Any, where: str) -> None:
    """Raise on what are no numbers, and on hidden ones: what is beneath would be read."""
    with reading(where):
        # Data frames have a type for every column.
        is_frame = isinstance(x, pd.DataFrame)
        dtype = None if is_frame else getattr(x, "dtype", None)
    if dtype is not None:
        check_numeric(dtype, where)
    if np.ma.is_masked(x):
        msg = (
            f"{where} is a masked array, {int(np.ma.count_masked(x))} entries of which are "
            f"hidden. Say what they are: `{where}.filled(0)`, or NaN where they are not "
            "known."
        )
        raise ValueError(msg)
