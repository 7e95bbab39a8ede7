"""Integrative NMF from disk, one mini-batch at a time."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from anndata import AnnData

from ..._adata.checkpoint import Checkpoint
from ..._adata.data_sets import Scaling, open_data, read_params
from ..._adata.keys import factor_keys
from ..._adata.read import Read
from ..._adata.write import keys_to_write
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ..._core.random import as_seed
from ..._core.validators import check_positive_int
from ...models.inmf.minibatches import MinibatchSampler
from ...models.inmf.online import OnlineSolver
from ...models.inmf.problem import Penalties
from ...models.inmf.start import start
from ...operators.threads import computing
from .checks import (
    check_data_sets,
    read_lam,
    read_weights,
    summarise_data,
    warn_about_data,
)
from .online import HeldOut, fit_and_write, resolve_data
from .validation import as_param, check_validation, split, validate_on

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._adata.data_sets import DataSets
    from ..._core.random import RNGLike
    from ...models.inmf.online import OnlineState
    from ...models.inmf.summary import DataSummary


@checked
@shared_docs
def online_inmf(
    data: AnnData
    | SpatialData
    | str
    | PathLike[str]
    | Mapping[str, AnnData | str | PathLike[str]],
    n_components: int = 20,
    *,
    batch_key: str | None = None,
    layer: str | None = None,
    mask_var: str | Sequence[str] | NDArray[np.bool_] | None = None,
    unshared: Mapping[str, str | Sequence[str] | NDArray[np.bool_]] | None = None,
    lam: float | Mapping[str, float] = 5.0,
    dataset_weights: Literal["cells", "equal"] = "cells",
    size_factors: str | NDArray[np.floating[Any]] | None = None,
    scale: bool = True,
    minibatch_size: int = 5000,
    n_epochs: int = 5,
    validation: float | str | None = None,
    scores: str | PathLike[str] | None = None,
    write_back: bool = False,
    checkpoint: str | PathLike[str] | None = None,
    chunk_size: int | None = None,
    rng: RNGLike = 0,
    key_added: str | None = None,
    copy: bool = False,
    table_key: str | None = None,
) -> AnnData | None:
    r"""Integrate data sets of any size from disk: online iNMF.

    The model of :func:`nonneg.tl.inmf`, fitted to mini-batches of cells
    :cite:p:`Gao2021`: memory hardly grows with the number of cells, and mostly less
    time is needed than in batch. Sums over cells, which forget older ones over about an
    epoch, stand for the cells that are not in memory. They are sums, not means of
    mini-batches as printed there, so that the objective is the same as in batch.

    All data are read once to scale them and to start; then `n_epochs` times in random
    order, pieces from all over the files being read ahead and shuffled; then once to
    score all cells. A model does not need its cells any more: add data sets that arrive
    later with :func:`nonneg.tl.online_inmf_update`.

    Parameters
    ----------
    data
        An AnnData (in memory, backed, or lazy), the path of an .h5ad or .zarr file, or
        a mapping of names of data sets to either. Sparse matrices in files must be CSR.
        Of a mapping, the variables that all have in common are used.
    n_components
        Number of components. Try 20 for one tissue, 40 to 50 for an atlas.
    batch_key
        Column of obs that names the data set of every cell; not for a mapping.
    %(integrated)s
    unshared
        Of an AnnData, in memory or backed: by data set, variables that it has and
        others lack, as in :func:`nonneg.tl.inmf`. Updates refuse such models.
    %(lam)s
    %(scaling)s
    minibatch_size
        Cells per step, in total; each data set has a share in proportion to its size.
    n_epochs
        How often all cells are visited. If `minibatch_size` is all of them, an epoch is
        three steps: take 20, or :func:`nonneg.tl.inmf`, which stops by itself.
    %(validation)s
    scores
        Where to write the scores of files or of a mapping: a new .h5ad or .zarr file,
        which is an AnnData of all cells with the model, without the data.
    write_back
        Store the scores in obsm of the files or objects that the cells come from: of
        all of them, or of none. An .h5ad file is copied for that, and the copy takes its
        place at the end, so that its folder needs room for it.
    checkpoint
        File that keeps the state of the fit. If it exists, the fit goes on from there:
        after an interruption, the same call gives what it would have given. One fit at a
        time may use it. If it cannot be written any more, there is a warning, and the
        fit goes on.
    %(chunk_size)s
    %(rng)s
    key_added
        Key under which to store the result instead of `inmf`.
    %(copy)s

    Returns
    -------
    `None`, or the annotated copy if `copy=True`. For files and mappings, a model: an
    AnnData without cells. Sets the following fields:

    `.obsm['X_inmf' | key_added]` : :class:`numpy.ndarray` (shape `(n_obs, n_components)`)
        Scores.
    %(inmf_fields)s
    `.uns['inmf' | key_added]` : :class:`dict`
        As :func:`nonneg.tl.inmf`, with `interrupted` in place of `converged`. The
        `objective` is an estimate after every epoch, and exact at last, for the scores
        that are stored; `iteration` are mini-batches until then, and `cells` those
        visited; `change` and `change_batch` are
        the relative change of :math:`W` in every mini-batch, and what arrived.
    %(validated)s

    Raises
    ------
    ValueError
        If there is one data set only, one has fewer cells than `n_components`, labels
        are missing, entries are negative or NaN, files are no AnnData or have no
        variable in common, a checkpoint belongs to another fit or is in use, or
        arguments clash.
    OSError
        If scores cannot be written, such as on a full disk. Files are as they were, and
        nothing half written is left; a checkpoint holds the fit.
    %(matrix_errors)s

    See Also
    --------
    nonneg.tl.inmf : in memory, until it has settled
    nonneg.tl.online_inmf_update : adds data sets to a model
    nonneg.tl.project : scores of other cells

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.batches()
    >>> nng.tl.online_inmf(adata, 6, batch_key="batch", size_factors="total")
    >>> adata.obsm["X_inmf"].shape
    (1300, 6)
    """
    n_components = check_positive_int(n_components, "n_components")
    check_positive_int(minibatch_size, "minibatch_size")
    check_positive_int(n_epochs, "n_epochs")
    if chunk_size is not None:
        check_positive_int(chunk_size, "chunk_size")
    check_validation(validation)
    seed = as_seed(rng)
    keys = factor_keys("inmf", key_added)
    source = resolve_data(
        data,
        scores=scores,
        write_back=write_back,
        checkpoint=checkpoint,
        copy=copy,
        table_key=table_key,
    )
    target = source if isinstance(source, AnnData) else None
    if target is not None:
        keys_to_write(target, "inmf", key_added)
    read = Read(layer=layer, mask_var=mask_var, chunk_size=chunk_size)
    scaling = Scaling(size_factors, scale)
    params = {
        "n_components": n_components,
        **read_params(batch_key, read, scaling),
        # A mapping has no column; a file of scores gets this one.
        "batch_key": "batch" if batch_key is None else batch_key,
        "dataset_weights": dataset_weights,
        "minibatch_size": int(minibatch_size),
        "validation": as_param(validation),
        "seed": seed,
    }
    with (
        computing(),
        closing(
            open_data(
                source,
                batch_key,
                read,
                size_factors,
                write=write_back,
                unshared=unshared,
            )
        ) as data_sets,
        ExitStack() as held,
    ):
        check_data_sets(data_sets, n_components)
        fitted, others = data_sets, None
        if validation is not None:
            others = split(data_sets, validation, n_components, adata=target, seed=seed)
            fitted = others.fitted
        penalties = Penalties(
            read_lam(lam, data_sets.names),
            read_weights(dataset_weights, fitted.n_cells),
        )
        saved = state = None
        if checkpoint is not None:
            made_by = {
                **params,
                **_arguments(fitted, penalties),
                # Stored cells are shuffled by blocks.
                "chunk_size": chunk_size,
            }
            # Before data are read: one that is in use, or of another fit, costs no pass.
            saved = Checkpoint(checkpoint, made_by)
            held.enter_context(saved.held())
            state = saved.load()
        summary = summarise_data(fitted, scaling, seed=seed)
        held_out = None
        if others is not None:
            found = validate_on(others, summary, scaling, penalties, seed)
            held_out = HeldOut(found, others)
        sampler = MinibatchSampler(summary.data, minibatch_size, seed)
        solver = OnlineSolver(sampler, summary.sample, penalties)
        if saved is not None:
            saved.confirm(_fingerprint(fitted, summary))
            _check_ahead(state, checkpoint, n_epochs, sampler.n_steps)
        if state is None:
            state = solver.begin(
                start(summary.sample, n_components, penalties, seed=seed, attempt=0)
            )
        warn_about_data(summary, fitted, scaling)
        result = fit_and_write(
            target,
            data_sets,
            solver,
            state,
            keys=keys,
            params={**params, "n_epochs": int(n_epochs)},
            n_epochs=n_epochs,
            scores=scores,
            write_back=write_back,
            checkpoint=saved,
            held_out=held_out,
        )
    return result if target is None or copy else None


def _check_ahead(
    state: OnlineState | None, path: Any, n_epochs: int, n_steps: int
) -> None:
    """Raise if more was done already than is asked for."""
    if state is not None and state.step > n_epochs * n_steps:
        msg = (
            f"checkpoint={str(path)!r} is {state.step} mini-batches ahead, which are more "
            f"than n_epochs={n_epochs} of {n_steps}. Ask for more epochs, or give another "
            "path."
        )
        raise ValueError(msg)


def _arguments(data_sets: DataSets, penalties: Penalties) -> dict[str, Any]:
    """What else tells a fit from others, before data are read."""
    names = "\n".join(data_sets.var_names.astype(str))
    return {
        "batches": data_sets.names,
        "n_cells": data_sets.n_cells.tolist(),
        "lam": penalties.lam.tolist(),
        "variables": hashlib.sha256(names.encode()).hexdigest(),
    }


def _fingerprint(data_sets: DataSets, summary: DataSummary) -> dict[str, Any]:
    """What tells the data of a fit from others."""
    data = summary.data
    return {
        # Data that are scaled have the same norm, whatever they are.
        "entries": [summary.stats[d].sq_norm for d in range(len(data_sets.names))],
        "sq_norm": np.asarray(data.sq_norm).tolist(),
        "gene_scale": np.asarray(data.gene_scale)
        .sum(axis=1, dtype=np.float64)
        .tolist(),
    }
