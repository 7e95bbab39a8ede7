"""Scores of new cells on the metagenes of an integration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..._adata.checks import check_unique_names
from ..._adata.data_sets import Scaling, read_data
from ..._adata.given import ARRAY, was_array
from ..._adata.integration import read_integration, write_integration
from ..._adata.read import Read
from ..._adata.scores import ScoresInMemory
from ..._core.text import conjugated, counted
from ..._core.warnings import warn
from ...models.inmf.loadings import objectives
from ...models.inmf.problem import Loadings
from ...models.inmf.scores import exact_scores
from ...operators.threads import computing
from .._inmf.checks import summarise_data

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._adata.data_sets import DataSets
    from ..._adata.integration import Integration
    from ..._adata.keys import FactorKeys


def project_integration(
    target: AnnData,
    reference: AnnData,
    keys: FactorKeys,
    *,
    key: str,
    batch_key: str | None,
    layer: str | None,
    chunk_size: int | None,
) -> None:
    """Score the cells of ``target`` and store them with the model."""
    known, genes, factors = read_integration(reference, key)
    fitted = factors.entry.params
    check_unique_names(target.var_names, "Variables of adata")
    positions = target.var_names.get_indexer(genes)
    there = positions >= 0
    if not there.any():
        msg = (
            f"adata and the reference share no variable with loadings: "
            f"{list(target.var_names[:3])} … against {list(genes[:3])} …. Use the same "
            "names in both."
        )
        raise ValueError(msg)
    if was_array(fitted["size_factors"]) and ARRAY not in target.obs:
        msg = (
            "The integration was fitted with an array of size_factors, of its own cells. "
            f"Store those of adata as adata.obs[{ARRAY!r}]."
        )
        raise ValueError(msg)
    # In the order of the target, of which they are a mask.
    found = np.flatnonzero(there)
    found = found[np.argsort(positions[found])]
    mask = np.zeros(target.n_vars, bool)
    mask[positions[found]] = True
    read = Read(
        layer=layer, mask_var=None if mask.all() else mask, chunk_size=chunk_size
    )
    scaling = Scaling(fitted["size_factors"], fitted["scale"])
    with computing():
        data_sets = read_data(target, batch_key, read, scaling.size_factors)
        loadings, gene_scale, lam = _of_labels(known, data_sets.names, found)
        summary = summarise_data(data_sets, scaling, seed=0, gene_scale=gene_scale)
        sink = ScoresInMemory(target.n_obs, len(loadings.W))
        statistics = exact_scores(
            summary.data,
            loadings,
            lam,
            lambda block, new: sink.write(block.rows, np.asarray(new)),
        )
    value = objectives(summary.data.sq_norm, loadings, statistics, lam)
    share = (
        np.square(known.loadings.W[:, there]).sum() / np.square(known.loadings.W).sum()
    )
    stored = known._replace(
        loadings=Loadings(*(x[..., found] for x in known.loadings)),
        statistics=known.statistics._replace(
            product=known.statistics.product[..., found]
        ),
        gene_scale=known.gene_scale[:, found],
        scores=sink.scores,
        history=None,
    )
    kept = {"n_components", "version"}
    write_integration(
        target,
        keys,
        data_sets,
        stored,
        method=factors.entry.method,
        params={
            **{name: value for name, value in fitted.items() if name not in kept},
            "layer": layer,
            "batch_key": batch_key,
        },
        info={"projected": float(share), "projected_objective": float(value.sum())},
    )
    _warn_about_names(
        data_sets, known.names, batch_key, int((~there).sum()), genes.size
    )
    if summary.n_empty:
        warn(
            f"{data_sets.where} has {counted(summary.n_empty, 'cell')} that "
            f"{conjugated(summary.n_empty, 'is')} all zero; "
            f"{'its' if summary.n_empty == 1 else 'their'} scores are zero."
        )


def _of_labels(
    known: Integration, names: list[str], found: NDArray[np.intp]
) -> tuple[Loadings, NDArray[Any], NDArray[Any]]:
    """Loadings, scales and penalties of data sets by name; new ones have no own part."""
    rank, n_vars = known.loadings.W.shape
    own = np.zeros((len(names), rank, n_vars), known.loadings.W.dtype)
    scale = np.full((len(names), n_vars), np.nan)
    lam = np.zeros(len(names))
    for d, name in enumerate(names):
        if name in known.names:
            i = known.names.index(name)
            own[d], scale[d] = known.loadings.V[i], known.gene_scale[i]
            lam[d] = known.penalties.lam[i]
    return Loadings(known.loadings.W[:, found], own[..., found]), scale[:, found], lam


def _warn_about_names(
    data_sets: DataSets, known: list[str], batch_key: str | None, n_missing: int, n: int
) -> None:
    unknown = [name for name in data_sets.names if name not in known]
    if batch_key is not None and unknown:
        warn(
            f"The integration does not know {unknown}; there are {known}. Their cells "
            "are scored on the shared metagenes alone."
        )
    if n_missing:
        warn(
            f"{n_missing} of the {n} variables with loadings {conjugated(n_missing, 'is')} not "
            "in adata; scores "
            "are those that explain the others best."
        )
