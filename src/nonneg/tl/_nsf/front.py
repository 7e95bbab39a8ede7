"""What the models of the NSF family share around their solver."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..._adata.checks import check_n_components, check_nonnegative, warn_empty
from ..._adata.coordinates import fit_transform
from ..._adata.given import name_or_array
from ..._adata.places import read_places
from ..._adata.read import Read, read_matrix, resolve_adata
from ..._adata.size_factors import is_total, read_size
from ..._adata.write import keys_to_write
from ..._core.progress import progress
from ..._core.random import as_seed
from ..._core.validators import check_at_least, check_one_of, check_positive_int
from ..._core.warnings import warn, warn_unfinished
from ...models.nsf.gaussian import Gaussian, LinearGaussian
from ...models.nsf.likelihood import column_sq_norm
from ...models.nsf.negative_binomial import NegativeBinomial
from ...models.nsf.poisson import Poisson, PoissonMonteCarlo
from ...models.nsf.problem import Options, make_space
from ...models.nsf.solver import fit
from ...operators.dask import LazyOperator
from ...operators.device import on_accelerator, selected_devices
from ...operators.normalised import log_normalised
from ...operators.place import check_float64, to_devices
from ...operators.threads import computing
from .depth import totals_explained, warn_of_depth
from .empty_fields import warn_of_empty_fields
from .foretold import warn_of_foretold
from .start_order import by_morans_i
from .store import spatial_info, write_fit

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._adata.read import MatrixInput
    from ..._adata.size_factors import SizeFactors
    from ..._adata.write import Write
    from ..._core.random import RNGLike
    from ...models.nsf.likelihood import Likelihood
    from ...models.nsf.problem import Space
    from ...models.nsf.result import NSFResult
    from ...operators.protocol import MatrixOperator
    from ...operators.stats import MatrixStats


type LikelihoodName = Literal["poisson", "negative_binomial", "gaussian"]

type Estimator = Literal["deterministic", "monte_carlo"]

type Method = Literal["nsf", "nsfh", "pnmf", "rsf", "fa"]

_LIKELIHOODS = ("poisson", "negative_binomial", "gaussian")

_KERNELS = ("matern32", "matern52", "rbf")

# With up to so many locations, all are inducing points: a fit then takes up to half a
# minute. Others have this number, since time grows with its cube.
_ALL_INDUCING, _MANY_INDUCING = 1500, 1000

# Of priors of logarithms of factors: exponentials of larger deviations are no numbers.
_AMPLITUDES = (1e-6, 1e3)

_N_SAMPLES = 3


@dataclass(frozen=True)
class FamilyMember:
    """What tells the models of the family apart."""

    linear: bool = False
    """Whether factors are real-valued, of log-normalised data."""
    hybrid: bool = False
    """Whether some factors are spatial and others are not, and shares are stored."""


FAMILY: dict[Method, FamilyMember] = {
    "nsf": FamilyMember(),
    "nsfh": FamilyMember(hybrid=True),
    "pnmf": FamilyMember(),
    "rsf": FamilyMember(linear=True),
    "fa": FamilyMember(linear=True),
}


@dataclass(frozen=True)
class Choices:
    """The arguments that describe a model, and how it is fitted."""

    n_components: int
    n_spatial: int
    options: Options
    likelihood: LikelihoodName = "gaussian"
    estimator: Estimator = "deterministic"
    size_factors: SizeFactors = "total"
    log_normalized: bool = False
    spatial_key: str | None = None
    library_key: str | None = None
    n_inducing: int | None = None


def fit_factors(
    data: AnnData | SpatialData,
    method: Method,
    choices: Choices,
    *,
    read: Read,
    write: Write,
    rng: RNGLike,
) -> AnnData | None:
    """Read matrix and coordinates, fit, store."""
    _check(choices)
    member, options = FAMILY[method], choices.options
    seed = as_seed(rng)
    adata = resolve_adata(data, table_key=write.table_key, copy=write.copy)
    keys = keys_to_write(adata, method, write.key_added)
    coords, section, names = read_places(
        adata,
        choices.spatial_key if choices.n_spatial else None,
        choices.library_key,
        hint="Spatial models need coordinates.",
    )
    transform = None if coords is None else fit_transform(coords, section, names)
    with computing(), progress(method, None) as callback:
        source = read_matrix(adata, read)
        put = _placement(source)
        check_n_components(choices.n_components, source.op.shape)
        stats = source.op.stats()
        _check_values(adata, choices, source, stats)
        size, median = read_size(adata, choices.size_factors, stats)
        op, center = source.op, None
        if member.linear:
            if not choices.log_normalized:
                op = log_normalised(source.op, size, source.where)
            center = op.stats().col_sums / op.shape[0]
        size = np.where(size > 0, size, 1).astype(np.float32)
        likelihood = _likelihood(choices, op, size, center, seed)
        space: Space | None = None
        options = replace(options, seed=seed)
        if transform is not None:
            assert coords is not None
            scaled = transform(coords, section)
            options = _scaled_options(choices, scaled, section, seed, transform.scale)
            space = make_space(scaled, section, options, stats.row_sums)
        result = fit(
            likelihood,
            space,
            size,
            choices.n_components,
            n_spatial=choices.n_spatial,
            options=options,
            order=by_morans_i(coords, section)
            if member.hybrid and choices.n_spatial
            else None,
            put=put,
            callback=callback,
        )
    of_variables: dict[str, NDArray[Any]] = {}
    if center is not None:
        of_variables["center"] = center
    if choices.likelihood != "gaussian":
        of_variables["dispersion"] = result.noise
    info: dict[str, Any] = {"totals_explained": _depth(choices, stats, result)}
    if space is not None:
        assert transform is not None
        info |= spatial_info(result, space, transform)
    write_fit(
        adata,
        keys,
        method,
        source,
        result,
        linear=member.linear,
        hybrid=member.hybrid,
        params={
            **_record(choices),
            **source.source,
            "size_median": median,
            "n_inducing": 0 if space is None else len(space.layout.inducing),
            "seed": seed,
        },
        info=info,
        of_variables=of_variables,
    )
    _report(choices, source, stats, result)
    if choices.n_spatial:
        warn_of_depth(info["totals_explained"], method)
    if 0 < choices.n_spatial < choices.n_components and not result.trace.interrupted:
        entry = adata.uns[keys.uns]
        warn_of_empty_fields(
            entry["mass"], entry["is_spatial"], float(result.kernels.temperature)
        )
        if result.kriged is not None:
            n_others = choices.n_components - choices.n_spatial
            warn_of_foretold(
                result.kriged.foretold[-n_others:],
                len(result.kriged.mean),
                keys.uns,
                choices.n_spatial,
            )
    return adata if write.copy else None


def _depth(choices: Choices, stats: MatrixStats, result: NSFResult) -> float | None:
    """How far factors follow totals, where these are size factors."""
    if choices.likelihood == "gaussian" or not is_total(choices.size_factors):
        return None
    return totals_explained(stats.row_sums, result.mean)


def _record(choices: Choices) -> dict[str, Any]:
    """The choices as they are stored with a fit."""
    options, given = choices.options, choices.size_factors
    return {
        "n_components": choices.n_components,
        "n_spatial": choices.n_spatial,
        "likelihood": choices.likelihood,
        "estimator": choices.estimator,
        "size_factors": name_or_array(given),
        "log_normalized": choices.log_normalized,
        "spatial_key": choices.spatial_key,
        "library_key": choices.library_key,
        "kernel": options.kernel,
        "trend": options.trend,
        "n_neighbors": options.n_neighbors,
        "learning_rate": float(options.learning_rate),
        "tol": float(options.tol),
        "max_iter": options.max_iter,
    }


def _check(choices: Choices) -> None:
    n_components = check_positive_int(choices.n_components, "n_components")
    if not 0 <= choices.n_spatial <= n_components:
        msg = (
            f"n_spatial={choices.n_spatial} must be between 0 and "
            f"n_components={n_components}."
        )
        raise ValueError(msg)
    options = choices.options
    check_one_of(choices.likelihood, _LIKELIHOODS, "likelihood")
    check_one_of(options.kernel, _KERNELS, "kernel")
    check_one_of(options.trend, ("linear", "constant"), "trend")
    check_one_of(choices.estimator, ("deterministic", "monte_carlo"), "estimator")
    if choices.estimator == "monte_carlo" and choices.likelihood != "poisson":
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
    low, high = _AMPLITUDES
    if options.amplitude is not None and not low <= options.amplitude <= high:
        msg = (
            f"amplitude={options.amplitude!r} must be from {low:g} to {high:g}: it is the "
            "standard deviation of logarithms."
        )
        raise ValueError(msg)
    if options.temperature is not None:
        check_at_least(options.temperature, 1, "temperature")
    if not 0 <= options.nugget < np.inf:
        msg = f"nugget={options.nugget!r} must be at least 0 and finite."
        raise ValueError(msg)
    if choices.n_inducing is not None:
        check_positive_int(choices.n_inducing, "n_inducing")


def _check_values(
    adata: AnnData, choices: Choices, source: MatrixInput, stats: MatrixStats
) -> None:
    check_nonnegative(stats, source.where)
    if choices.likelihood == "gaussian":
        return
    if not stats.integer:
        logs = source.where == "adata.X" and "log1p" in adata.uns
        reason = " (perhaps logarithms: there is adata.uns['log1p'])" if logs else ""
        layers = [
            name
            for name in adata.layers.keys()  # noqa: SIM118
            if name is not None and f"adata.layers[{name!r}]" != source.where
        ]
        there = f": there are {layers}" if layers else ""
        warn(
            f"{source.where} holds values that are not integers{reason}, but the likelihood "
            f"is of counts. Name the layer with raw counts{there}, or use "
            "likelihood='gaussian'."
        )


def _placement(source: MatrixInput) -> Callable[[Any], Any]:
    """What moves arrays to where the fit runs: the device, if the data are there."""
    if not on_accelerator():
        return np.asarray
    if source.op.traceable:
        check_float64(np.dtype(np.float64), selected_devices()[0])
        return to_devices
    if isinstance(source.op, LazyOperator):
        # On a cluster, whose workers have no device: that was told when it was read.
        return np.asarray
    warn(
        f"{source.where} is streamed: its products run on the device that was "
        "selected, and factors stay on the host. Read it with `adata.to_memory()` to "
        "have all of the fit on the device."
    )
    return np.asarray


def _likelihood(
    choices: Choices,
    op: MatrixOperator,
    size: NDArray[np.floating[Any]],
    center: NDArray[np.float64] | None,
    seed: int,
) -> Likelihood:
    if center is not None:
        return LinearGaussian(op, column_sq_norm(op), center)
    kinds: dict[tuple[LikelihoodName, Estimator], Callable[[], Likelihood]] = {
        ("poisson", "deterministic"): lambda: Poisson(op, size),
        ("poisson", "monte_carlo"): lambda: PoissonMonteCarlo(
            op, size, _N_SAMPLES, seed
        ),
        ("negative_binomial", "deterministic"): lambda: NegativeBinomial(op, size),
        ("gaussian", "deterministic"): lambda: Gaussian(op, column_sq_norm(op)),
    }
    return kinds[choices.likelihood, choices.estimator]()


def _scaled_options(
    choices: Choices,
    coords: NDArray[np.float64],
    section: NDArray[np.intp],
    seed: int,
    scale: float,
) -> Options:
    """Options in scaled coordinates, with a number of inducing points."""
    n_locations = len(np.unique(np.column_stack([section, coords]), axis=0))
    n_inducing = choices.n_inducing
    if n_inducing is None:
        n_inducing = n_locations if n_locations <= _ALL_INDUCING else _MANY_INDUCING
    length_scale = choices.options.length_scale
    return replace(
        choices.options,
        n_inducing=n_inducing,
        seed=seed,
        length_scale=None if length_scale is None else length_scale * scale,
    )


def _report(
    choices: Choices, source: MatrixInput, stats: MatrixStats, result: NSFResult
) -> None:
    options = choices.options
    if result.search_interrupted:
        warn(
            "Interrupted while the kernel was chosen: the best one so far, and factors "
            "after one iteration with it, are stored."
        )
    else:
        warn_unfinished(result.trace, max_iter=options.max_iter, tol=options.tol)
    warn_empty(stats, source.where, of_obs=None, of_vars="loadings")
