"""Checks of data sets that are to be integrated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._adata.checks import check_nonnegative
from ..._core.text import counted
from ..._core.validators import check_at_least, check_one_of
from ..._core.warnings import warn
from ...models.inmf.summary import DataSummary, summarise
from ...operators.device import on_accelerator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..._adata.data_sets import DataSets, Scaling


# Of a gene in m cells, size and scale are known to one part in sqrt(m): to a third here.
_FEW = 10
# And its values are ten times the root mean square, or more.
_RARE = 0.01
# Of the objective: the axis of a curve on which less of it could not be seen.
_SHARE = 0.01


def summarise_data(
    data_sets: DataSets,
    scaling: Scaling,
    *,
    seed: int,
    gene_scale: NDArray[Any] | None = None,
) -> DataSummary:
    """The first pass over the data: scales, and checks of what they hold.

    ``gene_scale`` are those that are known, NaN where they are not.
    """
    summary = summarise(
        data_sets.parts,
        data_sets.names,
        scale_cells=scaling.size_factors is not None,
        totals=data_sets.totals,
        scale_genes=scaling.scale,
        gene_scale=gene_scale,
        measured=data_sets.measured,
        n_rows=data_sets.n_rows,
        seed=seed,
        on_device=on_accelerator(),
    )
    for d, stats in summary.stats.items():
        where = f"{data_sets.where}, data set {data_sets.names[d]!r},"
        check_nonnegative(stats, where)
    if data_sets.measured is not None:
        _check_unshared(summary, data_sets, data_sets.measured)
    return summary


def _check_unshared(
    summary: DataSummary, data_sets: DataSets, measured: NDArray[np.bool_]
) -> None:
    """Raise if a data set holds counts of variables that it is said not to have."""
    for name, has, seen in zip(
        data_sets.names, measured, summary.expressed, strict=True
    ):
        extra = np.flatnonzero(seen & ~has)
        if extra.size:
            if data_sets.used is not None:
                extra = data_sets.used[extra]
            msg = (
                f"Data set {name!r} has counts of {counted(extra.size, 'variable')} unshared "
                f"in others, e.g. {list(data_sets.var_names[extra[:3]])}. Name "
                "them for it as well, or leave those that all have out of `unshared`."
            )
            raise ValueError(msg)


def warn_about_data(
    summary: DataSummary, data_sets: DataSets, scaling: Scaling
) -> None:
    """Warn of data that do not suit the model as they are."""
    if scaling.size_factors is None and all(
        stats.integer for stats in summary.stats.values()
    ):
        warn(
            f"{data_sets.where} holds whole numbers, which look like raw counts. Cells "
            "with more of them weigh more; pass size_factors='total' to divide by their "
            "sums."
        )
    if summary.n_empty:
        warn(
            f"{data_sets.where}: {counted(summary.n_empty, 'cell', 'has')} no counts of these "
            f"genes; {'its' if summary.n_empty == 1 else 'their'} scores are zero."
        )
    nowhere = ~summary.expressed.any(axis=0)
    if nowhere.any():
        n_genes = counted(int(nowhere.sum()), "gene", "is")
        warn(f"{data_sets.where}: {n_genes} zero in all cells.")
    if scaling.scale:
        _warn_of_rare_genes(summary, data_sets)
    lacking = ~summary.expressed & ~nowhere
    if data_sets.measured is not None:
        lacking &= data_sets.measured
    missing = {
        data_sets.names[d]: int(lacking[d].sum())
        for d in summary.stats
        if lacking[d].any()
    }
    if missing:
        warn(
            f"Genes that are zero in all cells of a data set, but not in others: "
            f"{missing}. They are taken as not expressed there; leave out, with "
            "mask_var, those that were not measured, or name them as `unshared` in "
            "`nonneg.tl.inmf`."
        )


def _warn_of_rare_genes(summary: DataSummary, data_sets: DataSets) -> None:
    """Warn of genes that a few cells carry, which scaling makes as large as all others."""
    n_cells = np.maximum(np.asarray(summary.data.n_cells), 1)[:, None]
    most = np.minimum(_FEW, _RARE * n_cells)
    rare = summary.expressed & (summary.carriers < most)
    size = summary.sizes.sum()
    if not summary.sizes[rare].sum() > _SHARE * size:
        return
    n = int(rare.any(axis=0).sum())
    fewest = int(np.ceil(most[rare.any(axis=1)].max()))
    names = np.asarray(data_sets.var_names)
    if data_sets.used is not None:
        names = names[data_sets.used]
    names = names[rare.any(axis=0)]
    warn(
        f"{data_sets.where}: {counted(n, 'gene', 'is')} found in, or carried by, fewer than "
        f"{fewest} cells of a data set, e.g. "
        f"{names[:3].tolist()}. Scaled to the size of the others, "
        f"{'it has' if n == 1 else 'they have'} {summary.sizes[rare].sum() / size:.0%} of the "
        "objective, in a few large values that components can hardly explain. Keep genes that "
        f"at least {fewest} cells of every data set have: those that "
        f"`scanpy.pp.filter_genes(cells, min_cells={fewest})` leaves in each. Leave out, with "
        "mask_var, those whose counts are mostly in fewer cells."
    )


def check_data_sets(data_sets: DataSets, n_components: int) -> None:
    """Raise unless there are several data sets that can carry the components."""
    if len(data_sets.names) < 2:
        msg = (
            f"There is one data set only, {data_sets.names}: nothing to integrate. Use "
            "`nonneg.tl.nmf`."
        )
        raise ValueError(msg)
    check_sizes(data_sets, n_components)


def check_sizes(
    data_sets: DataSets, n_components: int, known: Sequence[str] = ()
) -> None:
    """Raise if there are fewer cells, of data sets that are new, than components."""
    n_vars = data_sets.parts[0].op.shape[1]
    if n_components > n_vars:
        msg = f"n_components={n_components} exceeds the number of variables, {n_vars}."
        raise ValueError(msg)
    small = {
        name: int(n)
        for name, n in zip(data_sets.names, data_sets.n_cells, strict=True)
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
        # Data sets are named by strings, whatever the column holds.
        lam = {str(name): value for name, value in lam.items()}
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
