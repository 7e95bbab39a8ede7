"""Starting values, iterated on a sample of the cells."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from ..._core.random import stream
from ..._core.typing import Floats
from .loadings import add, update_loadings
from .problem import Loadings, Part, Penalties, ScaledData, SufficientStatistics
from .scores import ROW_SWEEPS, update_rows, update_scores, zero_scores
from .summary import dataset_rng

if TYPE_CHECKING:
    from numpy.typing import NDArray


# How often starting values are iterated on a sample, and how often of these with a
# penalty that is at least so large.
_SAMPLE_ITERATIONS = 30
_FIRST_ITERATIONS, _FIRST_LAM = 20, 20.0


def start(
    sample: ScaledData, rank: int, penalties: Penalties, *, seed: int, attempt: int
) -> Loadings:
    """Random loadings, iterated on a sample of the cells until they point somewhere.

    W is uniform and V are cells, both of unit norm, as in LIGER. Passes over the sample
    cost little, and with enough of them fits seldom end in a poor local optimum. The
    worst are those where factors belong to one data set each; a large penalty at first
    keeps clear of them: on simulated data it lowers what is reached with a penalty of 1
    by a fifth.
    """
    rng = stream(seed, "start", attempt)
    w = rng.uniform(0, 2, (rank, sample.shape[1]))
    v = np.stack(
        [random_cells(sample, part, rank, seed, attempt) for part in sample.parts]
    )
    loadings = sample.measured(Loadings(w, v))
    loadings = Loadings(*(unit_rows(x).astype(sample.dtype) for x in loadings))
    return refine(sample, loadings, penalties)


def refine(
    sample: ScaledData,
    loadings: Loadings,
    penalties: Penalties,
    *,
    known: SufficientStatistics | None = None,
    active: NDArray[np.bool_] | None = None,
) -> Loadings:
    """Iterate on a sample, beside statistics that are ``known`` of other cells."""
    scores = zero_scores(sample, loadings.W.shape[0])
    if sample.on_device:
        loadings = Loadings(*map(jnp.asarray, loadings))
    update = partial(update_rows, rule="hals", n_sweeps=2 * ROW_SWEEPS)
    first = penalties._replace(lam=np.maximum(penalties.lam, _FIRST_LAM))
    for i in range(_SAMPLE_ITERATIONS):
        current = first if i < _FIRST_ITERATIONS else penalties
        scores, statistics = update_scores(
            sample, loadings, current.lam, scores, update
        )
        loadings = update_loadings(
            loadings,
            add(statistics, known),
            current,
            active=active,
            shared=sample.shared,
        )
    return loadings


def random_cells(
    sample: ScaledData, part: Part, rank: int, seed: int, attempt: int = 0
) -> NDArray[np.float64]:
    """Random cells of a data set, scaled."""
    n_rows = part.op.shape[0]
    assert isinstance(part.batch, int)
    rng = dataset_rng(seed, sample.names[part.batch], attempt)
    index = rng.choice(n_rows, rank, replace=rank > n_rows)
    picks = np.zeros((n_rows, rank), sample.dtype)
    picks[index, np.arange(rank)] = 1
    scale = sample.block(part.batch, part.rows, part.op).scale
    cells = np.asarray(part.op.rmatmul(picks * scale), np.float64)
    return cells.T * np.asarray(sample.gene_scale[part.batch])


def unit_rows(x: Floats) -> Floats:
    """Rows of unit 2-norm; zero rows stay zero."""
    norm = np.linalg.norm(x, axis=-1, keepdims=True)
    return x / np.where(norm > 0, norm, 1)
