"""What ties the compositions of locations to one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp

from .ties import Ties, group_means, register_ties


class Pull(NamedTuple):
    """Bound on the coupling at the present roots: ``stiffness s² - 2 pull s``."""

    stiffness: Any
    pull: Any
    value: Any
    """(n,): the coupling itself, each location's part."""


@register_ties
@dataclass(frozen=True)
class Coupling(Ties):
    r"""Distances between square roots of amounts, of neighbours and within groups.

    .. math::

        \frac{\lambda}{2} \sum_{ij} a_{ij} \lVert \sqrt{u_i} - \sqrt{u_j} \rVert^2
        + \kappa \sum_i \lVert \sqrt{u_i} - \sqrt{w_{r(i)}} \rVert^2

    Both are jointly convex in the amounts, unlike the divergence from an average of
    neighbours, and they cost most where a type is present on one side only. On square
    roots the noise of counts is the same for rare and abundant types, so that one
    weight, in counts, serves all.
    """

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
