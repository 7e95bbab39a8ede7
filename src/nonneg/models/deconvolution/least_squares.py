"""One layer for least squares over the simplex, the published model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...kernels.mixture import simplex_update
from ...kernels.nnls import nnls
from ..factor.alternate import exact
from .ties import Ties, group_means, register_ties


@register_ties
@dataclass(frozen=True)
class Quadratic(Ties):
    r"""``λ Tr(Vᵀ L V) + κ Σ_i ‖v_i - ω_r(i)‖²``: the Laplacian, and a pull of groups."""

    def centres(self, shares: Any) -> Any:
        """(n, k): what each location is pulled to."""
        centres = self.prototypes
        if centres is None:
            centres = group_means(shares, self.group, self.group_size)
        return centres[self.group]


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["product", "gram", "sq_norm", "coupling", "unit", "support"],
    meta_fields=[],
)
@dataclass(frozen=True)
class LeastSquaresLayer:
    """A multiplicative step over the simplex for ``‖Z - V B‖²`` and a Laplacian.

    Z are the data of unit depth. Shares sum to one at every step, so that the penalty
    of the published rule on their sum has nothing to do.
    """

    product: Any
    """(n, k): Z Bᵀ"""
    gram: Any
    """(k, k): B Bᵀ"""
    sq_norm: Any
    """‖Z‖²"""
    coupling: Quadratic
    unit: Any
    support: Any = None
    """(n, k): 1 for types that a location may have, 0 for others; ``None``: all."""

    def __call__(self, roots: Any) -> tuple[Any, Any]:
        """Square roots of new shares, and the objective at the old ones."""
        shares = roots * roots
        shares = shares / shares.sum(1, keepdims=True)
        fitted = shares @ self.gram
        value = self.sq_norm + _total((fitted - 2 * self.product) * shares)
        attraction, repulsion = self.product, fitted
        c = self.coupling
        if c.graph is not None:
            around = jnp.asarray(c.graph.matmul(shares), shares.dtype)
            own = c.degree * shares
            attraction = attraction + c.graph_weight * around
            repulsion = repulsion + c.graph_weight * own
            value = value + c.graph_weight * _total(shares * (own - around))
        if c.group is not None:
            centres = c.centres(shares)
            attraction = attraction + c.group_weight * centres
            repulsion = repulsion + c.group_weight * shares
            value = value + c.group_weight * _total((shares - centres) ** 2)
        return jnp.sqrt(simplex_update(shares, attraction, repulsion)), value

    def start(self) -> Any:
        """Shares to start from: non-negative least squares, each by itself."""
        found = nnls(self.product, self.gram)
        return np.asarray(found / jnp.maximum(found.sum(1, keepdims=True), _FLOOR))

    def feasible(self, roots: Any) -> Any:
        """Roots of shares that are positive and sum to one."""
        roots = jnp.maximum(roots, _FLOOR)
        if self.support is not None:
            roots = roots * self.support
        return roots / jnp.sqrt((roots * roots).sum(1, keepdims=True))


_FLOOR = 1e-5


def _total(x: Any) -> Any:
    """Sum of all entries, in float64 on the host."""
    return exact(x.sum(1)).sum()
