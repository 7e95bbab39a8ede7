"""Read locations and reference, deconvolve, store."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData

from ..._adata.genes import read_mask
from ..._adata.given import name_or_array
from ..._adata.read import resolve_adata
from ..._adata.signatures import (
    Signatures,
    align_genes,
    read_signatures,
    warn_few_cells,
)
from ..._adata.write import keys_to_write
from ..._core.progress import progress
from ..._core.random import as_seed
from ..._core.text import counted
from ..._core.warnings import warn, warn_unfinished
from ...models.deconvolution.choose import choose
from ...models.deconvolution.deconvolve import deconvolve
from ...models.deconvolution.graph import neighbour_graph
from ...models.deconvolution.problem import IS_COUNTS, Mixture
from ...operators.threads import computing
from .choices import check_choices, with_learned
from .counts import check_types, informative, read_counts
from .layout import read_layout, region_compositions
from .learned import read_learned
from .store import write_result

if TYPE_CHECKING:
    import pandas as pd
    import scipy.sparse as sp
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._adata.read import Read
    from ..._adata.write import Write
    from ..._core.random import RNGLike
    from .choices import Choices
    from .layout import Layout
    from .learned import Learned


def find_cell_types(
    data: AnnData | SpatialData,
    reference: AnnData | pd.DataFrame | Signatures | None,
    choices: Choices,
    *,
    read: Read,
    write: Write,
    rng: RNGLike,
) -> AnnData | None:
    """Read, deconvolve, store."""
    check_choices(choices)
    seed = as_seed(rng)
    adata = resolve_adata(data, table_key=write.table_key, copy=write.copy)
    keys = keys_to_write(adata, "deconv", write.key_added)
    _check_order(adata, reference, choices.cell_type_key)
    learned, given = None, choices.options.wishes
    if choices.learned is not None:
        learned = read_learned(adata, choices.learned)
        choices = with_learned(choices, learned)
    options = replace(choices.options, seed=seed)
    own = choices.own
    layout = (
        read_layout(adata, choices.spatial_key, choices.library_key, choices.region_key)
        if own is None
        else own.layout
    )
    with computing():
        found = reference
        if not isinstance(found, Signatures):
            found = read_signatures(
                reference,
                choices.cell_type_key,
                choices.reference_layer,
                counts=IS_COUNTS[options.likelihood],
            )
        mask = np.ones(adata.n_vars, bool)
        if read.mask_var is not None:
            mask = read_mask(adata, read.mask_var)
        shared, means = align_genes(found, adata.var_names, mask)
        counts = read_counts(adata, read, shared, options.likelihood)
        used = informative(means, choices.n_genes)
        if used.size < shared.size:
            counts, means, shared = counts[:, used], means[:, used], shared[used]
        per_cell = means.sum(1)
        check_types(found.types, per_cell)
        depth = np.asarray(counts.sum(1), np.float64).ravel()
        kept = np.flatnonzero(depth > 0)
        if kept.size == 0:
            msg = f"adata has no counts of the {shared.size} genes used."
            raise ValueError(msg)
        if kept.size < depth.size:
            counts = counts[kept]
        mixture, coords = make_mixture(
            counts,
            means / per_cell[:, None],
            layout,
            prototypes=_prototypes(choices.compositions, layout, found.types, per_cell),
            kept=kept,
            choices=choices,
            learned=learned,
        )
        with progress("weights", None) as callback:
            chosen = choose(
                mixture,
                coords,
                options.likelihood,
                options.wishes,
                seed,
                callback=callback,
            )
        with progress("deconvolve", None) as callback:
            result = deconvolve(
                mixture,
                coords,
                per_cell,
                found.library_size,
                chosen=chosen,
                options=options,
                n_cells=found.n_cells,
                callback=callback,
            )
    traces = [result.fit.trace] if own is None else [own.trace, result.fit.trace]
    write_result(
        adata,
        keys,
        result,
        found,
        kept=kept,
        shared=shared,
        depth=depth,
        per_cell=per_cell,
        params={
            "layer": read.layer,
            "mask_var": name_or_array(read.mask_var),
            "likelihood": options.likelihood,
            "cell_type_key": choices.cell_type_key,
            "reference_layer": choices.reference_layer,
            "n_genes": choices.n_genes,
            "n_types": None if own is None else own.n_types,
            "spatial_key": choices.spatial_key,
            "library_key": choices.library_key,
            "region_key": choices.region_key,
            "compositions": None
            if choices.compositions is None
            else choices.compositions.rename(index=str, columns=str),
            "n_neighbors": choices.n_neighbors,
            **asdict(given),
            "max_types": options.max_types,
            "fdr": float(options.fdr),
            "learned": None if learned is None else learned.to_uns(),
            "tol": float(options.budget.tol),
            "max_iter": options.budget.max_iter,
            "seed": seed,
        },
        fdr=options.fdr,
        converged=all(trace.converged for trace in traces),
        interrupted=any(trace.interrupted for trace in traces),
        marker_scores=None if own is None else own.marker_scores,
    )
    if choices.cell_type_key is not None:
        assert found.n_cells is not None
        warn_few_cells(found.types, found.n_cells)
    for trace in traces:
        # So many layers are not meant to be more.
        if learned is None or trace.interrupted:
            warn_unfinished(
                trace, max_iter=options.budget.max_iter, tol=options.budget.tol
            )
    n_empty = depth.size - kept.size
    if n_empty:
        warn(
            f"{counted(n_empty, 'location', 'has', of=depth.size)} no counts of the genes "
            f"used; {'its' if n_empty == 1 else 'their'} shares are NaN."
        )
    return adata if write.copy else None


def _check_order(adata: AnnData, reference: Any, cell_type_key: str | None) -> None:
    """Raise where the section and the reference have changed places."""
    if cell_type_key is None or not isinstance(reference, AnnData):
        return
    if cell_type_key in adata.obs and cell_type_key not in reference.obs:
        msg = (
            f"cell_type_key={cell_type_key!r} is a column of adata, the section, and not "
            "of reference, the cells: the section comes first, (adata, reference)."
        )
        raise ValueError(msg)


def _prototypes(
    compositions: pd.DataFrame | None,
    layout: Layout,
    types: NDArray[Any],
    per_cell: NDArray[np.float64],
) -> NDArray[np.float64] | None:
    """(n_regions, k): amounts of each region, of shares of cells."""
    if compositions is None:
        return None
    amounts = region_compositions(compositions, layout, types) * per_cell
    return amounts / amounts.sum(1, keepdims=True)


def make_mixture(
    counts: sp.csr_matrix,
    profiles: NDArray[np.float64],
    layout: Layout,
    *,
    kept: NDArray[np.intp],
    choices: Choices,
    learned: Learned | None,
    prototypes: NDArray[np.float64] | None = None,
) -> tuple[Mixture, NDArray[np.float64] | None]:
    """The locations with counts, and where they are."""
    _, first, group = np.unique(
        layout.group[kept], return_index=True, return_inverse=True
    )
    if prototypes is not None:
        assert layout.labels is not None
        prototypes = prototypes[layout.labels[kept][first]]
    coords, graph = None, None
    if layout.coords is not None and kept.size > 1:
        coords = layout.coords[kept]
        graph = neighbour_graph(
            coords,
            layout.section[kept],
            n_neighbours=choices.n_neighbors,
            labels=None if layout.labels is None else layout.labels[kept],
            width=1.0 if learned is None else learned.width,
            label_width=1.0 if learned is None else learned.label_width,
        )
    return Mixture(counts, profiles, graph, group, prototypes), coords
