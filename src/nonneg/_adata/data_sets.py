"""Several data sets: a column of obs tells them apart, or each is an AnnData or file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from anndata import AnnData

from ..models.inmf.problem import Part
from ..operators.blocks import BlockOperator
from ..operators.choose import as_operator
from .genes import common_genes, find_genes, read_unshared
from .given import name_or_array
from .labels import encode_labels, read_sections
from .read import read_matrix
from .size_factors import cell_totals, total_counts
from .sources import Source
from .stored import open_stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from ..operators.protocol import MatrixOperator
    from .files import AnyPath
    from .genes import Genes
    from .read import Read
    from .size_factors import SizeFactors


class Scaling(NamedTuple):
    """The arguments that say how cells and genes are scaled."""

    size_factors: SizeFactors
    scale: bool


@dataclass(frozen=True)
class DataSets:
    """The cells of several data sets."""

    parts: list[Part]
    names: list[str]
    """Of the data sets, sorted: results do not depend on their order."""
    n_cells: NDArray[np.int64]
    where: str
    var_names: pd.Index[str]
    """All variables of the result."""
    used: NDArray[np.intp] | None
    """Positions of those that are fitted; ``None``: all."""
    totals: NDArray[np.float64] | None
    """Size factors of cells, where they are known before the data are read."""
    sources: list[Source] = field(default_factory=list)
    """Where the cells come from, in order."""
    measured: NDArray[np.bool_] | None = None
    """Which data sets have which of the variables that are fitted; ``None``: all have all."""
    n_rows: int | None = None
    """Positions of cells, where some are left out."""

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return int(self.n_cells.sum())

    @property
    def codes(self) -> NDArray[np.intp]:
        """The data set of every cell."""
        codes = np.empty(self.n_obs, np.intp)
        for part in self.parts:
            codes[part.rows] = part.batch
        return codes

    def spread(self, loadings: NDArray[Any]) -> NDArray[Any]:
        """Loadings of all variables, NaN for those that are not fitted."""
        if self.used is None:
            return loadings
        shape = (len(self.var_names), *loadings.shape[1:])
        full = np.full(shape, np.nan, loadings.dtype)
        full[self.used] = loadings
        return full

    def close(self) -> None:
        """Let go of all files."""
        for source in self.sources:
            source.close()


def open_data(
    data: AnnData | AnyPath | Mapping[str, AnnData | AnyPath],
    batch_key: str | None,
    read: Read,
    size_factors: SizeFactors,
    *,
    write: bool = False,
    unshared: Mapping[str, Genes] | None = None,
) -> DataSets:
    """Data sets of an AnnData, of a file, or of a mapping of names to either.

    ``unshared`` is for an AnnData.
    """
    if unshared is not None and not isinstance(data, AnnData):
        msg = (
            "`unshared` is for an AnnData, in memory or backed, with the variables of all "
            "data sets. Open a file with `anndata.read_h5ad(path, backed='r')`. Several "
            "data sets with variables of their own go to `nonneg.tl.inmf` as a mapping, "
            "or are joined by `anndata.concat(..., join='outer', fill_value=0)`, on disk "
            "by `anndata.experimental.concat_on_disk`."
        )
        raise ValueError(msg)
    if isinstance(data, Mapping):
        if batch_key is not None:
            msg = (
                f"batch_key={batch_key!r} does not apply to a mapping: each of its "
                "values is a data set."
            )
            raise ValueError(msg)
        return open_mapping(data, read, size_factors, write=write)
    if batch_key is None:
        msg = "Name the column of obs that tells data sets apart with `batch_key`."
        raise ValueError(msg)
    if isinstance(data, AnnData):
        return read_data(data, batch_key, read, size_factors, unshared=unshared)
    return _open_file(data, batch_key, read, size_factors, write=write)


def read_data(
    adata: AnnData,
    batch_key: str | None,
    read: Read,
    size_factors: SizeFactors,
    *,
    unshared: Mapping[str, Genes] | None = None,
) -> DataSets:
    """Data sets that a column of obs tells apart in one AnnData; without one, a single."""
    codes, names = read_sections(adata, batch_key)
    matrix = read_matrix(adata, read, on_cluster=False)
    measured = None
    if unshared:
        measured = read_unshared(adata, unshared, [str(name) for name in names])
        if matrix.mask is not None:
            measured = measured[:, matrix.mask]
        if not measured.all(axis=0).any():
            msg = (
                "No variable is shared by all data sets: nothing ties them together. "
                "Name as unshared only those that some of them lack."
            )
            raise ValueError(msg)
    return DataSets(
        parts=_split_by_label(matrix.op, codes),
        names=[str(name) for name in names],
        n_cells=np.bincount(codes, minlength=len(names)),
        where=matrix.where,
        var_names=adata.var_names,
        used=None if matrix.mask is None else np.flatnonzero(matrix.mask),
        totals=cell_totals(
            Source(adata),
            size_factors,
            layer=read.layer,
            all_read=matrix.mask is None,
        ),
        measured=measured,
    )


def _split_by_label(op: MatrixOperator, codes: NDArray[np.intp]) -> list[Part]:
    """Cells of each data set; those that are streamed are told apart as they come."""
    n_obs = op.shape[0]
    present = np.unique(codes)
    if present.size == 1:
        return [Part(op, slice(0, n_obs), int(present[0]))]
    if isinstance(op, BlockOperator):
        return [Part(op, slice(0, n_obs), codes)]
    rows = [np.flatnonzero(codes == d) for d in present.tolist()]
    return [
        Part(op.rows(index), index, d)
        for d, index in zip(present.tolist(), rows, strict=True)
    ]


def open_mapping(
    data: Mapping[str, AnnData | AnyPath],
    read: Read,
    size_factors: SizeFactors,
    *,
    genes: pd.Index[str] | None = None,
    write: bool = False,
) -> DataSets:
    """Data sets that are an AnnData or a file each.

    Variables are those that all have, in the order of the first, or ``genes``.
    """
    sources: list[Source] = []
    try:
        for name, one in data.items():
            opened = one if isinstance(one, AnnData) else open_stored(one, write=write)
            sources.append(Source(opened, str(name)))
            if opened.n_obs == 0:
                msg = f"{name!r} has no cells."
                raise ValueError(msg)
        return _join(sources, read, size_factors, genes)
    except BaseException:
        for source in sources:
            source.close()
        raise


def _open_file(
    path: AnyPath,
    batch_key: str,
    read: Read,
    size_factors: SizeFactors,
    *,
    write: bool,
) -> DataSets:
    """Data sets that a column of obs tells apart in one file."""
    stored = open_stored(path, write=write)
    try:
        source = Source(stored, str(path))
        if source.n_obs == 0:
            msg = f"{path} has no cells."
            raise ValueError(msg)
        codes, names = encode_labels(*source.column("obs", batch_key))
        data_sets = _join([source], read, size_factors, None)
        (part,) = data_sets.parts
        return replace(
            data_sets,
            parts=_split_by_label(part.op, codes),
            names=[str(name) for name in names],
            n_cells=np.bincount(codes, minlength=len(names)),
        )
    except BaseException:
        stored.close()
        raise


def _join(
    sources: Sequence[Source],
    read: Read,
    size_factors: SizeFactors,
    genes: pd.Index[str] | None,
) -> DataSets:
    chosen = common_genes(sources, read.mask_var) if genes is None else genes
    names = sorted(str(source.label) for source in sources)
    parts: list[Part] = []
    totals: list[NDArray[np.float64] | None] = []
    wheres: list[str] = []
    first = 0
    for source in sources:
        x, where = source.matrix(read.layer)
        wheres.append(where)
        columns = find_genes(source, chosen)
        op = as_operator(
            x,
            where=where,
            columns=columns,
            chunk_size=read.chunk_size,
            on_cluster=False,
        )
        rows = slice(first, first + source.n_obs)
        parts.append(Part(op, rows, names.index(str(source.label))))
        first = rows.stop
        totals.append(
            cell_totals(
                source, size_factors, layer=read.layer, all_read=columns is None
            )
        )
    by_name = sorted(sources, key=lambda source: str(source.label))
    return DataSets(
        # In the order of the names: fits do not depend on that of the sources.
        parts=sorted(parts, key=lambda part: cast("int", part.batch)),
        names=names,
        n_cells=np.array([source.n_obs for source in by_name]),
        where=wheres[0] if len(wheres) == 1 else "The data",
        var_names=chosen,
        used=None,
        totals=_join_totals(totals, parts),
        sources=list(sources),
    )


def _join_totals(
    totals: Sequence[NDArray[np.float64] | None], parts: Sequence[Part]
) -> NDArray[np.float64] | None:
    """Size factors of all cells; ``None`` if those of no source are known."""
    if all(known is None for known in totals):
        return None
    # Some sources have the genes alone, others more: sums are needed of all.
    return np.concatenate(
        [
            total_counts(part.op) if known is None else known
            for known, part in zip(totals, parts, strict=True)
        ]
    )


def read_params(
    batch_key: str | None, read: Read, scaling: Scaling
) -> dict[str, str | bool | None]:
    """The arguments as they are stored with a fit."""
    return {
        "batch_key": batch_key,
        "layer": read.layer,
        "mask_var": name_or_array(read.mask_var),
        "size_factors": name_or_array(scaling.size_factors),
        "scale": bool(scaling.scale),
    }
