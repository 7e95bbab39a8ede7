"""Scores of new cells on the metagenes of an integration."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._adata.checks import check_unique_names
from ..._adata.integration import read_integration, write_integration
from ..._adata.labels import read_sections
from ..._adata.read import select_matrix
from ..._adata.size_factors import read_totals
from ..._adata.sources import Batches, Choice, split_by_batch
from ..._core.warnings import warn
from ...models.inmf.loadings import objectives
from ...models.inmf.problem import Model
from ...models.inmf.scores import solve
from ...operators.choose import as_operator
from ...operators.threads import computing
from .._inmf.checks import look_at

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._adata.integration import Integration
    from ..._adata.keys import FactorKeys
    from ...models.inmf.problem import Block


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
    fitted = factors.info["params"]
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
    if fitted["size_factors"] == "array" and "array" not in target.obs:
        msg = (
            "The integration was fitted with an array of size_factors, of its own cells. "
            "Store those of adata as adata.obs['array']."
        )
        raise ValueError(msg)
    codes, names = read_sections(target, batch_key)
    model, gene_scale, lam = _of_labels(known, [str(name) for name in names], there)
    choice = Choice(
        batch_key, layer, None, fitted["size_factors"], fitted["scale"], chunk_size
    )
    with computing():
        x, where = select_matrix(target, layer=layer)
        used = positions[there]
        op = as_operator(
            x,
            where=where,
            columns=None if np.array_equal(used, np.arange(x.shape[1])) else used,
            chunk_size=chunk_size,
            spread=False,
        )
        totals = read_totals(target, choice.size_factors)
        if (
            totals is None
            and choice.size_factors is not None
            and used.size < x.shape[1]
        ):
            totals = as_operator(x, where=where, spread=False).stats().row_sums
        batches = Batches(
            parts=split_by_batch(op, codes),
            names=[str(name) for name in names],
            n_cells=np.bincount(codes, minlength=len(names)),
            where=where,
            var_names=target.var_names,
            used=used,
            totals=totals,
        )
        found = look_at(batches, choice, seed=0, gene_scale=gene_scale)
        scores = np.zeros((target.n_obs, len(model.W)), np.float32)

        def keep(block: Block, new: NDArray[Any]) -> None:
            scores[block.rows] = new

        sums = solve(found.data, model, lam, keep)
    value = objectives(found.data.sq_norm, model, sums, lam)
    share = np.square(known.model.W[:, there]).sum() / np.square(known.model.W).sum()
    stored = known._replace(
        model=Model(*(x[..., there] for x in known.model)),
        sums=known.sums._replace(product=known.sums.product[..., there]),
        gene_scale=known.gene_scale[:, there],
        scores=scores,
    )
    kept = {"n_components", "version"}
    write_integration(
        target,
        keys,
        replace(batches, names=known.names),
        stored,
        method=factors.info["method"],
        params={
            **{name: value for name, value in fitted.items() if name not in kept},
            "layer": layer,
            "batch_key": batch_key,
        },
        info={"projected": float(share), "projected_objective": float(value.sum())},
    )
    _report(batches, known.names, batch_key, int((~there).sum()), genes.size)
    if found.n_empty:
        warn(
            f"{where} has {found.n_empty} cells that are all zero; their scores are zero."
        )


def _of_labels(
    known: Integration, names: list[str], there: NDArray[np.bool_]
) -> tuple[Model, NDArray[Any], NDArray[Any]]:
    """Model, scales and penalties of data sets by name; new ones have no own part."""
    rank, n_vars = known.model.W.shape
    own = np.zeros((len(names), rank, n_vars), known.model.W.dtype)
    scale = np.full((len(names), n_vars), np.nan)
    lam = np.zeros(len(names))
    for d, name in enumerate(names):
        if name in known.names:
            i = known.names.index(name)
            own[d], scale[d] = known.model.V[i], known.gene_scale[i]
            lam[d] = known.penalties.lam[i]
    return Model(known.model.W[:, there], own[..., there]), scale[:, there], lam


def _report(
    batches: Batches, known: list[str], batch_key: str | None, n_missing: int, n: int
) -> None:
    unknown = [name for name in batches.names if name not in known]
    if batch_key is not None and unknown:
        warn(
            f"The integration does not know {unknown}; there are {known}. Their cells "
            "are scored on the shared metagenes alone."
        )
    if n_missing:
        warn(
            f"{n_missing} of the {n} variables with loadings are not in adata; scores "
            "are those that explain the others best."
        )
