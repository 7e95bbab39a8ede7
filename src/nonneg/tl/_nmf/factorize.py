"""What every factorization of one matrix does around its solver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..._adata.checks import (
    check_finite,
    check_n_components,
    check_nonnegative,
    warn_empty,
)
from ..._adata.read import MatrixInput, Read, read_matrix, resolve_adata
from ..._adata.var_weights import read_var_weights
from ..._adata.write import Write, keys_to_write, write_factors
from ..._core.progress import progress
from ..._core.random import as_seed
from ..._core.text import counted
from ..._core.validators import check_at_least, check_positive_int
from ..._core.warnings import warn, warn_unfinished
from ...operators.threads import computing
from ...operators.weighted import weight_variables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._adata.var_weights import VarWeights
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
    var_weights: VarWeights = None,
) -> AnnData | None:
    """Read the matrix, fit it, store the result.

    With ``var_weights``, ``fit`` is given the scaled matrix, and gives back loadings of
    the unscaled one.
    """
    n_components = check_positive_int(n_components, "n_components")
    check_at_least(tol, 0, "tol")
    max_iter = check_positive_int(max_iter, "max_iter")
    seed = as_seed(rng)
    adata = resolve_adata(data, table_key=write.table_key, copy=write.copy)
    # Semi-NMF shares the key: readers need not know which of the two was used.
    keys = keys_to_write(adata, "nmf", write.key_added)
    with computing(), progress(method, None) as callback:
        source = read_matrix(adata, read)
        check_n_components(n_components, source.op.shape)
        stats = source.op.stats()
        (check_finite if signed else check_nonnegative)(stats, source.where)
        weights = read_var_weights(adata, var_weights, source)
        op, of_op = source.op, stats
        if weights is not None:
            op = weight_variables(op, weights)
            of_op = op.stats()
            _check_weighted(weights, of_op, n_components)
        result = fit(op, of_op, seed, callback)
    side = {}
    if weights is not None:
        side["var"] = {"weight": source.spread(weights)}
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
            "interrupted": result.trace.interrupted,
            "mass": result.mass,
            "scale": result.scale,
        },
        columns=source.columns,
        side=side,
    )
    # Last: a warning that is turned into an error must not cost the fit.
    warn_unfinished(result.trace, max_iter=max_iter, tol=tol)
    _report(source, stats, result)
    return adata if write.copy else None


def _check_weighted(
    weights: NDArray[np.float64], stats: MatrixStats, n_components: int
) -> None:
    """Raise if variables that count cannot carry the components."""
    n_counting = int((weights > 0).sum())
    if n_counting < n_components:
        msg = (
            f"n_components={n_components} exceeds the number of variables with a weight "
            f"above 0, {n_counting}."
        )
        raise ValueError(msg)
    if stats.sq_norm == 0:
        msg = (
            "All variables with a weight above 0 are zero, or their weights too small for "
            "single precision: nothing would be fitted."
        )
        raise ValueError(msg)
    if not stats.sq_norm < float(np.finfo(np.float32).max):
        msg = (
            f"var_weights, of up to {weights.max():.3g}, make squared errors too large for "
            "single precision. Divide them by their mean: a fit depends on their ratios."
        )
        raise ValueError(msg)


def _report(source: MatrixInput, stats: MatrixStats, result: NMFResult) -> None:
    """Warn about what the user should know of a result."""
    warn_empty(stats, source.where, of_obs="scores", of_vars="loadings")
    n_dead = int(np.sum(result.mass == 0))
    if n_dead:
        warn(
            f"{counted(n_dead, 'component', 'is', of=result.mass.size)} empty: the data are "
            "explained by fewer. Use a smaller n_components or weaker penalties."
        )
