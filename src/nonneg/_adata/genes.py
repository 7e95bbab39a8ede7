"""Which variables are used: masks, names, what data sets have in common."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._core.text import counted
from .._core.warnings import warn
from .checks import check_key, check_order, check_unique_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from .sources import Source

    type Genes = str | Sequence[str] | NDArray[np.bool_] | None


# What makes a column that is not there.
_SELECTED_BY = {
    "highly_variable": "`nonneg.pp.deviant_genes` makes it from counts, as does "
    "`scanpy.pp.highly_variable_genes` in its way."
}


def read_mask(
    adata: AnnData, mask_var: Genes, argument: str = "mask_var"
) -> NDArray[np.bool_]:
    """Which variables an argument selects: by a column of var, an array, or names."""
    if isinstance(mask_var, str):
        check_key(adata, "var", mask_var, hint=_SELECTED_BY.get(mask_var, ""))
        where = f"adata.var[{mask_var!r}]"
        mask = as_mask(adata.var[mask_var], adata.n_vars, where)
    else:
        where = argument
        mask = mask_of(adata.var_names, mask_var, argument)
    if not mask.any():
        msg = f"{where} selects no variable."
        raise ValueError(msg)
    return mask


def read_positions(
    adata: AnnData, genes: Genes, argument: str = "genes"
) -> NDArray[np.intp]:
    """Where these variables are: names in the order in which they are given."""
    selected = np.flatnonzero(read_mask(adata, genes, argument))
    if isinstance(genes, str | set | frozenset) or genes is None:
        return selected
    given = list(dict.fromkeys(genes))
    if not all(isinstance(name, str) for name in given):
        return selected
    return np.asarray(adata.var_names.get_indexer(pd.Index(given)), np.intp)


def mask_of(
    var_names: pd.Index[str], genes: Any, argument: str = "mask_var"
) -> NDArray[np.bool_]:
    """A mask as it is, or the variables of some names."""
    if np.ndim(genes) != 1 and not isinstance(genes, set | frozenset):
        return as_mask(genes, len(var_names), argument)
    values = pd.Series(list(genes)).astype(object)
    if not all(isinstance(value, str) for value in values):
        check_order(genes, var_names, argument, "adata.var_names")
        return as_mask(genes, len(var_names), argument)
    check_unique_names(var_names, "Variables")
    unknown = values[~values.isin(var_names)].tolist()
    if unknown:
        msg = (
            f"{argument} names {len(unknown)} unknown variables, e.g. {unknown[:3]}; "
            f"there are {list(var_names[:3])} …."
        )
        raise KeyError(msg)
    return np.asarray(var_names.isin(values))


def read_unshared(
    adata: AnnData, unshared: Mapping[str, Genes], names: Sequence[str]
) -> NDArray[np.bool_]:
    """Which variables every data set has, (n_batches, n_vars).

    Those that are unshared belong to the data sets that name them, all others to all.
    """
    genes = {str(name): some for name, some in unshared.items()}
    unknown = [name for name in genes if name not in names]
    if unknown:
        msg = f"unshared names {unknown}, but the data sets are {list(names)}."
        raise KeyError(msg)
    own = np.zeros((len(names), adata.n_vars), bool)
    for d, name in enumerate(names):
        if name in genes:
            own[d] = read_mask(adata, genes[name], f"unshared[{name!r}]")
    which = own.all(axis=0)
    if which.any():
        msg = (
            f"{counted(int(which.sum()), 'variable', 'is')} unshared in all data sets, e.g. "
            f"{list(adata.var_names[which][:3])}. What all have is shared: leave "
            "them out."
        )
        raise ValueError(msg)
    return own | ~own.any(axis=0)


def as_mask(
    values: Any, n_vars: int, where: str, *, of: str = "variables"
) -> NDArray[np.bool_]:
    """The mask as an array of booleans, or an error."""
    mask = np.asarray(values)
    if mask.ndim == 1 and mask.dtype == object:
        n_missing = int(pd.isna(mask).sum())
        if n_missing:
            msg = (
                f"{where} is missing for {n_missing} {of}. Fill it first, e.g. "
                "with `.fillna(False)`."
            )
            raise ValueError(msg)
        if all(isinstance(value, bool | np.bool_) for value in mask):
            mask = mask.astype(bool)
    if mask.dtype != bool or mask.shape != (n_vars,):
        msg = (
            f"{where} must be {n_vars} booleans, one per {of.removesuffix('s')}, but has dtype "
            f"{mask.dtype} and shape {mask.shape}."
        )
        raise ValueError(msg)
    return mask


def common_genes(sources: Sequence[Source], mask_var: Genes) -> pd.Index[str]:
    """Variables that all sources have and the mask selects, in the order of the first."""
    usable = []
    for source in sources:
        names = source.var_names
        check_unique_names(names, f"Variables of {source.label!r}")
        if isinstance(mask_var, str):
            column, where = source.column("var", mask_var)
            names = names[as_mask(column, len(names), where)]
        usable.append(names)
    common = reduce(lambda a, b: a[a.isin(b)], usable)
    if mask_var is not None and not isinstance(mask_var, str):
        common = common[mask_of(common, mask_var)]
    if common.empty:
        examples = {
            str(s.label): list(n[:3]) for s, n in zip(sources, usable, strict=True)
        }
        msg = f"The data sets have no variable in common: {examples}."
        raise ValueError(msg)
    n_most = max(len(names) for names in usable)
    if mask_var is None and len(common) < n_most:
        warn(
            f"{counted(len(common), 'variable', 'is')} in all data sets, of up to {n_most}; the "
            "others are not used."
        )
    return common


def find_genes(source: Source, genes: pd.Index[str]) -> NDArray[np.intp] | None:
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
