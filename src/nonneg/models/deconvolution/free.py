"""Signatures from the section's own counts, where no reference is at hand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import svds

from ...kernels.mixture import root_update
from ..factor.alternate import exact
from ..loop import drive
from .choose import Wishes, choose
from .fit import Budget, first_roots, make_layer, weigh
from .problem import Mixture, Tuning
from .solver import DeconvolutionSolver

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..loop import Callback, Trace
    from .counts import CountLayer
    from .coupling import Coupling

# A start has this part of the mean profile: what is zero could not grow.
_MEAN = 0.1

# Locations of which a vertex is the average.
_TOGETHER = 5

# After so many steps the better start is seen.
_FIRST = Budget(1e-2, 50)

# In counts, where neighbours have something in common. More than held-out genes choose
# for known signatures: these bend to noise, which neighbours do not share. On simulated
# sections, 100 has smaller errors than 10 to 30, and 300 no smaller ones.
_GRAPH_WEIGHT = 100.0


class Learned(NamedTuple):
    """Signatures, and the course of the fit that found them."""

    signatures: NDArray[np.float64]
    """(k, n_vars): rows of sum 1."""
    trace: Trace


class _Halves(NamedTuple):
    """Roots of amounts (n, k) and of signatures (n_vars, k) in one array."""

    amounts: Any
    signatures: Any


@dataclass(frozen=True)
class FreeLayer:
    """A step in amounts and signatures together, which never raises the objective.

    Each count is shared out among the types as in expectation maximisation. Given these
    parts, and signatures with a fixed sum, amounts and signatures have nothing in common
    any more: each has its minimum in closed form, amounts that of
    :class:`~nonneg.models.deconvolution.counts.CountLayer`.
    """

    layer: CountLayer
    """Of amounts, with any signatures."""
    total: float
    """Sum of every signature."""

    @property
    def unit(self) -> Any:
        """What changes of the objective are compared with."""
        return self.layer.unit

    def split(self, roots: Any) -> _Halves:
        """The two parts of what is iterated."""
        n, _ = self.layer.likelihood.size.shape
        return _Halves(roots[:n], roots[n:])

    def __call__(self, roots: Any) -> tuple[Any, Any]:
        """Square roots of new amounts and signatures, and the objective at the old ones."""
        halves = self.split(roots)
        coupling, size = self.layer.coupling, self.layer.likelihood.size
        amounts, signatures = halves.amounts**2, (halves.signatures**2).T
        shared = self.layer.likelihood.op.allocate(amounts, signatures)
        around = coupling.around(halves.amounts)
        if around is not None:
            around = jnp.asarray(around, roots.dtype)
        moved, value = _move(
            halves.amounts,
            jnp.asarray(shared.rows, roots.dtype),
            jnp.asarray(shared.columns, roots.dtype),
            size=size,
            total=self.total,
            coupling=replace(coupling, graph=None),
            around=around,
        )
        expected = exact((self.total * size * amounts).sum(1)).sum()
        return moved, expected - exact(shared.log_sum) + exact(value).sum()

    def start(self) -> Any:
        """Even amounts, with the signatures of the layer."""
        signatures = jnp.sqrt(self.layer.likelihood.signatures.T)
        return jnp.concatenate([first_roots(self.layer.start()), signatures])

    def feasible(self, roots: Any) -> Any:
        """The nearest point from which a step can go on, with signatures of the sum."""
        halves = self.split(roots)
        amounts = self.layer.feasible(halves.amounts)
        signatures = jnp.maximum(halves.signatures, 0)
        norm = jnp.sqrt((signatures**2).sum(0) / self.total)
        return jnp.concatenate([amounts, signatures / norm])


@jax.jit
def _move(
    roots: jax.Array,
    rows: jax.Array,
    columns: jax.Array,
    *,
    size: jax.Array,
    total: Any,
    coupling: Coupling,
    around: Any,
) -> tuple[jax.Array, jax.Array]:
    bound = coupling.bound(roots, around)
    slope = jnp.broadcast_to(total * size, rows.shape)
    amounts = root_update(rows, slope, bound.stiffness, bound.pull)
    tiny = jnp.finfo(roots.dtype).tiny
    signatures = jnp.sqrt(total * columns / (columns.sum(0) + tiny))
    return jnp.concatenate([amounts, signatures]), bound.value


def learn_signatures(
    mixture: Mixture,
    coords: NDArray[np.float64] | None,
    n_types: int,
    *,
    wishes: Wishes,
    seed: int,
    budget: Budget,
    callback: Callback | None = None,
) -> Learned:
    """Signatures of which the counts of all locations are mixtures.

    From the best of several starts, without neighbours; then with these, where held-out
    genes are predicted better. Nothing is drawn at random: rows, columns and seeds do
    not matter. The signatures of ``mixture`` are not looked at; types are in order of
    their counts.
    """
    starts = [
        candidate_signatures(mixture.counts, graph, n_types)
        for graph in ((None,) if mixture.graph is None else (None, mixture.graph))
    ]
    weight = wishes.graph_weight
    alone = Tuning(graph_weight=weight or 0.0, gene_weights=False)
    tried = [_learn(mixture, start, alone, _FIRST, None) for start in starts]
    best = min(tried, key=lambda found: found.trace.objective[-1])
    if weight is None and mixture.graph is not None:
        held_out = replace(wishes, group_weight=0.0, gene_weights=False, effects=False)
        known = replace(mixture, signatures=best.signatures)
        chosen = choose(known, coords, "poisson", held_out, seed)
        if chosen.tuning.graph_weight:
            alone = replace(alone, graph_weight=_GRAPH_WEIGHT)
            tried = [_learn(mixture, start, alone, _FIRST, None) for start in starts]
            best = min(tried, key=lambda found: found.trace.objective[-1])
    return _learn(mixture, best.signatures, alone, budget, callback)


def _learn(
    mixture: Mixture,
    start: NDArray[np.float64],
    tuning: Tuning,
    budget: Budget,
    callback: Callback | None,
) -> Learned:
    """The nearest minimum."""
    scaled = weigh(replace(mixture, signatures=start), tuning, None)
    layer = FreeLayer(make_layer("poisson", scaled, tuning, None), 1.0)
    solver = DeconvolutionSolver(layer, budget.tol, budget.max_iter)
    state, trace = drive(solver, solver.init(layer.start()), callback)
    found = layer.split(np.asarray(solver.finish(state), np.float64))
    signatures = found.signatures.T / found.signatures.sum(0)[:, None]
    size = np.asarray(mixture.counts.sum(1), np.float64)
    order = np.argsort(-(size * found.amounts).sum(0), kind="stable")
    return Learned(signatures[order], trace)


def candidate_signatures(
    counts: sp.csr_matrix, graph: sp.csr_matrix | None, n_types: int
) -> NDArray[np.float64]:
    """(k, n_vars): profiles of the locations that are least like mixtures of others.

    Locations, with their neighbours where a graph is given, are points in the space of
    the leading singular vectors. The farthest one is taken, all are projected on what is
    orthogonal to it, and so on: the vertices of the simplex that mixtures lie in, if
    every type has a location almost to itself :cite:p:`Gillis2014`.
    """
    together = counts if graph is None else sp.csr_matrix(counts + graph @ counts)
    mean = np.asarray(counts.sum(0), np.float64).ravel()
    mean /= mean.sum()
    depth = np.asarray(together.sum(1), np.float64)
    # Of unit variance in every gene, up to the depth.
    scaled = sp.csr_matrix(together.multiply(1 / depth) @ sp.diags(mean**-0.5))
    points = _leading(scaled.astype(np.float64), n_types)
    centred = points - points.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    flat = centred @ axes[: n_types - 1].T
    # Affinely independent points are linearly independent with a constant beside them.
    constant = np.full((len(flat), 1), np.sqrt(np.square(flat).sum(1).mean()))
    rest = flat = np.concatenate([flat, constant], 1)
    found = []
    for _ in range(n_types):
        vertex = int(np.argmax(np.square(rest).sum(1)))
        direction = rest[vertex] / max(np.linalg.norm(rest[vertex]), 1e-300)
        rest = rest - np.outer(rest @ direction, direction)
        near = np.argsort(np.square(flat - flat[vertex]).sum(1), kind="stable")
        found.append(np.asarray(together[near[:_TOGETHER]].sum(0), np.float64).ravel())
    profiles = np.stack(found)
    profiles /= profiles.sum(1, keepdims=True)
    return (1 - _MEAN) * profiles + _MEAN * mean


def _leading(x: sp.csr_matrix, rank: int) -> NDArray[np.float64]:
    """Rows in the space of the leading right singular vectors."""
    if rank >= min(x.shape):
        u, s, _ = np.linalg.svd(x.toarray(), full_matrices=False)
        return (u * s)[:, :rank]
    # A start that does not depend on the order of rows and columns.
    u, s, _ = svds(x, rank, v0=np.ones(min(x.shape)), solver="arpack")
    return u * s
