"""Write an AnnData once: all of a result, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from .._core.logging import logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

    from .keys import FactorKeys


@dataclass(frozen=True)
class Write:
    """The arguments that say where a result goes."""

    key_added: str | None = None
    copy: bool = False
    table_key: str | None = None


def write_factors(
    adata: AnnData,
    keys: FactorKeys,
    *,
    method: str,
    scores: NDArray[Any],
    loadings: NDArray[Any],
    params: Mapping[str, Any],
    info: Mapping[str, Any],
    columns: NDArray[Any] | None = None,
    side: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Store a factorization: all of it, or nothing.

    ``loadings`` go to varm, or into uns where they belong to an element of obsm;
    arrays of ``side`` to varm, under the key and their names.
    """
    scores = np.asarray(scores, np.float32)
    loadings = np.asarray(loadings, np.float32)
    entry = {
        "method": method,
        "params": {**params, "version": version("nonneg")},
        "obsm_key": keys.obsm,
        "varm_key": keys.varm,
        **info,
    }
    of_obsm = params.get("obsm") is not None
    if of_obsm:
        entry |= {"varm_key": None, "loadings": loadings}
        if columns is not None:
            entry["columns"] = columns
    own(adata)
    adata.obsm[keys.obsm] = scores
    if not of_obsm:
        adata.varm[keys.varm] = loadings
    elif keys.uns in adata.uns:
        # Loadings of variables that an earlier fit left under this key.
        adata.varm.pop(keys.varm, None)
    for name, values in (side or {}).items():
        adata.varm[f"{keys.varm}_{name}"] = np.asarray(values, np.float32)
    adata.uns[keys.uns] = entry
    logger.info("Stored %s in adata.uns[%r] and what it names.", method, keys.uns)


def own(adata: AnnData) -> None:
    """Make a view an AnnData of its own before it is written to."""
    if adata.is_view:
        adata._init_as_actual(adata.copy())  # type: ignore[no-untyped-call]
