"""Integrative NMF from disk, one mini-batch at a time."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..._adata.checkpoint import Checkpoint
from ..._adata.keys import factor_keys
from ..._adata.sources import Choice
from ..._core.docs import shared_docs
from ..._core.random import as_seed
from ..._core.validators import check_positive_int
from ...models.inmf.minibatches import Plan
from ...models.inmf.online import Arrival, begin
from ...models.inmf.problem import Penalties
from ...models.inmf.start import start
from ...operators.threads import computing
from .checks import check_batches, look_at, read_lam, read_weights, report
from .online import Task, read, resolve, run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._adata.sources import Batches
    from ..._core.random import RNGLike
    from ...models.inmf.online import OnlineState
    from ...models.inmf.summary import Survey


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
    lam: float | Mapping[str, float] = 5.0,
    dataset_weights: Literal["cells", "equal"] = "cells",
    size_factors: str | NDArray[np.floating[Any]] | None = None,
    scale: bool = True,
    minibatch_size: int = 5000,
    n_epochs: int = 5,
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
        Number of components.
    batch_key
        Column of obs that names the data set of every cell; not for a mapping.
    %(integrated)s
    %(lam)s
    %(scaling)s
    minibatch_size
        Cells per step, in total; each data set has a share in proportion to its size.
    n_epochs
        How often all cells are visited.
    scores
        Where to write the scores of files or of a mapping: a new .h5ad or .zarr file,
        which is an AnnData of all cells with the model, without the data.
    write_back
        Store the scores in obsm of the files or objects that the cells come from.
    checkpoint
        File that keeps the state of the fit. If it exists, the fit goes on from there:
        after an interruption, the same call gives what it would have given.
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
        that are stored; `change` and `change_batch` are
        the relative change of :math:`W` in every mini-batch, and what arrived.

    Raises
    ------
    ValueError
        If there is one data set only, one has fewer cells than `n_components`, labels
        are missing, entries are negative or NaN, files are no AnnData or have no
        variable in common, a checkpoint belongs to another fit, or arguments clash.
    %(matrix_errors)s

    See Also
    --------
    nonneg.tl.inmf : in memory, to any accuracy
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
    seed = as_seed(rng)
    keys = factor_keys("inmf", key_added)
    destination = resolve(
        data, scores=scores, write_back=write_back, copy=copy, table_key=table_key
    )
    choice = Choice(batch_key, layer, mask_var, size_factors, scale, chunk_size)
    params = {
        "n_components": n_components,
        **choice.record,
        # A mapping has no column; a file of scores gets this one.
        "batch_key": "batch" if batch_key is None else batch_key,
        "dataset_weights": dataset_weights,
        "minibatch_size": int(minibatch_size),
        "seed": seed,
    }
    with computing():
        batches = read(destination, choice)
        try:
            check_batches(batches, n_components)
            penalties = Penalties(
                read_lam(lam, batches.names),
                read_weights(dataset_weights, batches.n_cells),
            )
            found = look_at(batches, choice, seed=seed)
            keeper, state = None, None
            if checkpoint is not None:
                about = _fingerprint(batches, penalties, found)
                keeper = Checkpoint(checkpoint, {**params, **about})
                state = keeper.load()
                _check_ahead(state, checkpoint, n_epochs, found, minibatch_size)
            if state is None:
                state = begin(
                    start(found.sample, n_components, penalties, seed=seed, attempt=0)
                )
            report(found, batches, choice)
            arrival = Arrival(
                Plan(found.data, minibatch_size, seed), found.sample, penalties
            )
            result = run(
                Task(
                    destination,
                    batches,
                    arrival,
                    keys,
                    {**params, "n_epochs": int(n_epochs)},
                    n_epochs,
                    checkpoint=keeper,
                ),
                state,
            )
        finally:
            batches.close()
    return result


def _check_ahead(
    state: OnlineState | None, path: Any, n_epochs: int, found: Survey, size: int
) -> None:
    """Raise if more was done already than is asked for."""
    n_steps = Plan(found.data, size, 0).n_steps
    if state is not None and state.step > n_epochs * n_steps:
        msg = (
            f"checkpoint={str(path)!r} is {state.step} mini-batches ahead, which are more "
            f"than n_epochs={n_epochs} of {n_steps}. Ask for more epochs, or give another "
            "path."
        )
        raise ValueError(msg)


def _fingerprint(
    batches: Batches, penalties: Penalties, found: Survey
) -> dict[str, Any]:
    """What else tells a fit from others."""
    names = "\n".join(batches.var_names.astype(str))
    data = found.data
    return {
        "batches": batches.names,
        "n_cells": batches.n_cells.tolist(),
        "lam": penalties.lam.tolist(),
        # Data that are scaled have the same norm, whatever they are.
        "entries": [found.stats[d].sq_norm for d in range(len(batches.names))],
        "sq_norm": data.sq_norm.tolist(),
        "gene_scale": data.gene_scale.sum(axis=1, dtype=np.float64).tolist(),
        "variables": hashlib.sha256(names.encode()).hexdigest(),
    }
