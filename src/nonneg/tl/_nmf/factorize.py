"""What every factorization of one matrix does around its solver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._adata.checks import (
    check_finite,
    check_n_components,
    check_nonnegative,
    count_empty,
)
from ..._adata.keys import factor_keys
from ..._adata.read import MatrixInput, read_matrix, resolve_adata
from ..._adata.write import write_factors
from ..._core.progress import progress
from ..._core.random import as_seed
from ..._core.validators import check_at_least, check_positive_int
from ..._core.warnings import warn, warn_unfinished
from ...operators.threads import computing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._core.random import RNGLike
    from ...models.loop import Callback
    from ...models.nmf.problem import NMFResult
    from ...operators.protocol import MatrixOperator
    from ...operators.stats import MatrixStats

    type Fit = Callable[[MatrixOperator, MatrixStats, int, Callback], NMFResult]


@dataclass(frozen=True)
class Request:
    """The arguments that all factorizations share."""

    data: AnnData | SpatialData
    n_components: int
    layer: str | None
    obsm: str | None
    mask_var: str | NDArray[np.bool_] | None
    tol: float
    max_iter: int
    chunk_size: int | None
    rng: RNGLike
    key_added: str | None
    copy: bool
    table_key: str | None


def factorize(
    request: Request,
    fit: Fit,
    *,
    method: str,
    params: Mapping[str, Any],
    signed: bool = False,
) -> AnnData | None:
    """Read the matrix, fit it, store the result."""
    n_components = check_positive_int(request.n_components, "n_components")
    check_at_least(request.tol, 0, "tol")
    max_iter = check_positive_int(request.max_iter, "max_iter")
    if request.chunk_size is not None:
        check_positive_int(request.chunk_size, "chunk_size")
    seed = as_seed(request.rng)
    # Semi-NMF shares the key: readers need not know which of the two was used.
    keys = factor_keys("nmf", request.key_added)
    adata = resolve_adata(request.data, table_key=request.table_key, copy=request.copy)
    with computing(), progress(method, max_iter) as callback:
        source = read_matrix(
            adata,
            layer=request.layer,
            obsm=request.obsm,
            mask_var=request.mask_var,
            chunk_size=request.chunk_size,
        )
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
            "tol": float(request.tol),
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
    _report(source, stats, result, request)
    return adata if request.copy else None


def _report(
    source: MatrixInput, stats: MatrixStats, result: NMFResult, request: Request
) -> None:
    """Warn about what the user should know of a result."""
    warn_unfinished(result.trace, max_iter=request.max_iter, tol=request.tol)
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
