"""The arguments of a deconvolution, checked, with what training has found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..._core.validators import check_at_least, check_one_of, check_positive_int
from ...models.deconvolution.fit import Budget
from ...models.deconvolution.problem import IS_COUNTS
from .learned import N_NEIGHBORS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from ...models.deconvolution.deconvolve import Options
    from ...models.loop import Trace
    from .layout import Layout
    from .learned import Learned


@dataclass(frozen=True)
class Choices:
    """The arguments that describe a deconvolution."""

    options: Options
    cell_type_key: str | None
    reference_layer: str | None
    n_genes: int | None
    spatial_key: str | None
    library_key: str | None
    region_key: str | None
    n_neighbors: int
    learned: str | Mapping[str, Any] | None = None
    own: OwnTypes | None = None
    """Of the section itself; ``None``: from a reference."""
    compositions: pd.DataFrame | None = None


@dataclass(frozen=True)
class OwnTypes:
    """What was learned from the section, beside signatures."""

    n_types: int
    layout: Layout
    marker_scores: pd.DataFrame | None
    """Of sets of markers in types."""
    trace: Trace


def check_choices(choices: Choices) -> None:
    """Raise if a number or a name is out of range."""
    options = choices.options
    check_one_of(options.likelihood, tuple(IS_COUNTS), "likelihood")
    for name in ("n_genes", "max_types"):
        value = choices.n_genes if name == "n_genes" else options.max_types
        if value is not None:
            check_positive_int(value, name)
    check_positive_int(choices.n_neighbors, "n_neighbors")
    check_positive_int(options.budget.max_iter, "max_iter")
    check_at_least(options.budget.tol, 0, "tol")
    for name in ("graph_weight", "group_weight"):
        value = getattr(options.wishes, name)
        if value is not None:
            check_at_least(value, 0, name)
    if not 0 < options.fdr < 1:
        msg = f"fdr={options.fdr!r} must be above 0 and below 1."
        raise ValueError(msg)
    check_compositions(choices.compositions, choices.region_key)
    if choices.spatial_key is None and options.wishes.graph_weight:
        msg = (
            f"graph_weight={options.wishes.graph_weight} needs coordinates, but "
            "spatial_key is None."
        )
        raise ValueError(msg)
    if options.likelihood != "poisson" and options.wishes.effects:
        msg = "effects=True is for likelihood='poisson'."
        raise ValueError(msg)


def check_compositions(
    compositions: pd.DataFrame | None, region_key: str | None
) -> None:
    """Raise where there are no regions to have them."""
    if compositions is not None and region_key is None:
        msg = "compositions are of regions: pass region_key."
        raise ValueError(msg)


def with_learned(choices: Choices, learned: Learned) -> Choices:
    """Choices with what training has found, or an error if it is for others."""
    options = choices.options
    wishes = options.wishes
    suits = {
        "likelihood": (options.likelihood, learned.likelihood),
        "gene_weights": (wishes.gene_weights, learned.gene_weights),
        "region_key": (choices.region_key is not None, learned.has_regions),
    }
    for name, (here, there) in suits.items():
        if here != there:
            what = (
                f"{name}={there!r}"
                if name != "region_key"
                else f"{'a' if there else 'no'} region_key"
            )
            msg = f"learned= is the result of training with {what}. Pass the same here, or train again."
            raise ValueError(msg)
    if choices.spatial_key is None:
        msg = "learned= needs coordinates, but spatial_key is None."
        raise ValueError(msg)
    default = Budget()
    given = {
        "graph_weight": wishes.graph_weight is not None,
        "group_weight": wishes.group_weight is not None,
        "tol": options.budget.tol != default.tol,
        "max_iter": options.budget.max_iter != default.max_iter,
        "n_neighbors": choices.n_neighbors not in {N_NEIGHBORS, learned.n_neighbors},
        "compositions": choices.compositions is not None,
    }
    if both := [name for name, is_given in given.items() if is_given]:
        msg = f"{both} are part of what was learned; do not pass them with learned=."
        raise ValueError(msg)
    wishes = replace(
        wishes, graph_weight=learned.graph_weight, group_weight=learned.group_weight
    )
    options = replace(options, wishes=wishes, n_layers=learned.n_layers)
    return replace(choices, options=options, n_neighbors=learned.n_neighbors)
