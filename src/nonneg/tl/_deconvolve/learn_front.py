"""Read a tissue and cells, simulate maps, train, store."""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData

from ..._adata.genes import read_mask
from ..._adata.given import name_or_array
from ..._adata.labels import read_labels
from ..._adata.read import resolve_adata, select_matrix
from ..._adata.signatures import align_genes, read_signatures
from ..._adata.write import check_replaced, write_values
from ..._core.progress import progress
from ..._core.random import as_seed
from ..._core.validators import check_at_least, check_one_of, check_positive_int
from ..._core.warnings import warn
from ...models.deconvolution.graph import neighbour_edges
from ...models.deconvolution.maps import Cells, Law, Simulator, split_cells
from ...models.deconvolution.network import example_of, network_of, stacked
from ...models.deconvolution.problem import Mixture
from ...models.deconvolution.train import START, train
from ...operators.choose import as_operator
from ...operators.gather import to_csr
from ...operators.threads import computing
from .choices import check_compositions
from .counts import check_types, informative, read_counts
from .layout import read_layout, region_compositions
from .learned import Learned

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from spatialdata import SpatialData

    from ..._adata.read import Read
    from ..._adata.write import Write
    from ..._core.random import RNGLike
    from ...models.deconvolution.graph import Edges
    from ...models.deconvolution.network import Example, Network, Unrolled
    from ...models.deconvolution.train import Trained
    from .layout import Layout

_LIKELIHOODS = ("poisson", "gaussian")


@dataclass(frozen=True)
class Training:
    """The arguments that describe a training."""

    cell_type_key: str
    reference_layer: str | None
    n_genes: int
    likelihood: Unrolled
    spatial_key: str
    library_key: str | None
    region_key: str | None
    n_neighbors: int
    gene_weights: bool
    law: Law
    compositions: pd.DataFrame | None
    n_layers: int
    n_maps: int
    n_validation: int
    n_locations: int
    batch_size: int
    learning_rate: float
    max_iter: int
    patience: int


class Lesson(NamedTuple):
    """What a training is given."""

    network: Network
    training: Example
    validation: Example
    start: dict[str, float]


def learn(
    data: AnnData | SpatialData,
    reference: AnnData,
    training: Training,
    *,
    read: Read,
    write: Write,
    rng: RNGLike,
) -> AnnData | None:
    """Read, simulate, train, store."""
    _check(training)
    seed = as_seed(rng)
    adata = resolve_adata(data, table_key=write.table_key, copy=write.copy)
    key = write.key_added or "deconv_learned"
    check_replaced(adata, key, "curve")
    with computing(), progress("learn", None) as callback:
        lesson, order = prepare(adata, reference, training, read=read, seed=seed)
        found = train(
            lesson.network,
            lesson.training,
            lesson.validation,
            lesson.start,
            batch_size=training.batch_size,
            learning_rate=training.learning_rate,
            max_iter=training.max_iter,
            patience=training.patience,
            rng=order,
            callback=callback,
        )
    learned = _stored(training, found, read=read, seed=seed)
    write_values(adata, {("uns", key): learned})
    if found.trace.interrupted:
        warn(
            f"Interrupted after {found.trace.n_iter} steps; the best numbers found so "
            "far are stored."
        )
    return adata if write.copy else None


def prepare(
    adata: AnnData,
    reference: AnnData,
    training: Training,
    *,
    read: Read,
    seed: int,
) -> tuple[Lesson, np.random.Generator]:
    """A network over the tissue, maps of it, and what is left of the generator."""
    rng = np.random.default_rng(seed)
    if not isinstance(reference, AnnData):
        msg = (
            "reference must be an AnnData of cells, from which maps are simulated, not "
            f"a {type(reference).__name__}."
        )
        raise TypeError(msg)
    layout = read_layout(
        adata, training.spatial_key, training.library_key, training.region_key
    )
    signatures = read_signatures(
        reference, training.cell_type_key, training.reference_layer
    )
    mask = np.ones(adata.n_vars, bool)
    if read.mask_var is not None:
        mask = read_mask(adata, read.mask_var)
    shared, means = align_genes(signatures, adata.var_names, mask)
    counts = read_counts(adata, read, shared, training.likelihood)
    used = informative(means, training.n_genes)
    counts, shared = counts[:, used], shared[used]
    cells = _read_cells(reference, training, adata.var_names[shared])
    halves = split_cells(cells, rng)
    types = signatures.types
    means = halves.signatures.means(types.size)
    per_cell = means.sum(1)
    check_types(types, per_cell)
    depth = np.asarray(counts.sum(1), np.float64).ravel()
    kept = _patch(layout, np.flatnonzero(depth > 0), training.n_locations, rng)
    assert layout.coords is not None
    labels = None if layout.labels is None else layout.labels[kept]
    edges = neighbour_edges(
        layout.coords[kept],
        layout.section[kept],
        n_neighbours=training.n_neighbors,
        labels=labels,
    )
    _, group = np.unique(layout.group[kept], return_inverse=True)
    simulate = Simulator(
        halves.locations,
        types.size,
        layout.coords[kept],
        depth[kept],
        labels,
        None
        if training.compositions is None
        else region_compositions(training.compositions, layout, types),
        training.law,
    )
    network = network_of(edges, group, training.likelihood, training.n_layers)
    examples = []
    for _ in range(training.n_maps + training.n_validation):
        drawn = simulate(rng)
        mixture = Mixture(drawn.counts, means / per_cell[:, None], None, group)
        examples.append(
            example_of(
                mixture,
                drawn.shares,
                training.likelihood,
                gene_weights=training.gene_weights,
            )
        )
    lesson = Lesson(
        network,
        stacked(examples[: training.n_maps]),
        stacked(examples[training.n_maps :]),
        {name: START[name] for name in _names(training, edges)},
    )
    return lesson, rng


def _names(training: Training, edges: Edges) -> list[str]:
    """The parameters that matter."""
    names = ["graph_weight"]
    if training.likelihood == "poisson":
        names.append("group_weight")
    # Where all neighbours are equally far, their weights are the same at any width.
    if edges.squared.size and np.ptp(edges.squared) > 1e-6:
        names.append("width")
    if edges.other.any():
        names.append("label_width")
    return names


def _read_cells(reference: AnnData, training: Training, genes: pd.Index[str]) -> Cells:
    labels = read_labels(reference, training.cell_type_key, hint="")
    x, where = select_matrix(reference, layer=training.reference_layer)
    columns = reference.var_names.get_indexer(genes)
    op = as_operator(
        x,
        where=where.replace("adata", "reference", 1),
        columns=columns,
        on_cluster=False,
    )
    counts = to_csr(op)
    total = np.asarray(counts.sum(1)).ravel()
    rows = np.flatnonzero((labels.codes >= 0) & (total > 0))
    return Cells(counts[rows], labels.codes[rows])


def _patch(
    layout: Layout,
    rows: NDArray[np.intp],
    n_locations: int,
    rng: np.random.Generator,
) -> NDArray[np.intp]:
    """Locations around one of them, in its section, if there are many."""
    if rows.size <= n_locations:
        return rows
    assert layout.coords is not None
    centre = rng.choice(rows)
    rows = rows[layout.section[rows] == layout.section[centre]]
    away = ((layout.coords[rows] - layout.coords[centre]) ** 2).sum(1)
    return np.sort(rows[np.argsort(away, kind="stable")[:n_locations]])


def _stored(
    training: Training, found: Trained, *, read: Read, seed: int
) -> dict[str, Any]:
    numbers = {"group_weight": 0.0, "width": 1.0, "label_width": 1.0} | found.numbers
    learned = Learned(
        likelihood=training.likelihood,
        n_layers=training.n_layers,
        n_neighbors=training.n_neighbors,
        gene_weights=training.gene_weights,
        has_regions=training.region_key is not None,
        **numbers,
    )
    steps = np.asarray(found.trace.iteration, np.intp)
    losses = np.asarray(found.losses)
    starts = np.concatenate([[0], steps[:-1]]) if steps.size else steps
    curve = pd.DataFrame(
        {
            "step": steps,
            "training": [
                losses[a:b].mean() for a, b in zip(starts, steps, strict=True)
            ],
            "validation": np.asarray(found.trace.objective, float),
        }
    )
    given = (
        "cell_type_key",
        "reference_layer",
        "n_genes",
        "spatial_key",
        "library_key",
        "region_key",
        "n_maps",
        "n_validation",
        "n_locations",
        "batch_size",
        "learning_rate",
        "max_iter",
        "patience",
    )
    law = {f.name: np.asarray(getattr(training.law, f.name)) for f in fields(Law)}
    return {
        **learned.to_uns(),
        "validation_error": found.error,
        "start_error": found.first_error,
        "n_iter": found.trace.n_iter,
        "interrupted": found.trace.interrupted,
        "curve": curve,
        "params": {
            "layer": read.layer,
            "mask_var": name_or_array(read.mask_var),
            **{name: getattr(training, name) for name in given},
            "compositions": None
            if training.compositions is None
            else training.compositions.rename(index=str, columns=str),
            **{k: v.item() if v.ndim == 0 else v for k, v in law.items()},
            "seed": seed,
            "version": version("nonneg"),
        },
    }


def _check(training: Training) -> None:
    check_one_of(training.likelihood, _LIKELIHOODS, "likelihood")
    law = training.law
    for name in (
        "n_genes",
        "n_neighbors",
        "n_layers",
        "n_maps",
        "n_validation",
        "n_locations",
        "batch_size",
        "max_iter",
        "patience",
    ):
        check_positive_int(getattr(training, name), name)
    check_positive_int(law.n_regions, "n_regions")
    check_at_least(law.platform, 0, "platform")
    check_at_least(law.noise, 0, "noise")
    check_at_least(training.learning_rate, 1e-6, "learning_rate")
    for name in ("concentration", "cells_per_spot", "depth"):
        low, high = getattr(law, name)
        if name == "cells_per_spot":
            check_positive_int(low, name)
            check_positive_int(high, name)
        if not 0 < low <= high < np.inf:
            msg = f"{name}={(low, high)} must be positive and in ascending order."
            raise ValueError(msg)
    check_compositions(training.compositions, training.region_key)
