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
from .fit import (
    Budget,
    first_roots,
    fit_mixture,
    make_layer,
    raise_if_interrupted,
    weigh,
)
from .problem import Mixture, Tuning
from .solver import DeconvolutionSolver

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..loop import Callback, Trace
    from .counts import CountLayer
    from .coupling import Coupling

# A start has this part of the mean profile: what is zero could not grow.
_MEAN = 0.1

# Root of what a type has of a gene that it lacks: where an extrapolation ends at zero,
# plain steps can go back.
_FLOOR = 1e-8

# Locations of which a vertex is the average.
_TOGETHER = 5

# After so many steps the better start is seen.
_FIRST = Budget(1e-2, 50)

# In counts. More than held-out genes choose for known signatures: where these bend to
# noise, neighbours hold them. On simulated sections, correlations are better than with
# 0 or 30 and no better with 300; with shuffled coordinates, about as good as with 0.
_GRAPH_WEIGHT = 100.0


class Learned(NamedTuple):
    """Signatures, and the course of the fit that found them."""

    signatures: NDArray[np.float64]
    """(k, n_vars): rows of sum 1."""
    amounts: NDArray[np.float64]
    """(n, k)"""
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

    def feasible(self, roots: Any) -> Any:
        """The nearest point from which a step can go on, with signatures of the sum."""
        halves = self.split(roots)
        amounts = self.layer.feasible(halves.amounts)
        signatures = jnp.maximum(halves.signatures, _FLOOR)
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
    n_types: int,
    *,
    graph_weight: float | None,
    budget: Budget,
    callback: Callback | None = None,
) -> Learned:
    """Signatures of which the counts of all locations are mixtures.

    From the better of two starts, which the data determine: rows, columns and seeds do
    not matter but for rounding. The signatures of ``mixture`` are not looked at; types
    are in order of their counts.
    """
    weight = _GRAPH_WEIGHT if graph_weight is None else graph_weight
    return _learn(
        mixture, _best(mixture, n_types, weight).signatures, weight, budget, callback
    )


def _best(mixture: Mixture, n_types: int, weight: float) -> Learned:
    """From locations alone, or with their neighbours: what has the lower objective."""
    graphs = (None,) if mixture.graph is None else (None, mixture.graph)
    found = []
    for graph in graphs:
        start = candidate_signatures(mixture.counts, graph, n_types)
        found.append(_learn(mixture, start, weight, _FIRST, None))
        raise_if_interrupted(found[-1].trace)
    return min(found, key=lambda each: each.trace.objective[-1])


def _learn(
    mixture: Mixture,
    start: NDArray[np.float64],
    weight: float,
    budget: Budget,
    callback: Callback | None,
) -> Learned:
    """The nearest minimum."""
    tuning = Tuning(graph_weight=weight, gene_weights=False)
    scaled = weigh(replace(mixture, signatures=start), tuning, None)
    layer = FreeLayer(make_layer("poisson", scaled, tuning, None), 1.0)
    solver = DeconvolutionSolver(layer, budget.tol, budget.max_iter)
    # Amounts that suit the start: even ones would draw all signatures to the mean.
    known = fit_mixture(replace(mixture, signatures=start), tuning, budget=_FIRST)
    raise_if_interrupted(known.trace)
    state, trace = drive(solver, solver.init(_roots(known.amounts, start)), callback)
    found = layer.split(np.asarray(solver.finish(state), np.float64))
    signatures = found.signatures.T / found.signatures.sum(0)[:, None]
    size = np.asarray(mixture.counts.sum(1), np.float64)
    order = np.argsort(-(size * found.amounts).sum(0), kind="stable")
    return Learned(signatures[order], found.amounts[:, order], trace)


def _roots(
    amounts: NDArray[np.float64], signatures: NDArray[np.float64]
) -> NDArray[np.float32]:
    """What :class:`FreeLayer` iterates."""
    return np.concatenate(
        [first_roots(amounts), np.sqrt(signatures.T).astype(np.float32)]
    )


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
