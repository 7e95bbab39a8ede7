"""What ties the compositions of locations to each other."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import jax

if TYPE_CHECKING:
    from ...operators.protocol import MatrixOperator


@dataclass(frozen=True)
class Ties:
    """A graph of neighbours, and groups."""

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


def register_ties[T: type[Ties]](cls: T) -> T:
    """As a pytree of the fields that all ties have."""
    names = [field.name for field in fields(Ties)]
    return jax.tree_util.register_dataclass(cls, data_fields=names, meta_fields=[])


def group_means(values: Any, group: Any, group_size: Any) -> Any:
    """Means of rows, (n_groups, k)."""
    n_groups = group_size.shape[0]
    return jax.ops.segment_sum(values, group, n_groups) / group_size
