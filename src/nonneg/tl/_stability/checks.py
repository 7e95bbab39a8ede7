"""What a scan needs to make sense."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._core.arguments import check_taken
from ..._core.validators import check_one_of, check_positive_int
from .fits import VERBS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ...models.stability.draws import Draws
    from ...operators.stats import MatrixStats


def read_ranks(n_components: int | Iterable[int]) -> list[int]:
    """Numbers of components, each once."""
    try:
        given: Any = [operator.index(n_components)]  # type: ignore[arg-type]
    except TypeError:
        given = n_components
    ranks = [check_positive_int(rank, "n_components") for rank in given]
    if not ranks:
        msg = "n_components is empty: give numbers to compare, e.g. range(5, 31)."
        raise ValueError(msg)
    twice = sorted({rank for rank in ranks if ranks.count(rank) > 1})
    if twice:
        msg = f"n_components holds {twice} more than once."
        raise ValueError(msg)
    return ranks


def check_method(
    method: str,
    kwargs: Mapping[str, Any],
    n_bootstraps: int,
    *,
    resample: str | None,
    var_weights: Any,
    obsm: str | None,
) -> None:
    """Raise unless arguments go together."""
    check_one_of(method, ("pca", *VERBS), "method")
    check_one_of(resample, ("var", "obs", None), "resample")
    if n_bootstraps < 2:
        msg = f"n_bootstraps={n_bootstraps}: there must be two samples to compare."
        raise ValueError(msg)
    if method == "pca" and kwargs:
        msg = f"method='pca' takes no method_kwargs, but {sorted(kwargs)} are given."
        raise ValueError(msg)
    if method == "pca" and resample is None:
        msg = (
            "resample=None compares random starts, which method='pca' does not have. "
            "Use resample='var' or 'obs'."
        )
        raise ValueError(msg)
    if var_weights is not None and method not in {"nmf", "pca"}:
        msg = f"var_weights are for method='nmf', not {method!r}."
        raise ValueError(msg)
    copies = not (method == "pca" or (method == "nmf" and not kwargs))
    if copies and obsm is not None:
        msg = (
            f"obsm={obsm!r} is for method='nmf' without method_kwargs, and 'pca': other "
            "functions are called for copies of the variables."
        )
        raise ValueError(msg)
    ours = {"layer", "mask_var", "obsm", "rng", "key_added", "copy", "n_components"}
    if clashing := sorted(ours & set(kwargs)):
        msg = f"method_kwargs hold {clashing}, which are arguments of tl.stability."
        raise ValueError(msg)
    if method != "pca":
        where = f"method_kwargs: tl.{method}"
        check_taken(VERBS[method].fit, kwargs, where, own=ours)


def check_draws(draws: Draws, stats: MatrixStats, max_rank: int) -> None:
    """Raise if a sample holds less than the components need."""
    filled = np.asarray((stats.row_sums, stats.col_sums)[draws.resample != "obs"] != 0)
    if stats.minimum < 0:
        # Sums of entries of any sign tell nothing.
        filled = np.ones_like(filled)
    if draws.var_weights is not None and draws.resample != "obs":
        filled = filled & (draws.var_weights > 0)
    name = "observations" if draws.resample == "obs" else "variables"
    for sample in range(draws.n_samples):
        drawn = draws.index(sample)
        n_drawn = (
            np.unique(drawn[filled[drawn]]).size if drawn is not None else filled.sum()
        )
        if n_drawn < max_rank:
            msg = (
                f"Sample {sample} holds {n_drawn} different {name} that are not all zero, "
                f"fewer than n_components={max_rank}. Use fewer components, or more "
                f"{name}: a sample holds about two thirds of them."
            )
            raise ValueError(msg)
