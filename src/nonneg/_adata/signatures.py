"""Signatures of cell types: from cells, from a table, or as they were stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

from .._core import text
from .._core.warnings import warn
from ..operators.choose import as_operator
from .checks import as_numbers, check_key, check_nonnegative, check_unique_names
from .labels import encode_labels, read_labels
from .read import select_matrix

if TYPE_CHECKING:
    from typing import Literal

    from numpy.typing import NDArray

    type Definition = Literal["pooled", "fractions"]


# Cells below which a signature is mostly noise of counting.
_FEW_CELLS = 25

# Relative difference of totals that is rounding.
_EQUAL = 1e-3

# Part of the smaller set of genes from which on names are taken to be of one kind.
_MOST = 0.5


@dataclass(frozen=True)
class Signatures:
    """Mean counts of a cell of every type."""

    types: NDArray[Any]
    """As strings."""
    genes: pd.Index[str]
    means: NDArray[np.float64]
    """(n_types, n_genes)"""
    library_size: NDArray[np.float64]
    """(n_types,): mean total count of a cell, over all genes of the reference."""
    n_cells: NDArray[np.intp] | None = None
    """(n_types,), where they were counted."""


def average_cells(
    adata: AnnData,
    cell_type_key: str,
    *,
    layer: str | None,
    sample_key: str | None,
    definition: Definition,
    name: str,
    counts: bool = True,
) -> Signatures:
    """Signatures of the types of annotated cells; cells without a type are left out.

    ``counts``: refuse entries that are not whole numbers.
    """
    check_unique_names(adata.var_names, f"Genes of {name}")
    if cell_type_key not in adata.obs and "signatures" in adata.uns:
        msg = (
            f"{name} holds signatures already, of `nonneg.pp.signatures`: pass them to "
            f"`nonneg.tl.deconvolve` without cell_type_key={cell_type_key!r}."
        )
        raise ValueError(msg)
    if cell_type_key not in adata.obs:
        msg = (
            f"cell_type_key={cell_type_key!r} is not in {name}.obs, which holds "
            f"{list(adata.obs)}."
        )
        raise KeyError(msg)
    labels = read_labels(adata, cell_type_key)
    n_missing = int((labels.codes < 0).sum())
    if labels.names.size == 0:
        msg = f"No cell of {name} has a type in obs[{cell_type_key!r}]."
        raise ValueError(msg)
    x, where = select_matrix(adata, layer=layer, name=name)
    op = as_operator(x, where=where)
    stats = op.stats()
    check_nonnegative(stats, where, "Use counts, which were not centred or scaled.")
    if counts and not stats.integer:
        msg = (
            f"{where} does not hold counts: some entries are not whole numbers, as "
            "after normalisation or a logarithm. Name the layer with counts, pass mean "
            "expression as a data frame of cell types x genes, or use "
            "likelihood='gaussian'."
        )
        raise ValueError(msg)
    sample = np.zeros(adata.n_obs, np.intp)
    if sample_key is not None:
        check_key(adata, "obs", sample_key, name=name)
        sample, _ = encode_labels(adata.obs[sample_key], f"{name}.obs[{sample_key!r}]")
    n_types, n_samples = labels.names.size, int(sample.max()) + 1
    used = (labels.codes >= 0) & (stats.row_sums > 0)
    code = np.where(used, labels.codes * n_samples + sample, 0)
    weight = np.where(used, 1.0, 0.0)
    if definition == "fractions":
        weight = weight / np.where(stats.row_sums > 0, stats.row_sums, 1)
    member = np.zeros((adata.n_obs, n_types * n_samples), op.dtype)
    member[np.arange(adata.n_obs), code] = weight
    sums = np.asarray(op.rmatmul(member), np.float64).T
    total = sums.sum(1, keepdims=True)
    profiles = (sums / np.where(total > 0, total, 1)).reshape(n_types, n_samples, -1)
    n_found = (total > 0).reshape(n_types, n_samples).sum(1)
    profile = profiles.sum(1) / np.maximum(n_found, 1)[:, None]
    n_cells = np.bincount(labels.codes[used], minlength=n_types)
    empty = labels.names[n_cells == 0]
    if empty.size:
        msg = f"All cells of {list(empty)} in {name} are without counts. Remove them."
        raise ValueError(msg)
    if n_missing:
        warn(
            f"{text.counted(n_missing, 'cell', of=adata.n_obs)} of {name} "
            f"{text.conjugated(n_missing, 'has')} no type in obs[{cell_type_key!r}] and "
            f"{text.conjugated(n_missing, 'is')} left out."
        )
    counted = np.bincount(labels.codes[used], stats.row_sums[used], minlength=n_types)
    size = counted / n_cells
    return Signatures(
        labels.names, adata.var_names, profile * size[:, None], size, n_cells
    )


def warn_few_cells(types: NDArray[Any], n_cells: NDArray[np.integer[Any]]) -> None:
    """Name types whose signature is mostly noise of counting; none is dropped."""
    few = np.flatnonzero(n_cells < _FEW_CELLS)
    if few.size:
        some = {str(types[i]): int(n_cells[i]) for i in few[:5]}
        warn(
            f"{text.counted(few.size, 'cell type', 'has')} fewer than {_FEW_CELLS} cells, e.g. {some}. "
            "They are kept, but their signatures are uncertain."
        )


def read_signatures(
    reference: Any, cell_type_key: str | None, layer: str | None, *, counts: bool = True
) -> Signatures:
    """Signatures of whatever the caller has: cells, stored signatures, or a table."""
    if isinstance(reference, pd.DataFrame):
        if cell_type_key is not None or layer is not None:
            msg = "cell_type_key and reference_layer are for a reference of cells, but reference is a data frame."
            raise ValueError(msg)
        return _from_table(reference)
    if not isinstance(reference, AnnData):
        msg = (
            "reference must be an AnnData of cells, the result of "
            "`nonneg.pp.signatures`, or a data frame of cell types x genes, not a "
            f"{type(reference).__name__}."
        )
        raise TypeError(msg)
    if cell_type_key is not None:
        return average_cells(
            reference,
            cell_type_key,
            layer=layer,
            sample_key=None,
            definition="pooled",
            name="reference",
            counts=counts,
        )
    if "signatures" not in reference.uns:
        msg = (
            "reference holds cells: name the column of reference.obs with their types, "
            f"`cell_type_key`, one of {list(reference.obs)}; or pass "
            "`nonneg.pp.signatures(reference, ...)`."
        )
        raise ValueError(msg)
    # Stored signatures may be sparse, lazy, or still in their file.
    reference = reference.to_memory()
    found = _from_table(reference.to_df())
    size = as_numbers(reference.obs["library_size"], "reference.obs['library_size']")
    n_cells = as_numbers(reference.obs["n_cells"], "reference.obs['n_cells']")
    return Signatures(
        found.types, found.genes, found.means, size, n_cells.astype(np.intp)
    )


def _from_table(table: pd.DataFrame) -> Signatures:
    types = table.index.astype(str)
    if not types.is_unique:
        repeated = list(types[types.duplicated()].unique()[:3])
        msg = f"Cell types must be named once, but {repeated} repeat in reference."
        raise ValueError(msg)
    genes = table.columns.astype(str)
    check_unique_names(genes, "Genes of reference")
    means = as_numbers(table, "reference")
    if not np.isfinite(means).all() or (means < 0).any():
        msg = (
            "reference has negative, NaN or infinite entries; signatures are mean "
            "counts, not logarithms or scores."
        )
        raise ValueError(msg)
    size = means.sum(1)
    if size.size > 1 and np.ptp(size) <= _EQUAL * size.max():
        warn(
            "All types of reference have the same total, as after normalisation, so "
            "that shares of cells will be shares of RNA. Pass mean counts of a cell."
        )
    return Signatures(types.to_numpy(object), genes, means, size)


def align_genes(
    found: Signatures, var_names: pd.Index[str], used: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Positions of the shared genes among the variables, and signatures of these."""
    check_unique_names(var_names, "Variables")
    position = found.genes.get_indexer(var_names)
    shared = np.flatnonzero((position >= 0) & used)
    in_rows = int(pd.Index(found.types).isin(var_names).sum())
    if in_rows > max(shared.size, 1):
        msg = (
            f"reference has {in_rows} genes in its rows, e.g. {found.types[0]!r}, where "
            "cell types belong: pass `reference.T`."
        )
        raise ValueError(msg)
    other_case = _of_other_case(found.genes, var_names[used & (position < 0)])
    if shared.size == 0:
        msg = (
            "adata and reference share no gene: names are "
            f"{list(var_names[:3])} … in adata, {list(found.genes[:3])} … in "
            "reference. Are they of the same kind (symbols or Ensembl identifiers) and "
            f"species, and types in rows?{other_case}"
        )
        raise ValueError(msg)
    smaller = min(int(used.sum()), found.genes.size)
    if shared.size < _MOST * smaller:
        warn(
            f"adata and reference share {shared.size} genes, of {int(used.sum())} and "
            f"{found.genes.size}. Are names of the same kind?{other_case}"
        )
    elif other_case:
        warn(f"adata and reference share {shared.size} genes.{other_case}")
    return shared, found.means[:, position[shared]]


def _of_other_case(genes: pd.Index[str], names: pd.Index[str]) -> str:
    """What to say of names that only differ in upper and lower case; mostly nothing."""
    known = {gene.lower(): gene for gene in genes}
    found = [(name, known[name.lower()]) for name in names if name.lower() in known]
    if not found:
        return ""
    (here, there), *_ = found
    return (
        f" {len(found)} more differ in upper and lower case only, e.g. {here!r} in adata "
        f"and {there!r} in reference."
    )
