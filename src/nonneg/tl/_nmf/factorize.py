"""What every factorization of one matrix does around its solver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..._adata.checks import (
    check_finite,
    check_n_components,
    check_nonnegative,
    count_empty,
)
from ..._adata.keys import factor_keys
from ..._adata.read import MatrixInput, Read, read_matrix, resolve_adata
from ..._adata.write import Write, write_factors
from ..._core.progress import progress
from ..._core.random import as_seed
from ..._core.validators import check_at_least, check_positive_int
from ..._core.warnings import warn, warn_unfinished
from ...operators.threads import computing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anndata import AnnData
    from spatialdata import SpatialData

    from ..._core.random import RNGLike
    from ...models.loop import Callback
    from ...models.nmf.problem import NMFResult
    from ...operators.protocol import MatrixOperator
    from ...operators.stats import MatrixStats

    type Fit = Callable[[MatrixOperator, MatrixStats, int, Callback], NMFResult]


def factorize(
    data: AnnData | SpatialData,
    n_components: int,
    fit: Fit,
    *,
    method: str,
    params: Mapping[str, Any],
    read: Read,
    write: Write,
    tol: float,
    max_iter: int,
    rng: RNGLike,
    signed: bool = False,
) -> AnnData | None:
    """Read the matrix, fit it, store the result."""
    n_components = check_positive_int(n_components, "n_components")
    check_at_least(tol, 0, "tol")
    max_iter = check_positive_int(max_iter, "max_iter")
    seed = as_seed(rng)
    # Semi-NMF shares the key: readers need not know which of the two was used.
    keys = factor_keys("nmf", write.key_added)
    adata = resolve_adata(data, table_key=write.table_key, copy=write.copy)
    with computing(), progress(method, max_iter) as callback:
        source = read_matrix(adata, read)
        check_n_components(n_components, source.op.shape)
        stats = source.op.stats()
        (check_finite if signed else check_nonnegative)(stats, source.where)
        result = fit(source.op, stats, seed, callback)
    write_factors(
        adata,
        keys,
        method=method,
        scores=result.W,
        loadings=source.spread(result.H.T),
        params={
            "n_components": n_components,
            **source.source,
            **params,
            "tol": float(tol),
            "max_iter": max_iter,
            "seed": seed,
        },
        info={
            "objective": np.asarray(result.trace.objective),
            "iteration": np.asarray(result.trace.iteration),
            "n_iter": result.trace.n_iter,
            "converged": result.trace.converged,
            "mass": result.mass,
            "scale": result.scale,
        },
        columns=source.columns,
    )
    # Last: a warning that is turned into an error must not cost the fit.
    warn_unfinished(result.trace, max_iter=max_iter, tol=tol)
    _report(source, stats, result)
    return adata if write.copy else None


def _report(source: MatrixInput, stats: MatrixStats, result: NMFResult) -> None:
    """Warn about what the user should know of a result."""
    n_obs, n_vars = count_empty(stats)
    if n_obs or n_vars:
        warn(
            f"{source.where} has {n_obs} observations and {n_vars} variables that are "
            "all zero; their scores and loadings are zero."
        )
    n_dead = int(np.sum(result.mass == 0))
    if n_dead:
        warn(
            f"{n_dead} of {result.mass.size} components are empty: the data are "
            "explained by fewer. Use a smaller n_components or weaker penalties."
        )
