"""What is stored of an integration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..models.inmf.problem import Loadings, Penalties, SufficientStatistics
from .checks import as_numbers, check_unique_names
from .labels import as_text
from .schema import IntegrationEntry
from .views import read_factors, read_side
from .write import write_factors

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from .data_sets import DataSets
    from .keys import FactorKeys
    from .views import Factors


class Integration(NamedTuple):
    """What is known of an integration. Arrays hold the variables that are fitted."""

    loadings: Loadings
    statistics: SufficientStatistics
    gene_scale: NDArray[Any]
    penalties: Penalties
    names: list[str]
    n_cells: NDArray[np.int64]
    sq_norm: NDArray[np.float64]
    scores: NDArray[Any]
    history: NDArray[Any] | None = None
    """(n_fits, k, n_vars): W after every fit and update, in the present scale."""


def write_integration(
    adata: AnnData,
    keys: FactorKeys,
    data_sets: DataSets,
    fitted: Integration,
    *,
    method: str,
    params: Mapping[str, Any],
    info: Mapping[str, Any],
) -> None:
    """Store an integration."""
    specific, product = (
        np.asarray(x).transpose(2, 0, 1)
        for x in (fitted.loadings.V, fitted.statistics.product)
    )
    of_variables = {
        "specific": specific,
        "stats": product,
        "scale": np.asarray(fitted.gene_scale).T,
    }
    if fitted.history is not None:
        of_variables["history"] = np.asarray(fitted.history).transpose(2, 0, 1)
    write_factors(
        adata,
        keys,
        method=method,
        scores=fitted.scores,
        loadings=data_sets.spread(np.asarray(fitted.loadings.W).T),
        side={"varm": {name: data_sets.spread(x) for name, x in of_variables.items()}},
        params={"n_components": len(fitted.loadings.W), **params},
        info={
            "batches": np.array(fitted.names, dtype=object),
            "lam": np.asarray(fitted.penalties.lam),
            "weight": np.asarray(fitted.penalties.weight),
            "n_cells": np.asarray(fitted.n_cells, np.int64),
            "sq_norm": np.asarray(fitted.sq_norm),
            "gram": np.asarray(fitted.statistics.gram, np.float64),
            **info,
        },
    )


def integration_entry(factors: Factors) -> IntegrationEntry:
    """The entry of an integration, or an error if it is of something else."""
    entry = factors.entry
    if not isinstance(entry, IntegrationEntry) or entry.batches is None:
        msg = (
            f"adata.uns[{factors.keys.uns!r}] was made by {entry.method!r}, "
            "which knows no data sets. Fit `nonneg.tl.inmf` or "
            "`nonneg.tl.online_inmf`."
        )
        raise ValueError(msg)
    return entry


def read_integration(
    adata: AnnData, key: str
) -> tuple[Integration, pd.Index[str], Factors]:
    """The integration stored under a key, and the names of its variables."""
    factors = read_factors(adata, key)
    entry = integration_entry(factors)
    if entry.gram is None:
        msg = (
            f"adata.uns[{key!r}] was made by {entry.method!r} and holds no sums over "
            "cells, which this needs. Fit `nonneg.tl.inmf` or `nonneg.tl.online_inmf`."
        )
        raise ValueError(msg)
    used = np.isfinite(factors.loadings).all(1)
    names = as_text(entry.batches).tolist()
    n_batches, k = len(names), len(factors.names)
    specific, product = (
        read_side(adata, factors, "varm", kind, n_batches, k)[used]
        for kind in ("specific", "stats")
    )
    scale = read_side(adata, factors, "varm", "scale", n_batches)[used]
    numbers = {
        name: _of_entry(entry, name, factors, shape)
        for name, shape in {
            "gram": (n_batches, k, k),
            "lam": (n_batches,),
            "weight": (n_batches,),
            "n_cells": (n_batches,),
            "sq_norm": (n_batches,),
        }.items()
    }
    history = read_history(adata, factors)
    check_unique_names(adata.var_names[used], "Variables of the reference")
    integration = Integration(
        loadings=Loadings(factors.loadings[used].T, specific.transpose(1, 2, 0)),
        statistics=SufficientStatistics(numbers["gram"], product.transpose(1, 2, 0)),
        gene_scale=scale.T,
        penalties=Penalties(numbers["lam"], numbers["weight"]),
        names=names,
        n_cells=numbers["n_cells"].astype(np.int64),
        sq_norm=numbers["sq_norm"],
        scores=factors.scores,
        history=None if history is None else history[used].transpose(1, 2, 0),
    )
    return integration, adata.var_names[used], factors


def read_history(adata: AnnData, factors: Factors) -> NDArray[Any] | None:
    """Shared metagenes after every update, (n_vars, n_fits, k), where they were kept."""
    batches = integration_entry(factors).history_batch
    if batches is None:
        return None
    n_fits, k = len(as_text(batches)), len(factors.names)
    return read_side(adata, factors, "varm", "history", n_fits, k)


def read_changes(
    entry: IntegrationEntry, key: str
) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    """Changes of shared metagenes, and what arrived, of every mini-batch."""
    where = f"adata.uns[{key!r}]['change']"
    change = as_numbers(entry.change, where)
    arriving = as_text(entry.change_batch)
    if change.shape != arriving.shape:
        msg = (
            f"{where} has shape {change.shape}, but 'change_batch' beside it has "
            f"{arriving.size} entries: they have changed since the fit. Fit again."
        )
        raise ValueError(msg)
    return change, arriving


def _of_entry(
    entry: IntegrationEntry, name: str, factors: Factors, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Finite numbers of an entry."""
    where = f"adata.uns[{factors.keys.uns!r}][{name!r}]"
    values = as_numbers(getattr(entry, name), where)
    if values.shape != shape or not np.isfinite(values).all():
        msg = (
            f"{where} must hold finite numbers of the shape {shape}, but has the shape "
            f"{values.shape}: it has changed since the fit. Fit again."
        )
        raise ValueError(msg)
    return values
