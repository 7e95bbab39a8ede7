"""What the models of the NSF family store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._adata.keys import factor_keys
from ..._adata.write import write_factors
from ...models.nsf.likelihoods import expected

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._adata.coordinates import Transform
    from ..._adata.read import MatrixInput
    from ...models.nsf.problem import Space
    from ...models.nsf.result import NSFResult
    from .front import Request


# A loading below it counts as none.
_ZERO = 1e-6


def write_fit(
    adata: AnnData,
    request: Request,
    source: MatrixInput,
    result: NSFResult,
    *,
    params: Mapping[str, Any],
    info: Mapping[str, Any],
    of_variables: Mapping[str, NDArray[Any]],
) -> None:
    """Factors, loadings and all that belongs to them.

    ``of_variables`` are further values of the variables that were used, by kind.
    """
    keys = factor_keys(request.method, request.key_added)
    scores, std = moments(result.mean, result.var, linear=request.linear)
    is_spatial = np.arange(request.n_components) < request.n_spatial
    trace, options, given = result.trace, request.options, request.size_factors
    mass = np.abs(scores).sum(0, dtype=np.float64) * np.abs(result.W).sum(0)
    side: dict[str, dict[str, Any]] = {
        "obsm": {"std": std},
        "var": {
            kind: source.spread(values[:, None])[:, 0]
            for kind, values in of_variables.items()
        },
        "obs": {},
    }
    if request.method == "nsfh":
        var, obs = _importance(result, is_spatial=is_spatial)
        side["obs"] = obs
        side["var"] |= {
            kind: source.spread(values[:, None])[:, 0] for kind, values in var.items()
        }
    write_factors(
        adata,
        keys,
        method=request.method,
        scores=scores,
        loadings=source.spread(result.W),
        params={
            "n_components": request.n_components,
            "n_spatial": request.n_spatial,
            "likelihood": request.likelihood,
            "estimator": request.estimator,
            "size_factors": given if isinstance(given, str | None) else "array",
            "log_normalized": request.log_normalized,
            "spatial_key": request.spatial_key,
            "library_key": request.library_key,
            "kernel": options.kernel,
            "trend": options.trend,
            "n_neighbors": options.n_neighbors,
            "learning_rate": float(options.learning_rate),
            "batch_size": options.batch_size,
            "tol": float(options.tol),
            "max_iter": options.max_iter,
            **params,
        },
        info={
            "objective": np.asarray(trace.objective),
            "iteration": np.asarray(trace.iteration),
            "elbo": np.asarray(trace.objective),
            "n_iter": trace.n_iter,
            "converged": trace.converged,
            "mass": mass,
            "scale": np.ones(request.n_components),
            "sparsity": float((np.abs(result.W) < _ZERO).mean()),
            "is_spatial": is_spatial,
            "total_std": np.sqrt(result.total_var),
            "nonspatial_prior": result.iid.astype(np.float64),
            "dispersion": float(result.kernels.dispersion),
            **info,
        },
        side=side,
    )


def moments(
    mean: NDArray[Any], var: NDArray[Any], *, linear: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of factors."""
    if linear:
        return mean.astype(np.float32), np.sqrt(var).astype(np.float32)
    scores = expected(mean, var)
    std = scores * np.sqrt(np.expm1(np.minimum(var, 40)))
    return scores.astype(np.float32), std.astype(np.float32)


def spatial_info(
    result: NSFResult, space: Space, transform: Transform
) -> dict[str, Any]:
    layout, kernels = space.layout, result.kernels
    assert result.post
    table = pd.DataFrame(
        [
            {
                "length_scale": float(np.exp(np.log(k.length_scale).mean()))
                / transform.scale,
                "amplitude": float(np.exp(np.log(k.amplitude).mean())),
                "dispersion": k.dispersion,
                "iteration": iteration,
                "score": score,
            }
            for iteration, k, score in result.tried
        ],
        columns=["length_scale", "amplitude", "dispersion", "iteration", "score"],
    )
    table.index = table.index.astype(str)
    return {
        "kernel": {
            # In the units of the user's coordinates.
            "length_scale": kernels.length_scale / transform.scale,
            "amplitude": kernels.amplitude,
        },
        "search": table,
        "transform": {
            "scale": transform.scale,
            "axes": transform.axes,
            "centers": transform.centers,
            "sections": transform.sections.astype(str),
        },
        "field": {
            "inducing": layout.inducing,
            "inducing_section": layout.inducing_section.astype(np.int64),
            "inducing_mean": result.post.inducing_mean,
            "trend": result.post.trend,
            "sites": layout.sites,
            "site_section": layout.section.astype(np.int64),
            "site_precision": result.site_precision,
            "site_mean": result.post.mean,
            "site_var": result.post.var,
        },
    }


def _importance(
    result: NSFResult, *, is_spatial: NDArray[np.bool_]
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Spatial share of every gene and observation, with standard deviations."""
    scores, std = moments(result.mean, result.var, linear=False)
    w = result.W.astype(np.float64)
    totals = scores.sum(0, dtype=np.float64)
    weight = w.sum(0)
    kinds = ("importance", "importance_std")
    gene = _share(w * totals, w**2 * result.total_var, is_spatial)
    obs = _share(scores * weight, (std * weight) ** 2, is_spatial)
    return dict(zip(kinds, gene, strict=True)), dict(zip(kinds, obs, strict=True))


def _share(
    part: NDArray[np.float64], var: NDArray[np.float64], picked: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of some columns in the row sums; by the delta method, its deviation."""
    total = part.sum(1)
    empty = total <= 0
    total = np.where(empty, np.nan, total)
    share = part[:, picked].sum(1) / total
    spread = (1 - share) ** 2 * var[:, picked].sum(1) + share**2 * var[:, ~picked].sum(
        1
    )
    return share, np.sqrt(spread) / total
