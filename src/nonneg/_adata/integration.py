"""What is stored of an integration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..models.inmf.problem import Loadings, Penalties, SufficientStatistics
from .checks import check_key, check_unique_names
from .keys import side_key
from .schema import IntegrationEntry
from .views import read_factors
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
    side = []
    for name in ("specific", "stats", "scale"):
        varm_key = side_key(factors.keys, "varm", name)
        check_key(adata, "varm", varm_key, hint="It was removed after the fit.")
        side.append(np.asarray(adata.varm[varm_key])[used])
    specific, product, scale = side
    history = read_history(adata, factors)
    check_unique_names(adata.var_names[used], "Variables of the reference")
    integration = Integration(
        loadings=Loadings(factors.loadings[used].T, specific.transpose(1, 2, 0)),
        statistics=SufficientStatistics(
            np.asarray(entry.gram), product.transpose(1, 2, 0)
        ),
        gene_scale=scale.T,
        penalties=Penalties(np.asarray(entry.lam), np.asarray(entry.weight)),
        names=[str(name) for name in np.asarray(entry.batches)],
        n_cells=np.asarray(entry.n_cells),
        sq_norm=np.asarray(entry.sq_norm),
        scores=factors.scores,
        history=None if history is None else history[used].transpose(1, 2, 0),
    )
    return integration, adata.var_names[used], factors


def read_history(adata: AnnData, factors: Factors) -> NDArray[Any] | None:
    """Shared metagenes after every update, (n_vars, n_fits, k), where they were kept."""
    if integration_entry(factors).history_batch is None:
        return None
    key = side_key(factors.keys, "varm", "history")
    check_key(adata, "varm", key, hint="It was removed after the fit.")
    return np.asarray(adata.varm[key])
