"""What the models of the NSF family store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._adata.write import write_factors
from ...models.nsf import lognormal
from ...models.nsf.kriging import Kriged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._adata.coordinates import Transform
    from ..._adata.keys import FactorKeys
    from ..._adata.read import MatrixInput
    from ...models.nsf.problem import Space
    from ...models.nsf.result import NSFResult


# How what is known of factors without space is called there, in the order of its fields.
KRIGED = tuple(
    f"site_{name}" if name in {"mean", "var"} else name for name in Kriged._fields
)

# A loading below it counts as none.
_ZERO = 1e-6


def write_fit(
    adata: AnnData,
    keys: FactorKeys,
    method: str,
    source: MatrixInput,
    result: NSFResult,
    *,
    linear: bool,
    hybrid: bool,
    params: Mapping[str, Any],
    info: Mapping[str, Any],
    of_variables: Mapping[str, NDArray[Any]],
) -> None:
    """Factors, loadings and all that belongs to them.

    ``of_variables`` are further values of the variables that were used, by kind.
    """
    scores, std = moments(result.mean, result.var, linear=linear)
    n_components = scores.shape[1]
    is_spatial = np.arange(n_components) < params["n_spatial"]
    trace = result.trace
    mass = np.abs(scores).sum(0, dtype=np.float64) * np.abs(result.W).sum(0)
    of_obs: Mapping[str, NDArray[Any]] = {}
    share, null = (
        np.concatenate([own, np.zeros(n_components - len(own))])
        for own in (result.spatial_share, result.spatial_share_null)
    )
    if hybrid:
        of_genes, of_obs = _importance(result, share, null)
        of_variables = {**of_variables, **of_genes}
    write_factors(
        adata,
        keys,
        method=method,
        scores=scores,
        loadings=source.spread(result.W),
        params=params,
        info={
            "objective": np.asarray(trace.objective),
            "iteration": np.asarray(trace.iteration),
            "elbo": np.asarray(trace.objective),
            "n_iter": trace.n_iter,
            "converged": trace.converged,
            "interrupted": trace.interrupted,
            "mass": mass,
            "scale": np.ones(n_components),
            "sparsity": share_of_zeros(result.W),
            "loading_totals": result.W.sum(0, dtype=np.float64),
            "is_spatial": is_spatial,
            **({"spatial_share": share} if is_spatial.any() else {}),
            **({"spatial_share_null": null} if hybrid else {}),
            "total_std": np.sqrt(result.total_var),
            "nonspatial_prior": result.iid.astype(np.float64),
            "nonspatial_elsewhere": result.elsewhere.astype(np.float64),
            "temperature": float(result.kernels.temperature),
            **info,
        },
        side={
            "obsm": {"std": std},
            "var": {
                kind: source.spread(values[:, None])[:, 0]
                for kind, values in of_variables.items()
            },
            "obs": of_obs,
        },
    )


def share_of_zeros(w: NDArray[Any]) -> float:
    """Sparsity of loadings."""
    return float((np.abs(w) < _ZERO).mean())


def moments(
    mean: NDArray[Any], var: NDArray[Any], *, linear: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of factors."""
    if linear:
        return mean.astype(np.float32), np.sqrt(var).astype(np.float32)
    scores, spread = lognormal.moments(mean, var)
    return scores.astype(np.float32), np.sqrt(spread).astype(np.float32)


def spatial_info(
    result: NSFResult, space: Space, transform: Transform
) -> dict[str, Any]:
    """Kernels, their search, and all that predictions need."""
    layout, kernels, kriged = space.layout, result.kernels, result.kriged
    assert result.post
    table = pd.DataFrame(
        [
            {
                "length_scale": float(np.exp(np.log(k.length_scale).mean()))
                / transform.scale,
                "amplitude": float(np.exp(np.log(k.amplitude).mean())),
                "temperature": k.temperature,
                "iteration": iteration,
                "score": score,
            }
            for iteration, k, score in result.tried
        ],
        columns=["length_scale", "amplitude", "temperature", "iteration", "score"],
    )
    table.index = table.index.astype(str)
    return {
        "kernel": {
            # In the units of the user's coordinates.
            "length_scale": kernels.length_scale / transform.scale,
            "amplitude": kernels.amplitude,
            "nugget": float(kernels.nugget),
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
            "sites": layout.locations,
            "site_section": layout.section.astype(np.int64),
            "site_precision": result.location_precision,
            "site_mean": result.post.mean,
            "site_var": result.post.var,
        },
        **(
            {}
            if kriged is None
            else {"kriged": _as_stored(kriged, transform, result.post.mean.shape[1])}
        ),
    }


def _as_stored(kriged: Kriged, transform: Transform, n_fields: int) -> dict[str, Any]:
    return dict(
        zip(
            KRIGED,
            kriged._replace(
                # Those of fields are stored already.
                mean=kriged.mean[:, n_fields:].astype(np.float32),
                var=kriged.var[:, n_fields:].astype(np.float32),
                # In the units of the user's coordinates.
                length_scale=kriged.length_scale / transform.scale,
            ),
            strict=True,
        )
    )


def _importance(
    result: NSFResult, shares: NDArray[np.float64], null: NDArray[np.float64]
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Spatial share of every gene and observation, its deviation, and by chance.

    Of factors, the spatial shares are given.
    """
    scores, std = moments(result.mean, result.var, linear=False)
    w = result.W.astype(np.float64)
    totals = scores.sum(0, dtype=np.float64)
    weight = w.sum(0)

    def each(
        part: NDArray[np.float64], var: NDArray[np.float64]
    ) -> dict[str, NDArray[Any]]:
        share, spread = _share(part, var, shares)
        by_chance, _ = _share(part, var, null)
        return {
            "importance": share,
            "importance_std": spread,
            "importance_null": by_chance,
        }

    return (
        each(w * totals, w**2 * result.total_var),
        each(scores * weight, (std * weight) ** 2),
    )


def _share(
    part: NDArray[np.float64], var: NDArray[np.float64], of_column: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of what is given of columns, by the parts of each row.

    And, by the delta method, its deviation.
    """
    total = part.sum(1)
    total = np.where(total > 0, total, np.nan)
    share = part @ of_column / total
    spread = ((of_column - share[:, None]) ** 2 * var).sum(1)
    return share, np.sqrt(spread) / total
