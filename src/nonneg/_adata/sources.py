"""Several data sets: where their cells are, and what was fitted to them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from anndata import AnnData

from ..models.inmf.problem import Part
from ..operators.blocks import BlockOperator
from ..operators.choose import as_operator
from .genes import common_genes, find_genes, mask_of
from .labels import read_sections
from .read import read_matrix, select_matrix
from .size_factors import check_totals, read_totals
from .stored import Stored, open_stored
from .write import own

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from ..operators.protocol import MatrixOperator
    from .genes import Genes
    from .size_factors import SizeFactors
    from .stored import AnyPath


class Choice(NamedTuple):
    """The arguments that say what to read, and how to scale it."""

    batch_key: str | None
    layer: str | None
    mask_var: Genes
    size_factors: SizeFactors
    scale: bool
    chunk_size: int | None = None

    @property
    def record(self) -> dict[str, Any]:
        """As stored with a fit."""
        arrays = {
            name: value if isinstance(value, str | None) else "array"
            for name, value in (
                ("mask_var", self.mask_var),
                ("size_factors", self.size_factors),
            )
        }
        return {
            "batch_key": self.batch_key,
            "layer": self.layer,
            **arrays,
            "scale": bool(self.scale),
        }


@dataclass(frozen=True)
class Source:
    """An AnnData in memory or in a file."""

    data: AnnData | Stored
    label: str

    @property
    def var_names(self) -> pd.Index[str]:
        """Names of the variables."""
        return self.data.var_names

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return int(self.data.n_obs)

    def matrix(self, layer: str | None) -> tuple[Any, str]:
        """X or a layer, and what to call it in messages."""
        if isinstance(self.data, AnnData):
            x, where = select_matrix(self.data, layer=layer)
            return x, f"{where} of {self.label!r}"
        return self.data.matrix(layer)

    def column(self, of: str, name: str) -> pd.Series[Any]:
        """A column of obs or var."""
        if isinstance(self.data, Stored):
            return self.data.column(of, name)
        frame: pd.DataFrame = getattr(self.data, of)
        if name not in frame:
            msg = (
                f"{name!r} is not in {of} of {self.label!r}, which holds {list(frame)}."
            )
            raise KeyError(msg)
        return frame[name]

    def obs_names(self) -> Iterator[NDArray[Any]]:
        """Names of the cells, some at a time."""
        if isinstance(self.data, Stored):
            yield from self.data.obs_names()
        else:
            yield self.data.obs_names.to_numpy(object)

    def write_scores(self, scores: NDArray[Any], key: str) -> None:
        """Store scores in obsm."""
        if isinstance(self.data, Stored):
            self.data.write_scores(scores, key)
        else:
            own(self.data)
            self.data.obsm[key] = np.array(scores)

    def close(self) -> None:
        """Let go of the file."""
        if isinstance(self.data, Stored):
            self.data.close()


@dataclass(frozen=True)
class Batches:
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
    """What cells are divided by, where it is known before the data are read."""
    sources: list[Source] = field(default_factory=list)
    """Where the cells come from, in order."""

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


def read_one(adata: AnnData, choice: Choice) -> Batches:
    """Data sets that a column of obs tells apart in one AnnData."""
    codes, names = read_sections(adata, choice.batch_key)
    mask_var = choice.mask_var
    if mask_var is not None and not isinstance(mask_var, str):
        mask_var = mask_of(adata.var_names, mask_var)
    source = read_matrix(
        adata,
        layer=choice.layer,
        mask_var=mask_var,
        chunk_size=choice.chunk_size,
        spread=False,
    )
    totals = read_totals(adata, choice.size_factors)
    if totals is None and choice.size_factors is not None and source.mask is not None:
        everything = read_matrix(adata, layer=choice.layer, spread=False)
        totals = everything.op.stats().row_sums
    return Batches(
        parts=split_by_batch(source.op, codes),
        names=[str(name) for name in names],
        n_cells=np.bincount(codes, minlength=len(names)),
        where=source.where,
        var_names=adata.var_names,
        used=None if source.mask is None else np.flatnonzero(source.mask),
        totals=totals,
    )


def split_by_batch(op: MatrixOperator, codes: NDArray[np.intp]) -> list[Part]:
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


def read_several(
    data: Mapping[str, AnnData | AnyPath],
    choice: Choice,
    *,
    genes: pd.Index[str] | None = None,
    write: bool = False,
) -> Batches:
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
        return _join(sources, choice, genes)
    except BaseException:
        for source in sources:
            source.close()
        raise


def read_file(path: AnyPath, choice: Choice, *, write: bool = False) -> Batches:
    """Data sets that a column of obs tells apart in one file."""
    stored = open_stored(path, write=write)
    try:
        source = Source(stored, str(path))
        if source.n_obs == 0:
            msg = f"{path} has no cells."
            raise ValueError(msg)
        assert choice.batch_key is not None
        column = source.column("obs", choice.batch_key)
        if column.isna().any():
            msg = (
                f"{choice.batch_key!r} in obs of {path} is missing for "
                f"{int(column.isna().sum())} cells. Fill or remove them first."
            )
            raise ValueError(msg)
        labels = np.asarray(column.astype(str), object)
        names, codes = np.unique(labels, return_inverse=True)
        batches = _join([source], choice, None)
        (part,) = batches.parts
        return replace(
            batches,
            parts=split_by_batch(part.op, codes),
            names=[str(name) for name in names],
            n_cells=np.bincount(codes, minlength=len(names)),
        )
    except BaseException:
        stored.close()
        raise


def _join(
    sources: Sequence[Source],
    choice: Choice,
    genes: pd.Index[str] | None,
) -> Batches:
    chosen = common_genes(sources, choice.mask_var) if genes is None else genes
    names = sorted(source.label for source in sources)
    parts: list[Part] = []
    totals: list[NDArray[np.float64]] = []
    wheres: list[str] = []
    first = 0
    for source in sources:
        x, where = source.matrix(choice.layer)
        wheres.append(where)
        columns = find_genes(source, chosen)
        op = as_operator(
            x, where=where, columns=columns, chunk_size=choice.chunk_size, spread=False
        )
        rows = slice(first, first + source.n_obs)
        parts.append(Part(op, rows, names.index(source.label)))
        first = rows.stop
        size_factors = choice.size_factors
        if size_factors is None:
            continue
        if not isinstance(size_factors, str):
            msg = "size_factors of files must be 'total' or name a column of obs."
            raise ValueError(msg)
        if size_factors == "total" and columns is None:
            continue
        if size_factors == "total":
            totals.append(as_operator(x, where=where, spread=False).stats().row_sums)
        else:
            values = source.column("obs", size_factors).to_numpy()
            label = f"{size_factors!r} in obs of {source.label!r}"
            totals.append(check_totals(values, source.n_obs, label))
    if totals and len(totals) < len(parts):
        # Some have the genes alone, others more: sums are needed of all.
        for i, part in enumerate(parts):
            if find_genes(sources[i], chosen) is None:
                totals.insert(i, part.op.stats().row_sums)
    return Batches(
        # In the order of the names: fits do not depend on that of the sources.
        parts=sorted(parts, key=lambda part: cast("int", part.batch)),
        names=names,
        n_cells=np.array([s.n_obs for s in sorted(sources, key=lambda s: s.label)]),
        where=wheres[0] if len(wheres) == 1 else "The data",
        var_names=chosen,
        used=None,
        totals=np.concatenate(totals) if totals else None,
        sources=list(sources),
    )
