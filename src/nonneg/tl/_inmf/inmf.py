"""Integrative NMF of data sets in one AnnData."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..._adata.data_sets import Scaling, read_data, read_params
from ..._adata.integration import Integration, write_integration
from ..._adata.mosaic import resolve_mosaic
from ..._adata.read import Read
from ..._adata.write import keys_to_write
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ..._core.progress import progress
from ..._core.random import as_seed
from ..._core.text import counted
from ..._core.validators import check_at_least, check_one_of, check_positive_int
from ..._core.warnings import warn, warn_unfinished
from ...models.inmf.problem import Penalties
from ...models.inmf.solver import inmf as fit_inmf
from ...models.inmf.validation import Watch, without
from ...operators.threads import computing
from .checks import (
    check_data_sets,
    read_lam,
    read_weights,
    summarise_data,
    warn_about_data,
)
from .validation import (
    as_param,
    check_validation,
    score_others,
    split,
    table,
    validate_on,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from mudata import MuData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._core.random import RNGLike
    from ...models.inmf.problem import ScaledData
    from ...models.inmf.solver import INMFResult
    from .validation import Split


@checked
@shared_docs
def inmf(
    adata: AnnData | SpatialData | MuData | Mapping[str, AnnData],
    n_components: int = 20,
    *,
    batch_key: str,
    layer: str | None = None,
    mask_var: str | Sequence[str] | NDArray[np.bool_] | None = None,
    unshared: Mapping[str, str | Sequence[str] | NDArray[np.bool_]] | None = None,
    lam: float | Mapping[str, float] = 5.0,
    dataset_weights: Literal["cells", "equal"] = "cells",
    size_factors: str | NDArray[np.floating[Any]] | None = None,
    scale: bool = True,
    solver: Literal["hals", "anls", "mu"] = "hals",
    n_init: int = 1,
    tol: float = 1e-5,
    max_iter: int = 200,
    validation: float | str | None = None,
    chunk_size: int | None = None,
    rng: RNGLike = 0,
    key_added: str | None = None,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    r"""Integrate data sets: metagenes that they share, and what each has of its own.

    Integrates cells of several donors, technologies, conditions or modalities
    :cite:p:`Welch2019`: all cells get scores :math:`H_d` on the same factors, whose
    metagenes have a part :math:`W` in common and a part :math:`V_d` of each data set,

    .. math::

        \min_{W, V_d, H_d \ge 0} \sum_d \lVert X_d - H_d (W + V_d) \rVert^2
        + \lambda_d \lVert H_d V_d \rVert^2 .

    Cells of one kind then have similar scores whatever data set they come from;
    :func:`nonneg.tl.quantile_align` removes what is left of the difference. The
    updates are exact, so that the objective rises by rounding alone, in single precision by
    5e-7 of its value at most; it is computed without a dense residual, so that sparse data
    stay sparse. For data that do not fit in memory or
    that keep arriving, see :func:`nonneg.tl.online_inmf`.

    **Unshared variables.** Variables that only some data sets have, such as genes that a
    panel lacks or peaks between genes, take part as well :cite:p:`Kriebel2022`: they have
    a part of each data set that has them, and none in common. What they tell of the
    cells goes into the scores, and so into the shared metagenes. See `unshared`;
    mappings and MuData say by themselves what data sets share.

    Cells without counts are kept, with zero scores. Starting values are iterated on a
    random sample of the cells, drawn for each data set from the seed and its name: the
    order of the data sets does not matter.

    Parameters
    ----------
    adata
        Annotated data with non-negative entries, cells x genes. Or a mapping of names of
        data sets to AnnData, which may have partly different variables. Or a
        :class:`~mudata.MuData`, of which every data set has some modalities: those that
        all have are shared, others are not; normalise each modality before.
    n_components
        Number of components. Try 20 for one tissue, 40 to 50 for an atlas;
        :func:`nonneg.tl.inmf_search` compares numbers.
    batch_key
        Column of `obs` that names the data set of every cell. For a mapping, the column
        that names are written to.
    %(integrated)s
    unshared
        By data set, variables that it has and others lack: a boolean column of
        `adata.var`, an array, or their names. All others are shared. A variable of
        several data sets, but not all, is named for each. Entries of data sets without
        it must be zero, as in :func:`anndata.concat` with `join="outer"` and
        `fill_value=0`. Their metagenes are penalised like all specific ones, so that each
        counts 1 / (1 + `lam`) of what a shared one counts for the scores: try lower
        values of `lam` where they tell kinds of cells apart that shared ones do not.
    %(lam)s
    %(scaling)s
    solver
        `"hals"`, hierarchical alternating least squares :cite:p:`Cichocki2009` with
        extrapolation :cite:p:`Ang2019`: an iteration that would raise the objective is
        undone; `"anls"`, exact alternating non-negative least squares
        :cite:p:`Kim2011`, slower; `"mu"`, multiplicative updates :cite:p:`Lee2000`,
        much slower.
    n_init
        Number of random starts, of which the best is kept.
    tol
        Stop when an iteration that is not undone lowers the objective by at most `tol` of
        its value. A few hundred cells take little time with 1e-7, and gain from it.
    %(max_iter)s
    %(validation)s
    %(chunk_size)s
    %(rng)s
    key_added
        Key under which to store the result instead of `inmf`.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`; of a mapping, a new AnnData with all
    cells and variables, data sets sorted by name. Sets the following fields, of a MuData
    those of the object itself:

    `.obsm['X_inmf' | key_added]` : :class:`numpy.ndarray` (shape `(n_obs, n_components)`)
        Scores.
    %(inmf_fields)s
    `.uns['inmf' | key_added]` : :class:`dict`
        `params`, `batches`, the names of the data sets in the order of the arrays
        above, `lam`, `weight`, `n_cells` and `sq_norm` of each, `gram`, their
        :math:`H_d^T H_d`, the `objective` after every iteration and the `seconds` it
        took until then, without those of compiling, `cells`, how many were visited, `n_iter`, `converged`,
        `interrupted`. Factors are sorted by contribution.
    %(validated)s

    Raises
    ------
    ValueError
        If there is one data set only, one has fewer cells than `n_components`, labels
        are missing, entries are negative or NaN, no variable is shared, a data set has
        counts of what it is said to lack, or an argument does not suit.
    %(matrix_errors)s

    See Also
    --------
    nonneg.tl.online_inmf : from disk, or as data arrive
    nonneg.tl.quantile_align : scores without differences between data sets
    nonneg.tl.factor_markers : genes of the factors, shared and specific

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.batches()
    >>> nng.tl.inmf(adata, 6, batch_key="batch", size_factors="total")
    >>> adata.varm["inmf"].shape, adata.varm["inmf_specific"].shape
    ((300, 6), (300, 3, 6))

    Two data sets, one of which lacks the last 100 genes:

    >>> of = adata.obs["batch"]
    >>> both = {"all": adata[of == "batch_0"], "panel": adata[of == "batch_1", :200]}
    >>> joined = nng.tl.inmf(both, 6, batch_key="batch", size_factors="total")
    >>> joined.shape, joined.varm["inmf"][200:].max()
    ((1000, 300), np.float32(0.0))
    """
    n_components = check_positive_int(n_components, "n_components")
    check_one_of(solver, ("hals", "anls", "mu"), "solver")
    check_positive_int(n_init, "n_init")
    check_at_least(tol, 0, "tol")
    max_iter = check_positive_int(max_iter, "max_iter")
    if chunk_size is not None:
        check_positive_int(chunk_size, "chunk_size")
    check_validation(validation)
    seed = as_seed(rng)
    source, target, own, is_new = resolve_mosaic(
        adata,
        batch_key=batch_key,
        layer=layer,
        mask_var=mask_var,
        unshared=unshared,
        table_key=table_key,
        copy=copy,
    )
    if source is not target and size_factors is not None:
        msg = (
            f"size_factors={size_factors!r} would mix the modalities of a MuData, whose "
            "counts differ in kind. Normalise each, e.g. with `scanpy.pp.normalize_total`."
        )
        raise ValueError(msg)
    keys = keys_to_write(target, "inmf", key_added)
    read = Read(layer=layer, mask_var=mask_var, chunk_size=chunk_size)
    scaling = Scaling(size_factors, scale)
    with computing(), progress("inmf", None) as callback:
        data_sets = read_data(
            source,
            batch_key,
            # Modalities were taken from their layers.
            read if source is target else replace(read, layer=None),
            size_factors,
            unshared=own,
        )
        check_data_sets(data_sets, n_components)
        fitted, others = data_sets, None
        if validation is not None:
            others = split(data_sets, validation, n_components, adata=target, seed=seed)
            fitted = others.fitted
        penalties = Penalties(
            read_lam(lam, data_sets.names),
            read_weights(dataset_weights, fitted.n_cells),
        )
        summary = summarise_data(fitted, scaling, seed=seed)
        watch = None
        if others is not None:
            watch = Watch(validate_on(others, summary, scaling, penalties, seed))
        result = fit_inmf(
            summary,
            n_components,
            penalties,
            solver=solver,
            n_init=n_init,
            tol=tol,
            max_iter=max_iter,
            seed=seed,
            callback=callback,
            watch=watch,
        )
        trace = result.trace
        n_fitted = int(fitted.n_cells.sum())
        info: dict[str, Any] = {
            "objective": np.asarray(trace.objective),
            "seconds": np.asarray(trace.seconds),
            "cells": np.arange(1, len(trace.objective) + 1) * n_fitted,
            "n_iter": trace.n_iter,
            "converged": trace.converged,
            "interrupted": trace.interrupted,
        }
        if watch is not None and others is not None:
            info |= _validated(result, watch, others, penalties, summary.data)
    write_integration(
        target,
        keys,
        data_sets,
        Integration(
            loadings=result.loadings,
            statistics=result.statistics,
            gene_scale=np.asarray(summary.data.gene_scale),
            penalties=penalties,
            names=data_sets.names,
            n_cells=fitted.n_cells,
            sq_norm=np.asarray(summary.data.sq_norm),
            scores=result.scores,
        ),
        method="inmf",
        params={
            **read_params(batch_key, read, scaling),
            "dataset_weights": dataset_weights,
            "solver": solver,
            "n_init": int(n_init),
            "tol": float(tol),
            "max_iter": max_iter,
            "validation": as_param(validation),
            "seed": seed,
        },
        info=info,
    )
    # Last: a warning that is turned into an error must not cost the fit.
    _warn_about_fit(result, max_iter, tol)
    warn_about_data(summary, fitted, scaling)
    return target if copy or is_new else None


def _validated(
    result: INMFResult,
    watch: Watch,
    others: Split,
    penalties: Penalties,
    data: ScaledData,
) -> dict[str, Any]:
    """Score cells that were left out; what was found of them during the fit."""
    trace = result.trace
    looks = watch.of(trace.objective)
    seconds = without(trace.seconds, looks)
    last = score_others(
        watch.validation,
        result.loadings,
        others.positions,
        result.scores.__setitem__,
    )
    weight = np.asarray(penalties.weight, np.float64)
    whole = float(weight @ np.asarray(data.sq_norm, np.float64)) or 1.0
    found = [(look.iteration, look.objective, look.held_out) for look in looks]
    found.append((trace.n_iter, trace.objective[-1], last))
    return {
        "seconds": seconds,
        "validation": table(
            [(i, seconds[i - 1], value / whole, held) for i, value, held in found],
            int(others.fitted.n_cells.sum()),
            1,
        ),
        "n_held_out": others.others.n_cells,
    }


def _warn_about_fit(result: INMFResult, max_iter: int, tol: float) -> None:
    warn_unfinished(result.trace, max_iter=max_iter, tol=tol)
    n_dead = int((np.einsum("dkk->k", result.statistics.gram) == 0).sum())
    if n_dead:
        warn(
            f"{counted(n_dead, 'component', 'is', of=len(result.loadings.W))} empty: the data are "
            "explained by fewer. Use a smaller n_components."
        )
