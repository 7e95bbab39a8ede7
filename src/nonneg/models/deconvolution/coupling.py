"""What ties the compositions of locations to one another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from ...operators.protocol import MatrixOperator


class Pull(NamedTuple):
    """Bound on the coupling at the present roots: ``stiffness s² - 2 pull s``."""

    stiffness: Any
    pull: Any
    value: Any
    """(n,): the coupling itself, each location's part."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        "graph",
        "degree",
        "graph_weight",
        "group",
        "group_size",
        "group_weight",
        "prototypes",
    ],
    meta_fields=[],
)
@dataclass(frozen=True)
class Coupling:
    r"""Distances between square roots of amounts, of neighbours and within groups.

    .. math::

        \frac{\lambda}{2} \sum_{ij} a_{ij} \lVert \sqrt{u_i} - \sqrt{u_j} \rVert^2
        + \kappa \sum_i \lVert \sqrt{u_i} - \sqrt{w_{r(i)}} \rVert^2

    Both are jointly convex in the amounts, unlike the divergence from an average of
    neighbours, and they cost most where a type is present on one side only. On square
    roots the noise of counts is the same for rare and abundant types, so that one
    weight, in counts, serves all.
    """

    graph: MatrixOperator | None = None
    """Symmetric affinities (n, n), with an empty diagonal: it would only damp."""
    degree: Any = None
    """(n, 1)"""
    graph_weight: Any = 0.0
    group: Any = None
    """(n,): group of every location."""
    group_size: Any = None
    """(n_groups, 1)"""
    group_weight: Any = 0.0
    prototypes: Any = None
    """(n_groups, k): composition of groups; ``None``: their best one at any time."""

    def around(self, roots: Any) -> Any:
        """Sums over neighbours, ``None`` where there are none."""
        if self.graph is None:
            return None
        return self.graph.matmul(roots)

    def bound(self, roots: Any, around: Any) -> Pull:
        """Separable bound that touches the coupling at these roots."""
        stiffness: Any = 0.0
        pull: Any = 0.0
        value = jnp.zeros(roots.shape[0], roots.dtype)
        if around is not None:
            own = self.degree * roots
            stiffness = stiffness + 2 * self.graph_weight * self.degree
            pull = pull + self.graph_weight * (own + around)
            value = value + self.graph_weight * (roots * (own - around)).sum(1)
        if self.group is not None:
            centre = self._centres(roots)[self.group]
            stiffness = stiffness + self.group_weight
            pull = pull + self.group_weight * centre
            value = value + self.group_weight * ((roots - centre) ** 2).sum(1)
        return Pull(stiffness, pull, value)

    def _centres(self, roots: Any) -> Any:
        if self.prototypes is not None:
            return jnp.sqrt(self.prototypes)
        return group_means(roots, self.group, self.group_size)


def group_means(values: Any, group: Any, group_size: Any) -> Any:
    """Means of rows, (n_groups, k)."""
    n_groups = group_size.shape[0]
    return jax.ops.segment_sum(values, group, n_groups) / group_size
