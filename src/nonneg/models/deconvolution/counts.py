"""One layer for counts: Poisson and negative binomial."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...kernels.mixture import root_update
from ...operators.csr import CSROperator
from ..factor.alternate import exact
from .coupling import Coupling

if TYPE_CHECKING:
    from ...operators.protocol import MatrixOperator


class Parts(NamedTuple):
    """What a likelihood says about amounts u, through a bound on it.

    ``slope u - allocated log u`` touches it at the present amounts.
    """

    allocated: Any
    slope: Any
    value: Any
    """The negative log likelihood, up to a constant."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["op", "size", "signatures"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Poisson:
    """Counts with means ``size_i Σ_k u_ik b_kg``: a convex problem in u."""

    op: MatrixOperator
    size: Any
    """(n, 1): depth of every location."""
    signatures: Any
    """(k, n_vars)"""

    def parts(self, amounts: Any) -> Parts:
        """The bound at these amounts."""
        allocated: Any
        log_sum: Any
        if isinstance(self.op, CSROperator):
            # What columns get is not asked for; compilers leave it out elsewhere.
            allocated, log_sum = self.op.allocate_rows(amounts, self.signatures)
        else:
            allocated, _, log_sum = self.op.allocate(amounts, self.signatures)
        slope, rows = _expected(self.size, self.signatures, amounts)
        # Sums of many terms, of which the last digits matter: in float64 on the host.
        return Parts(allocated, slope, exact(rows).sum() - exact(log_sum))


@jax.jit
def _expected(
    size: jax.Array, signatures: jax.Array, amounts: jax.Array
) -> tuple[jax.Array, jax.Array]:
    slope = size * signatures.sum(1)
    return slope, (slope * amounts).sum(1)


@jax.jit
def _negative_binomial(
    y: jax.Array,
    amounts: jax.Array,
    size: jax.Array,
    signatures: jax.Array,
    shape: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    tiny = jnp.sqrt(jnp.finfo(y.dtype).tiny)
    mean = size * (amounts @ signatures) + tiny
    allocated = amounts * ((size * (y / mean)) @ signatures.T)
    slope = (size * ((y + shape) / (mean + shape))) @ signatures.T
    value = (y + shape) * jnp.log1p(mean / shape) - jax.scipy.special.xlogy(y, mean)
    return allocated, slope, value.sum()


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["op", "size", "signatures", "shape"],
    meta_fields=[],
)
@dataclass(frozen=True)
class NegativeBinomial:
    """Counts with variance ``mean + mean² / shape``. Not convex, but never rising.

    All entries enter, in dense blocks of rows.
    """

    op: MatrixOperator
    size: Any
    signatures: Any
    shape: Any
    """(n_vars,)"""

    def parts(self, amounts: Any) -> Parts:
        """The bound at these amounts."""
        found = [
            _negative_binomial(
                jnp.asarray(y),
                amounts[rows],
                self.size[rows],
                self.signatures,
                self.shape,
            )
            for rows, y in self.op.dense_blocks()
        ]
        allocated, slope, values = zip(*found, strict=True)
        value = sum(exact(v) for v in values)
        return Parts(jnp.concatenate(allocated), jnp.concatenate(slope), value)


@jax.jit
def _move(
    roots: jax.Array, parts: tuple[Any, Any], coupling: Coupling, around: Any
) -> tuple[jax.Array, jax.Array]:
    allocated, slope = parts
    # Products of operators on the host come as they are.
    allocated = jnp.asarray(allocated, roots.dtype)
    if around is not None:
        around = jnp.asarray(around, roots.dtype)
    bound = coupling.bound(roots, around)
    slope = jnp.broadcast_to(slope, allocated.shape)
    moved = root_update(allocated, slope, bound.stiffness, bound.pull)
    return moved, bound.value


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["likelihood", "coupling", "unit", "support"],
    meta_fields=[],
)
@dataclass(frozen=True)
class CountLayer:
    """A majorise-minimise step for counts that are coupled over a graph.

    What :func:`nonneg.tl.deconvolve` iterates, and what training unrolls.
    """

    likelihood: Poisson | NegativeBinomial
    coupling: Coupling
    unit: Any
    """What changes of the objective are compared with."""
    support: Any = None
    """(n, k): 1 for types that a location may have, 0 for others; ``None``: all."""

    def __call__(self, roots: Any) -> tuple[Any, Any]:
        """Square roots of new amounts, and the objective at the old ones."""
        parts = self.likelihood.parts(roots * roots)
        around = self.coupling.around(roots)
        # The graph has done its part: it may be an operator that jit cannot take.
        coupling = replace(self.coupling, graph=None)
        moved, value = _move(roots, (parts.allocated, parts.slope), coupling, around)
        if self.support is not None:
            moved = moved * self.support
        return moved, parts.value + exact(value).sum()

    def start(self) -> Any:
        """Amounts to start from: nothing is known."""
        n, _ = self.likelihood.size.shape
        k, _ = self.likelihood.signatures.shape
        return np.full((n, k), 1 / k)

    def feasible(self, roots: Any) -> Any:
        """The nearest point from which a step can go on: zeros would stay."""
        roots = jnp.maximum(roots, _FLOOR)
        return roots if self.support is None else roots * self.support


# Amounts of 1e-10: what a type has that is absent.
_FLOOR = 1e-5
