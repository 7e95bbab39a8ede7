"""What the models of the NSF family share around their solver."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from sklearn.neighbors import kneighbors_graph

from .._adata import read_matrix, resolve_adata, write_factors
from .._array import computing, log_normalised
from .._coordinates import fit_transform, read_coordinates, read_sections
from .._keys import factor_keys
from .._progress import progress
from .._random import as_seed
from .._validators import (
    check_at_least,
    check_key,
    check_n_components,
    check_nonnegative,
    check_one_of,
    check_positive_int,
    count_empty,
)
from .._warnings import warn, warn_unfinished
from ..kernels.likelihoods import (
    Gaussian,
    LinearGaussian,
    NegativeBinomial,
    Poisson,
    PoissonMonteCarlo,
    column_sq_norm,
    expected,
)
from ..models.nsf import Options, fit, make_space

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from .._adata import MatrixInput
    from .._coordinates import Transform
    from .._random import RNGLike
    from ..kernels.likelihoods import Likelihood
    from ..kernels.operators import MatrixOperator, MatrixStats
    from ..models.nsf import NSFResult, Space

type LikelihoodName = Literal["poisson", "negative_binomial", "gaussian"]
type Method = Literal["nsf", "nsfh", "pnmf", "rsf", "fa"]

COUNT_MODELS: tuple[str, ...] = ("nsf", "nsfh", "pnmf")
LINEAR_MODELS: tuple[str, ...] = ("rsf", "fa")
_LIKELIHOODS = ("poisson", "negative_binomial", "gaussian")
_KERNELS = ("matern32", "matern52", "rbf")
# Sections of more sites have as many inducing points as fit the time of a coffee.
_ALL_INDUCING, _MANY_INDUCING = 1500, 1000
# Of squidpy's graph, which the order of starting factors refers to.
_N_NEIGHBORS = 6
_N_SAMPLES = 3
# A loading below it counts as none.
_ZERO = 1e-6


@dataclass(frozen=True)
class Request:
    """The arguments that all models of the family share."""

    data: AnnData | SpatialData
    method: Method
    n_components: int
    n_spatial: int
    layer: str | None
    mask_var: str | NDArray[np.bool_] | None
    size_factors: str | NDArray[Any] | None
    likelihood: LikelihoodName
    options: Options
    rng: RNGLike
    key_added: str | None
    copy: bool
    table_key: str | None
    estimator: str = "deterministic"
    spatial_key: str | None = None
    library_key: str | None = None
    n_inducing: int | None = None
    chunk_size: int | None = None
    log_normalized: bool = False

    @property
    def linear(self) -> bool:
        """Whether factors are real-valued."""
        return self.method in LINEAR_MODELS


def fit_factors(request: Request) -> AnnData | None:
    """Read matrix and coordinates, fit, store."""
    _check(request)
    keys = factor_keys(request.method, request.key_added)
    seed = as_seed(request.rng)
    adata = resolve_adata(request.data, table_key=request.table_key, copy=request.copy)
    coords: NDArray[np.float64] | None = None
    section, names = read_sections(adata, request.library_key)
    transform: Transform | None = None
    if request.n_spatial:
        assert request.spatial_key is not None
        coords = read_coordinates(
            adata, request.spatial_key, hint="Spatial models need coordinates."
        )
        transform = fit_transform(coords, section, names)
    with computing(), progress(request.method, request.options.max_iter) as callback:
        source = read_matrix(
            adata,
            layer=request.layer,
            mask_var=request.mask_var,
            chunk_size=request.chunk_size,
        )
        check_n_components(request.n_components, source.op.shape)
        stats = source.op.stats()
        _check_values(request, source, stats)
        size, median = read_size(adata, request.size_factors, stats, source.where)
        op, center = source.op, None
        if request.linear:
            if not request.log_normalized:
                op = log_normalised(source.op, size, source.where)
            center = op.stats().col_sums / op.shape[0]
        size = np.where(size > 0, size, 1).astype(np.float32)
        likelihood = _likelihood(request, op, size, center, seed)
        space: Space | None = None
        options = replace(request.options, seed=seed)
        if transform is not None:
            assert coords is not None
            scaled = transform(coords, section)
            options = _scaled_options(request, scaled, section, seed, transform.scale)
            space = make_space(scaled, section, options)
        result = fit(
            likelihood,
            space,
            size,
            request.n_components,
            n_spatial=request.n_spatial,
            options=options,
            order=_by_morans_i(coords, section)
            if request.method == "nsfh" and request.n_spatial
            else None,
            callback=callback,
        )
    params = {
        **source.source,
        "size_median": median,
        "n_inducing": 0 if space is None else len(space.layout.inducing),
        "seed": seed,
    }
    spatial_info: dict[str, Any] = {}
    if space is not None:
        assert transform is not None
        spatial_info = _spatial_info(result, space, transform)
    _write(adata, request, source, result, params=params, info=spatial_info)
    if center is not None:
        adata.var[f"{keys.uns}_center"] = source.spread(center[:, None])[:, 0]
    if request.likelihood == "negative_binomial":
        found = likelihood.scatter[:, None]
        adata.var[f"{keys.uns}_dispersion"] = source.spread(found)[:, 0]
    _report(request, source, stats, result)
    return adata if request.copy else None


def _check(request: Request) -> None:
    n_components = check_positive_int(request.n_components, "n_components")
    if not 0 <= request.n_spatial <= n_components:
        msg = (
            f"n_spatial={request.n_spatial} must be between 0 and "
            f"n_components={n_components}."
        )
        raise ValueError(msg)
    options = request.options
    check_one_of(request.likelihood, _LIKELIHOODS, "likelihood")
    check_one_of(options.kernel, _KERNELS, "kernel")
    check_one_of(options.trend, ("linear", "constant"), "trend")
    check_one_of(request.estimator, ("deterministic", "monte_carlo"), "estimator")
    if request.estimator == "monte_carlo" and request.likelihood != "poisson":
        msg = "estimator='monte_carlo' is for likelihood='poisson'."
        raise ValueError(msg)
    check_positive_int(options.max_iter, "max_iter")
    check_at_least(options.tol, 0, "tol")
    if not 0 < options.learning_rate <= 1:
        msg = f"learning_rate={options.learning_rate!r} must be above 0 and at most 1."
        raise ValueError(msg)
    for name in ("length_scale", "amplitude"):
        value = getattr(options, name)
        if value is not None and not 0 < value < np.inf:
            msg = f"{name}={value!r} must be positive and finite."
            raise ValueError(msg)
    if options.dispersion is not None:
        check_at_least(options.dispersion, 1, "dispersion")
    for name in ("n_inducing", "chunk_size"):
        if getattr(request, name) is not None:
            check_positive_int(getattr(request, name), name)
    if options.batch_size is not None:
        check_positive_int(options.batch_size, "batch_size")


def _check_values(request: Request, source: MatrixInput, stats: MatrixStats) -> None:
    check_nonnegative(stats, source.where)
    if request.likelihood == "gaussian":
        return
    if not stats.integer:
        warn(
            f"{source.where} holds values that are not integers, but the likelihood is "
            "of counts. Name the layer with raw counts, or use likelihood='gaussian'."
        )


def read_size(
    adata: AnnData,
    size_factors: str | NDArray[Any] | None,
    stats: MatrixStats,
    where: str,
    median: float | None = None,
) -> tuple[NDArray[np.float64], float]:
    """Size factors of observations, and the median that totals are divided by."""
    if size_factors is None:
        return np.ones(adata.n_obs), 1.0
    if isinstance(size_factors, str) and size_factors == "total":
        totals = stats.row_sums
        if median is None:
            median = float(np.median(totals[totals > 0]))
        return totals / median, median
    if isinstance(size_factors, str):
        check_key(adata, "obs", size_factors, hint="Or use 'total', or an array.")
        values = np.asarray(adata.obs[size_factors], np.float64)
    else:
        values = np.asarray(size_factors, np.float64)
    if values.shape != (adata.n_obs,) or not (np.isfinite(values) & (values > 0)).all():
        msg = (
            f"size_factors must be {adata.n_obs} positive numbers, one for each "
            f"observation, but have shape {values.shape} and "
            f"{int((~(values > 0)).sum())} that are not positive."
        )
        raise ValueError(msg)
    return values, 1.0


def _likelihood(
    request: Request,
    op: MatrixOperator,
    size: NDArray[np.floating[Any]],
    center: NDArray[np.float64] | None,
    seed: int,
) -> Likelihood:
    if request.linear:
        assert center is not None
        return LinearGaussian(op, column_sq_norm(op), center)
    if request.likelihood == "gaussian":
        return Gaussian(op, column_sq_norm(op))
    if request.likelihood == "negative_binomial":
        return NegativeBinomial(op, size)
    if request.estimator == "monte_carlo":
        return PoissonMonteCarlo(op, size, _N_SAMPLES, np.random.default_rng(seed))
    return Poisson(op, size)


def _scaled_options(
    request: Request,
    coords: NDArray[np.float64],
    section: NDArray[np.intp],
    seed: int,
    scale: float,
) -> Options:
    """Options in scaled coordinates, with a number of inducing points."""
    n_sites = len(np.unique(np.column_stack([section, coords]), axis=0))
    n_inducing = request.n_inducing
    if n_inducing is None:
        n_inducing = n_sites if n_sites <= _ALL_INDUCING else _MANY_INDUCING
    length_scale = request.options.length_scale
    return replace(
        request.options,
        n_inducing=n_inducing,
        seed=seed,
        length_scale=None if length_scale is None else length_scale * scale,
    )


def _by_morans_i(coords: NDArray[np.float64] | None, section: NDArray[np.intp]) -> Any:
    """Order of factors: those that vary most smoothly first."""
    assert coords is not None

    def order(
        factors: NDArray[np.floating[Any]], rows: NDArray[np.intp]
    ) -> NDArray[np.intp]:
        from scanpy.metrics import morans_i
        from scipy.sparse import block_diag

        graphs, positions = [], []
        for s in np.unique(section[rows]):
            own = np.flatnonzero(section[rows] == s)
            positions.append(own)
            n_neighbors = min(_N_NEIGHBORS, own.size - 1)
            graphs.append(kneighbors_graph(coords[rows[own]], n_neighbors))
        index = np.concatenate(positions)
        graph = block_diag(graphs, format="csr")
        scores = morans_i(graph, np.ascontiguousarray(factors[index].T, np.float64))
        return np.argsort(-np.nan_to_num(scores), kind="stable")

    return order


# --- what is stored ---------------------------------------------------------


def _write(
    adata: AnnData,
    request: Request,
    source: MatrixInput,
    result: NSFResult,
    *,
    params: Mapping[str, Any],
    info: Mapping[str, Any],
) -> None:
    keys = factor_keys(request.method, request.key_added)
    scores, std = moments(result.mean, result.var, linear=request.linear)
    is_spatial = np.arange(request.n_components) < request.n_spatial
    trace, options, given = result.trace, request.options, request.size_factors
    mass = np.abs(scores).sum(0, dtype=np.float64) * np.abs(result.W).sum(0)
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
    )
    adata.obsm[f"{keys.obsm}_std"] = std
    if request.method == "nsfh":
        _write_importance(adata, keys.uns, source, result, is_spatial=is_spatial)


def moments(
    mean: NDArray[Any], var: NDArray[Any], *, linear: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of factors."""
    if linear:
        return mean.astype(np.float32), np.sqrt(var).astype(np.float32)
    scores = expected(mean, var)
    std = scores * np.sqrt(np.expm1(np.minimum(var, 40)))
    return scores.astype(np.float32), std.astype(np.float32)


def _spatial_info(
    result: NSFResult, space: Space, transform: Transform
) -> dict[str, Any]:
    layout, kernels = space.layout, result.kernels
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
            "inducing_mean": np.stack([p.inducing_mean for p in result.posts]),
            "trend": np.stack([p.trend for p in result.posts]),
            "sites": layout.sites,
            "site_section": layout.section.astype(np.int64),
            "site_precision": result.site_precision,
            "site_mean": np.stack([p.mean for p in result.posts], axis=1),
            "site_var": np.stack([p.var for p in result.posts], axis=1),
        },
    }


def _write_importance(
    adata: AnnData,
    key: str,
    source: MatrixInput,
    result: NSFResult,
    *,
    is_spatial: NDArray[np.bool_],
) -> None:
    """Spatial share of every gene and observation, with standard deviations."""
    scores, std = moments(result.mean, result.var, linear=False)
    w = result.W.astype(np.float64)
    totals = scores.sum(0, dtype=np.float64)
    gene, gene_std = _share(w * totals, w**2 * result.total_var, is_spatial)
    weight = w.sum(0)
    obs, obs_std = _share(scores * weight, (std * weight) ** 2, is_spatial)
    name = f"{key}_spatial_importance"
    adata.var[name] = source.spread(gene[:, None])[:, 0]
    adata.var[f"{name}_std"] = source.spread(gene_std[:, None])[:, 0]
    adata.obs[name], adata.obs[f"{name}_std"] = obs, obs_std


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


def _report(
    request: Request, source: MatrixInput, stats: MatrixStats, result: NSFResult
) -> None:
    options = request.options
    warn_unfinished(result.trace, max_iter=options.max_iter, tol=options.tol)
    n_obs, n_vars = count_empty(stats)
    if n_obs or n_vars:
        warn(
            f"{source.where} has {n_obs} observations and {n_vars} variables that are "
            "all zero; the loadings of the latter are zero."
        )
