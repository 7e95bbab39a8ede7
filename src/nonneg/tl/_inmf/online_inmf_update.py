"""Data sets that arrive after a fit."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData

from ..._adata.data_sets import Scaling, open_mapping
from ..._adata.given import was_array
from ..._adata.integration import integration_entry, read_changes, read_integration
from ..._adata.keys import FactorKeys
from ..._adata.labels import as_text
from ..._adata.read import Read
from ..._core.arguments import checked
from ..._core.docs import shared_docs
from ..._core.random import as_seed
from ..._core.validators import check_positive_int
from ..._core.warnings import warn
from ...models.inmf.minibatches import MinibatchSampler
from ...models.inmf.online import OnlineSolver
from ...models.inmf.problem import Loadings, Penalties, SufficientStatistics
from ...models.inmf.start import random_cells, refine, unit_rows
from ...operators.threads import computing
from .._project.project import choose_layer
from .checks import (
    check_sizes,
    read_lam,
    read_weights,
    summarise_data,
    warn_about_data,
)
from .online import fit_and_write, resolve_data

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import NDArray

    from ..._adata.data_sets import DataSets
    from ..._adata.integration import Integration
    from ..._adata.schema import IntegrationEntry
    from ..._core.random import RNGLike
    from ...models.inmf.summary import DataSummary


# Parameters of the reference that do not apply to an update.
_OF_THE_FIT = {"version", "validation"}


@checked
@shared_docs
def online_inmf_update(
    reference: AnnData,
    data: AnnData | str | PathLike[str] | Mapping[str, AnnData | str | PathLike[str]],
    *,
    batch: str | None = None,
    key: str = "inmf",
    layer: str | None = None,
    lam: float | None = None,
    size_factors: str | None = None,
    minibatch_size: int = 5000,
    n_epochs: int = 1,
    keep_history: bool | None = None,
    scores: str | PathLike[str] | None = None,
    write_back: bool = False,
    chunk_size: int | None = None,
    rng: RNGLike = 0,
    copy: bool = False,
) -> AnnData | None:
    """Refine an integration by a data set that has just arrived.

    The old cells are not needed: the sums that are stored with the model stand for
    them, with their full weight. Shared metagenes move as far as the new cells ask for
    it; what is specific to the old data sets stays :cite:p:`Gao2021`. More cells of a
    data set that the model knows are added to it: the same cells again would count twice.
    `reference` is not changed; one
    without cells, such as a model that was read from a file, is enough.

    Scores of old cells belong to the old metagenes: compute them again with
    ``nonneg.tl.project(old, updated, key="inmf", batch_key=...)``.

    Parameters
    ----------
    reference
        Annotated data or model with an integration.
    data
        The new data set, an AnnData or a path, with all variables of the integration;
        or a mapping of names to several.
    batch
        Name of the new data set; not for a mapping.
    key
        Key of the integration, under which the new one is stored as well.
    layer
        Layer to use instead of `X`; by default the one that was fitted.
    lam
        Weight of the penalty of data sets that are new; known ones keep theirs. `None`:
        the mean of the others'.
    size_factors
        Per-cell size factors: `"total"`, or a column of obs. `None`: as in the fit.
    minibatch_size
        Cells per step. Small ones (20 to 100) leave noise: they show, in
        :func:`nonneg.pl.shared_change`, how a fit takes in a few hundred cells, and end above
        the default.
    n_epochs
        How often the new cells are visited.
    keep_history
        Keep the shared metagenes of `reference` beside the new ones, for
        :func:`nonneg.pl.shared_history`. `None`: if `reference` has some of before.
    scores, write_back
        Where to put scores of files and mappings, as in
        :func:`nonneg.tl.online_inmf`.
    %(chunk_size)s
    %(rng)s
    copy
        Return an annotated copy instead of annotating an AnnData.

    Returns
    -------
    `None`, or the annotated copy if `copy=True`: `data` with its scores and the model
    of all data sets. For files and mappings, the model, without cells. Fields are those
    of :func:`nonneg.tl.online_inmf`; `change` goes on from that of `reference`, and
    `objective` is that of all data sets, at the end alone. `validation` and `n_held_out` of
    `reference` are of the metagenes before: they are not copied, and a warning says so. With
    `keep_history` also

    `.varm['inmf_history' | key + '_history']` : :class:`numpy.ndarray` (shape `(n_vars, n_fits, n_components)`)
        Shared metagenes of the first model and after every update, all in the scale of the
        present ones. `.uns[key]["history_batch"]` names what had arrived.

    Raises
    ------
    KeyError
        If `reference` holds no factorization under the key.
    ValueError
        If that is no integration, variables are missing, the name is missing, a data
        set has fewer cells than there are components, or the data do not suit.
    OSError
        If scores cannot be written. Files and `reference` are as they were.

    See Also
    --------
    nonneg.tl.online_inmf : fits the first model
    nonneg.tl.project : scores without changing the metagenes

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.batches()
    >>> new = adata.obs["batch"] == "batch_2"
    >>> first, last = adata[~new].copy(), adata[new].copy()
    >>> nng.tl.online_inmf(first, 6, batch_key="batch", size_factors="total")
    >>> model = first[:0].copy()
    >>> nng.tl.online_inmf_update(model, last, batch="batch_2")
    >>> last.uns["inmf"]["batches"].tolist()
    ['batch_0', 'batch_1', 'batch_2']
    """
    check_positive_int(minibatch_size, "minibatch_size")
    check_positive_int(n_epochs, "n_epochs")
    if chunk_size is not None:
        check_positive_int(chunk_size, "chunk_size")
    seed = as_seed(rng)
    before, genes, factors = read_integration(reference, key)
    fitted = factors.entry.params
    entry = integration_entry(factors)
    if entry.projected is not None and entry.projected < 1:
        msg = (
            f"key={key!r} was projected on an AnnData that lacks some of its variables. "
            "Use the integration that was fitted."
        )
        raise ValueError(msg)
    if (before.gene_scale == 0).any():
        msg = (
            f"key={key!r} has variables that some data sets lack, which updates do not "
            "know. Fit all data sets together with `nonneg.tl.inmf`."
        )
        raise ValueError(msg)
    if size_factors is None and was_array(fitted["size_factors"]):
        msg = (
            "The integration was fitted with an array of size_factors, of its own cells. "
            "Name a column of obs of the new data, or 'total', with `size_factors`."
        )
        raise ValueError(msg)
    source = resolve_data(
        data, scores=scores, write_back=write_back, copy=copy, table_key=None
    )
    target = source if isinstance(source, AnnData) else None
    named = _name(source, batch)
    read = Read(
        layer=choose_layer(target, fitted["layer"], layer), chunk_size=chunk_size
    )
    scaling = Scaling(
        fitted["size_factors"] if size_factors is None else size_factors,
        fitted["scale"],
    )
    with (
        computing(),
        closing(
            open_mapping(
                named, read, scaling.size_factors, genes=genes, write=write_back
            )
        ) as arriving,
    ):
        known, data_sets = _extend(before, arriving)
        kept: dict[str, Any] = {}
        if keep_history or (keep_history is None and before.history is not None):
            known, kept = _keep(known, before, entry, " + ".join(named))
        else:
            known = known._replace(history=None)
        check_sizes(data_sets, len(before.loadings.W), known=before.names)
        penalties = _penalties(known, data_sets, lam, fitted["dataset_weights"])
        summary = summarise_data(
            data_sets, scaling, seed=seed, gene_scale=known.gene_scale
        )
        active = data_sets.n_cells > 0
        solver = OnlineSolver(
            MinibatchSampler(summary.data, minibatch_size, seed),
            summary.sample,
            penalties,
            known=known.statistics,
            active=active,
        )
        loadings = refine(
            summary.sample,
            _begin(known, summary, seed),
            penalties,
            known=known.statistics,
            active=active,
        )
        if target is not None:
            positions = target.var_names.get_indexer(genes)
            data_sets = replace(data_sets, var_names=target.var_names, used=positions)
        warn_about_data(summary, data_sets, scaling)
        if entry.validation is not None:
            warn(
                f"The objective of held-out cells, `validation` of key={key!r}, is of the "
                "fit before: it is not updated, and stays with `reference` only."
            )
        result = fit_and_write(
            target,
            data_sets,
            solver,
            solver.begin(loadings),
            keys=FactorKeys(factors.keys.obsm, factors.keys.varm, key),
            params={
                **{k: v for k, v in fitted.items() if k not in _OF_THE_FIT},
                "batch_key": fitted["batch_key"],
                "minibatch_size": int(minibatch_size),
                "n_epochs": int(n_epochs),
                "seed": seed,
            },
            n_epochs=n_epochs,
            scores=scores,
            write_back=write_back,
            before=known,
            history={
                "label": " + ".join(named),
                **_history(entry, factors.keys.uns),
                **kept,
            },
        )
    return result if target is None or copy else None


def _name(data: Any, batch: str | None) -> dict[str, Any]:
    """The data sets that arrive, by name."""
    if isinstance(data, Mapping):
        if batch is not None:
            msg = f"batch={batch!r} does not apply to a mapping, which has names."
            raise ValueError(msg)
        return {str(name): one for name, one in data.items()}
    if not isinstance(batch, str) or not batch:
        msg = "Give the data set that arrives a name, `batch`."
        raise ValueError(msg)
    return {batch: data}


def _extend(before: Integration, data_sets: DataSets) -> tuple[Integration, DataSets]:
    """What is known, and what arrives, for all data sets together."""
    names = sorted({*before.names, *data_sets.names})
    old = [names.index(name) for name in before.names]
    new = [names.index(name) for name in data_sets.names]

    def spread(x: NDArray[Any], empty: float = 0.0) -> NDArray[Any]:
        out = np.full((len(names), *x.shape[1:]), empty, x.dtype)
        out[old] = x
        return out

    known = before._replace(
        loadings=before.loadings._replace(V=spread(before.loadings.V)),
        statistics=SufficientStatistics(
            *(spread(np.asarray(x)) for x in before.statistics)
        ),
        gene_scale=spread(before.gene_scale, np.nan),
        penalties=Penalties(*(spread(x, np.nan) for x in before.penalties)),
        names=names,
        n_cells=spread(before.n_cells),
        sq_norm=spread(before.sq_norm),
    )
    n_cells = np.zeros(len(names), np.int64)
    n_cells[new] = data_sets.n_cells
    parts = [replace(part, batch=new[part.batch]) for part in data_sets.parts]
    return known, replace(data_sets, parts=parts, names=names, n_cells=n_cells)


def _penalties(
    known: Integration, data_sets: DataSets, lam: float | None, dataset_weights: str
) -> Penalties:
    mean = float(np.nanmean(known.penalties.lam))
    new = read_lam(mean if lam is None else lam, known.names)
    return Penalties(
        np.where(np.isnan(known.penalties.lam), new, known.penalties.lam),
        read_weights(dataset_weights, known.n_cells + data_sets.n_cells),
    )


def _begin(known: Integration, summary: DataSummary, seed: int) -> Loadings:
    """The stored metagenes, and cells of data sets that are new as specific metagenes."""
    loadings = Loadings(*(np.array(x, summary.data.dtype) for x in known.loadings))
    for part in summary.sample.parts:
        d = part.batch
        assert isinstance(d, int)
        if known.n_cells[d] == 0:
            loadings.V[d] = unit_rows(
                random_cells(summary.sample, part, len(loadings.W), seed)
            )
    return loadings


def _keep(
    known: Integration, before: Integration, entry: IntegrationEntry, label: str
) -> tuple[Integration, dict[str, Any]]:
    """With the shared metagenes until now, and the names of what arrived."""
    history, names = before.history, as_text(entry.history_batch).tolist()
    if history is None:
        history, names = before.loadings.W[None], [" + ".join(before.names)]
    kept = {"history_batch": np.array([*names, label], dtype=object)}
    return known._replace(history=history), kept


def _history(entry: IntegrationEntry, key: str) -> dict[str, Any]:
    if entry.change is None:
        return {}
    change, arriving = read_changes(entry, key)
    return {"change": change, "change_batch": arriving.astype(object)}
