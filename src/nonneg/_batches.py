"""Several data sets: where their cells are, and what was fitted to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from anndata import AnnData

from ._adata import own, read_factors, read_matrix, select_matrix, write_factors
from ._array import as_operator
from ._coordinates import read_sections
from ._stored import Stored, open_stored
from ._validators import (
    check_at_least,
    check_key,
    check_nonnegative,
    check_one_of,
    check_unique_names,
)
from ._warnings import warn
from .kernels.operators import BlockOperator
from .models.inmf import Model, Part, Penalties, Sums, Survey, survey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from ._adata import Factors
    from ._keys import FactorKeys
    from ._stored import AnyPath
    from .kernels.operators import MatrixOperator

    type Genes = str | Sequence[str] | NDArray[np.bool_] | None
    type SizeFactors = str | NDArray[np.floating[Any]] | None


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
        mask_var = _mask_of(adata.var_names, mask_var)
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


def _mask_of(var_names: pd.Index[str], genes: Any) -> NDArray[np.bool_]:
    """A mask as it is, or the variables of some names."""
    values = np.asarray(genes)
    if values.dtype.kind not in "OUT":
        return values
    check_unique_names(var_names, "Variables")
    missing = [str(name) for name in values if name not in var_names]
    if missing:
        msg = (
            f"mask_var names {len(missing)} variables that there are not, e.g. "
            f"{missing[:3]}; there are {list(var_names[:3])} …."
        )
        raise KeyError(msg)
    mask: NDArray[np.bool_] = var_names.isin(values)
    return mask


def read_totals(
    adata: AnnData, size_factors: SizeFactors
) -> NDArray[np.float64] | None:
    """What cells are divided by; ``None``: nothing, or sums that must be computed."""
    if size_factors is None or (
        isinstance(size_factors, str) and size_factors == "total"
    ):
        return None
    if isinstance(size_factors, str):
        check_key(adata, "obs", size_factors)
        values = adata.obs[size_factors].to_numpy()
        return _check_totals(values, adata.n_obs, f"adata.obs[{size_factors!r}]")
    return _check_totals(np.asarray(size_factors), adata.n_obs, "size_factors")


def _check_totals(values: NDArray[Any], n_obs: int, where: str) -> NDArray[np.float64]:
    if values.shape != (n_obs,) or values.dtype.kind not in "iuf":
        msg = (
            f"{where} must hold {n_obs} numbers, one per cell, but has shape "
            f"{values.shape} and dtype {values.dtype}."
        )
        raise ValueError(msg)
    if not (np.isfinite(values) & (values >= 0)).all():
        msg = f"{where} must be finite and not negative."
        raise ValueError(msg)
    return values.astype(np.float64)


# --- several sources --------------------------------------------------------


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
    chosen = _common_genes(sources, choice.mask_var) if genes is None else genes
    names = sorted(source.label for source in sources)
    parts: list[Part] = []
    totals: list[NDArray[np.float64]] = []
    wheres: list[str] = []
    first = 0
    for source in sources:
        x, where = source.matrix(choice.layer)
        wheres.append(where)
        columns = _positions(source, chosen)
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
            totals.append(_check_totals(values, source.n_obs, label))
    if totals and len(totals) < len(parts):
        # Some have the genes alone, others more: sums are needed of all.
        for i, part in enumerate(parts):
            if _positions(sources[i], chosen) is None:
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


def _common_genes(sources: Sequence[Source], mask_var: Genes) -> pd.Index[str]:
    usable = []
    for source in sources:
        names = source.var_names
        check_unique_names(names, f"Variables of {source.label!r}")
        if isinstance(mask_var, str):
            where = f"{mask_var!r} in var of {source.label!r}"
            mask = source.column("var", mask_var).to_numpy()
            names = names[_check_mask(mask, len(names), where)]
        usable.append(names)
    common = reduce(lambda a, b: a[a.isin(b)], usable)
    if mask_var is not None and not isinstance(mask_var, str):
        mask = _mask_of(common, mask_var)
        common = common[_check_mask(mask, len(common), "mask_var")]
    if common.empty:
        examples = {s.label: list(n[:3]) for s, n in zip(sources, usable, strict=True)}
        msg = f"The data sets have no variable in common: {examples}."
        raise ValueError(msg)
    n_most = max(len(names) for names in usable)
    if mask_var is None and len(common) < n_most:
        warn(
            f"{len(common)} variables are in all data sets, of up to {n_most}; the "
            "others are not used."
        )
    return common


def _check_mask(mask: NDArray[Any], n_vars: int, where: str) -> NDArray[np.bool_]:
    if mask.dtype != bool or mask.shape != (n_vars,):
        msg = (
            f"{where} must be {n_vars} booleans, one per variable, but has dtype "
            f"{mask.dtype} and shape {mask.shape}."
        )
        raise ValueError(msg)
    return mask


def _positions(source: Source, genes: pd.Index[str]) -> NDArray[np.intp] | None:
    """Where the genes are; ``None``: these are all, in this order."""
    names = source.var_names
    if names.equals(genes):
        return None
    check_unique_names(names, f"Variables of {source.label!r}")
    positions = names.get_indexer(genes)
    if (positions < 0).any():
        missing = list(genes[positions < 0])
        msg = (
            f"{source.label!r} lacks {len(missing)} of the {len(genes)} variables, e.g. "
            f"{missing[:3]}. Add them, as zeros if they were not measured."
        )
        raise ValueError(msg)
    return positions


# --- checks -----------------------------------------------------------------


def look_at(
    batches: Batches,
    choice: Choice,
    *,
    seed: int,
    gene_scale: NDArray[Any] | None = None,
) -> Survey:
    """The first pass over the data: scales, and checks of what they hold.

    ``gene_scale`` are those that are known, NaN where they are not.
    """
    found = survey(
        batches.parts,
        batches.names,
        scale_cells=choice.size_factors is not None,
        totals=batches.totals,
        scale_genes=choice.scale,
        gene_scale=gene_scale,
        seed=seed,
    )
    for d, stats in found.stats.items():
        check_nonnegative(stats, f"{batches.where}, data set {batches.names[d]!r},")
    return found


def report(found: Survey, batches: Batches, choice: Choice) -> None:
    """Warn about what the user should know of the data."""
    if choice.size_factors is None and all(
        stats.integer for stats in found.stats.values()
    ):
        warn(
            f"{batches.where} holds whole numbers, which look like raw counts. Cells "
            "with more of them weigh more; pass size_factors='total' to divide by their "
            "sums."
        )
    if found.n_empty:
        warn(
            f"{found.n_empty} cells have no counts of these genes; their scores are zero."
        )
    nowhere = ~found.expressed.any(axis=0)
    if nowhere.any():
        warn(f"{int(nowhere.sum())} genes are zero in all cells.")
    missing = {
        batches.names[d]: int((~found.expressed[d] & ~nowhere).sum())
        for d in found.stats
        if (~found.expressed[d] & ~nowhere).any()
    }
    if missing:
        warn(
            f"Genes that are zero in all cells of a data set, but not in others: "
            f"{missing}. They are taken as not expressed there; leave out, with "
            "mask_var, those that were not measured."
        )


def check_batches(batches: Batches, n_components: int) -> None:
    """Raise unless there are several data sets that can carry the components."""
    if len(batches.names) < 2:
        msg = (
            f"There is one data set only, {batches.names}: nothing to integrate. Use "
            "`nonneg.tl.nmf`."
        )
        raise ValueError(msg)
    check_sizes(batches, n_components)


def check_sizes(batches: Batches, n_components: int, known: Sequence[str] = ()) -> None:
    """Raise if there are fewer cells, of data sets that are new, than components."""
    n_vars = batches.parts[0].op.shape[1]
    if n_components > n_vars:
        msg = f"n_components={n_components} exceeds the number of variables, {n_vars}."
        raise ValueError(msg)
    small = {
        name: int(n)
        for name, n in zip(batches.names, batches.n_cells, strict=True)
        if 0 < n < n_components and name not in known
    }
    if small:
        msg = (
            f"Data sets with fewer cells than n_components={n_components}: {small}. "
            "Remove them, merge them with others, or use fewer components."
        )
        raise ValueError(msg)


def read_lam(lam: float | Mapping[str, float], names: Sequence[str]) -> NDArray[Any]:
    """The penalty of every data set."""
    if not isinstance(lam, Mapping):
        check_at_least(lam, 0, "lam")
        values = np.full(len(names), float(lam))
    else:
        missing = [name for name in names if name not in lam]
        unknown = [name for name in lam if name not in names]
        if missing or unknown:
            msg = (
                f"lam must name every data set, {list(names)}; {missing} are missing "
                f"and {unknown} do not exist."
            )
            raise ValueError(msg)
        for name in names:
            check_at_least(lam[name], 0, f"lam[{name!r}]")
        values = np.array([float(lam[name]) for name in names])
    if (values == 0).any():
        warn(
            "With lam=0 the shared and the specific parts are not told apart: only "
            "their sum is determined."
        )
    return values


def read_weights(dataset_weights: str, n_cells: NDArray[np.int64]) -> NDArray[Any]:
    """Weight of every data set in the objective."""
    check_one_of(dataset_weights, ("cells", "equal"), "dataset_weights")
    if dataset_weights == "cells":
        return np.ones(n_cells.size)
    return np.asarray(n_cells.sum() / (n_cells.size * n_cells))


# --- what was fitted --------------------------------------------------------


class Integration(NamedTuple):
    """What is known of an integration. Arrays hold the variables that are fitted."""

    model: Model
    sums: Sums
    gene_scale: NDArray[Any]
    penalties: Penalties
    names: list[str]
    n_cells: NDArray[np.int64]
    sq_norm: NDArray[np.float64]
    scores: NDArray[Any]


def write_integration(
    adata: AnnData,
    keys: FactorKeys,
    batches: Batches,
    fitted: Integration,
    *,
    method: str,
    params: Mapping[str, Any],
    info: Mapping[str, Any],
) -> None:
    """Store an integration; what was aligned before is of another one."""
    specific, product = (
        np.asarray(x).transpose(2, 0, 1) for x in (fitted.model.V, fitted.sums.product)
    )
    write_factors(
        adata,
        keys,
        method=method,
        scores=fitted.scores,
        loadings=batches.spread(np.asarray(fitted.model.W).T),
        side={
            "specific": batches.spread(specific),
            "stats": batches.spread(product),
            "scale": batches.spread(np.asarray(fitted.gene_scale).T),
        },
        params={"n_components": len(fitted.model.W), **params},
        info={
            "batches": np.array(fitted.names, dtype=object),
            "lam": np.asarray(fitted.penalties.lam),
            "weight": np.asarray(fitted.penalties.weight),
            "n_cells": np.asarray(fitted.n_cells, np.int64),
            "sq_norm": np.asarray(fitted.sq_norm),
            "gram": np.asarray(fitted.sums.gram, np.float64),
            **info,
        },
    )
    adata.obsm.pop(f"{keys.obsm}_aligned", None)
    if f"{keys.uns}_cluster" in adata.obs:
        adata.obs = adata.obs.drop(columns=f"{keys.uns}_cluster")  # type: ignore[union-attr]


def read_integration(
    adata: AnnData, key: str
) -> tuple[Integration, pd.Index[str], Factors]:
    """The integration stored under a key, and the names of its variables."""
    factors = read_factors(adata, key)
    info = factors.info
    if "batches" not in info:
        msg = (
            f"adata.uns[{key!r}] was made by {info['method']!r}, which knows no data "
            "sets. Fit `nonneg.tl.inmf` or `nonneg.tl.online_inmf`."
        )
        raise ValueError(msg)
    used = np.isfinite(factors.loadings).all(1)
    side = []
    for name in ("specific", "stats", "scale"):
        varm_key = f"{factors.keys.varm}_{name}"
        check_key(adata, "varm", varm_key, hint="It was removed after the fit.")
        side.append(np.asarray(adata.varm[varm_key])[used])
    specific, product, scale = side
    check_unique_names(adata.var_names[used], "Variables of the reference")
    integration = Integration(
        model=Model(factors.loadings[used].T, specific.transpose(1, 2, 0)),
        sums=Sums(np.asarray(info["gram"]), product.transpose(1, 2, 0)),
        gene_scale=scale.T,
        penalties=Penalties(np.asarray(info["lam"]), np.asarray(info["weight"])),
        names=[str(name) for name in info["batches"]],
        n_cells=np.asarray(info["n_cells"]),
        sq_norm=np.asarray(info["sq_norm"]),
        scores=factors.scores,
    )
    return integration, adata.var_names[used], factors
