"""What the models of the NSF family share around their solver."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..._adata.checks import check_n_components, check_nonnegative, count_empty
from ..._adata.coordinates import fit_transform, read_coordinates
from ..._adata.keys import factor_keys
from ..._adata.labels import read_sections
from ..._adata.read import Read, read_matrix, resolve_adata
from ..._adata.size_factors import read_size
from ..._core.progress import progress
from ..._core.random import as_seed
from ..._core.validators import check_at_least, check_one_of, check_positive_int
from ..._core.warnings import warn, warn_unfinished
from ...models.nsf.likelihoods import (
    Gaussian,
    LinearGaussian,
    NegativeBinomial,
    Poisson,
    PoissonMonteCarlo,
    column_sq_norm,
)
from ...models.nsf.problem import Options, make_space
from ...models.nsf.solver import fit
from ...operators.normalised import log_normalised
from ...operators.threads import computing
from .start_order import by_morans_i
from .store import spatial_info, write_fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._adata.coordinates import Transform
    from ..._adata.read import MatrixInput
    from ..._core.random import RNGLike
    from ...models.nsf.likelihoods import Likelihood
    from ...models.nsf.problem import Space
    from ...models.nsf.result import NSFResult
    from ...operators.protocol import MatrixOperator
    from ...operators.stats import MatrixStats


type LikelihoodName = Literal["poisson", "negative_binomial", "gaussian"]

type Method = Literal["nsf", "nsfh", "pnmf", "rsf", "fa"]

LINEAR_MODELS: tuple[str, ...] = ("rsf", "fa")

_LIKELIHOODS = ("poisson", "negative_binomial", "gaussian")

_KERNELS = ("matern32", "matern52", "rbf")

# Sections of more sites have as many inducing points as fit the time of a coffee.
_ALL_INDUCING, _MANY_INDUCING = 1500, 1000

_N_SAMPLES = 3


@dataclass(frozen=True)
class Request:
    """The arguments that all models of the family share."""

    data: AnnData | SpatialData
    method: Method
    n_components: int
    n_spatial: int
    layer: str | None
    mask_var: str | Sequence[str] | NDArray[np.bool_] | None
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
    factor_keys(request.method, request.key_added)
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
            Read(
                request.layer,
                mask_var=request.mask_var,
                chunk_size=request.chunk_size,
            ),
        )
        check_n_components(request.n_components, source.op.shape)
        stats = source.op.stats()
        _check_values(request, source, stats)
        size, median = read_size(adata, request.size_factors, stats)
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
            order=by_morans_i(coords, section)
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
    of_space: dict[str, Any] = {}
    if space is not None:
        assert transform is not None
        of_space = spatial_info(result, space, transform)
    of_variables: dict[str, NDArray[Any]] = {}
    if center is not None:
        of_variables["center"] = center
    if request.likelihood == "negative_binomial":
        of_variables["dispersion"] = likelihood.scatter
    write_fit(
        adata,
        request,
        source,
        result,
        params=params,
        info=of_space,
        of_variables=of_variables,
    )
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
