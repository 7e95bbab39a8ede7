"""How models predict what was held out."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np

from .._adata.tables import read_table
from .._core.arguments import checked
from .._core.docs import shared_docs
from ..get import comparison as get_comparison

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from spatialdata import SpatialData

    from ..get._comparison import Metric

# Of models that are about as good, at the same numbers of factors. No circles or squares
# without filling, which mark settings.
_POINTS = "o^Dv<>PX"
_LABELS = {
    "neighbors": "4 nearest spots",
    "intercept": "gene rates",
    "nmf": "KL-NMF",
}
# Whose factors are means of those of neighbours.
_AVERAGED = ("nmf", "pnmf", "fa")
# What they are called, and where a line is drawn.
_METRICS: dict[str, tuple[str, float | None]] = {
    "deviance": ("held-out deviance", None),
    "training_deviance": ("training deviance", None),
    "rmse": ("held-out error (RMSE)", None),
    "coverage": ("coverage of 90 % intervals", 0.9),
    "sparsity": ("share of zero loadings", None),
}
_MARKS: dict[str, dict[str, Any]] = {
    "is_best": {"marker": "o", "s": 110, "label": "best"},
    "is_selected": {"marker": "s", "s": 70, "label": "selected"},
    "is_last": {"marker": "s", "s": 70, "ls": ":", "label": "selected: try more"},
}
# Models at the same number of factors, in distances between numbers.
_APART = 0.05
# With fewer splits, a standard error is itself known to a factor of two at best.
_FEW_SPLITS = 4
_PROMISED = "as promised"
# What the legend says of its own.
_OWN = {_PROMISED, *(mark["label"] for mark in _MARKS.values())}


@checked
@shared_docs
def comparison(
    adata: AnnData | SpatialData,
    key: str = "comparison",
    *,
    metric: Metric = "deviance",
    models: str | Sequence[str] | None = None,
    ax: Axes | None = None,
    table_key: str | None = None,
) -> Axes:
    """Show how models predict, against the number of factors.

    Or of spatial factors, where hybrids differ in nothing else: models without space
    are at 0 then, and those of fields alone at all of their factors.

    Means over splits. Of deviance and error lower is better, and the best model has a
    ring; bars of the others are standard errors of the difference from it, in which
    what splits have in common has no part. A square is around the setting of a model
    that none with more factors beats by more than the standard error of their
    difference: the one to take, by :func:`nonneg.get.comparison`. It is dotted where this is
    the largest number that was tried: more may be better. Bars of other numbers
    are standard errors over splits. Models without factors are horizontal lines.
    "Averaged" models have no space: factors of a held-out spot are means of those of its
    4 nearest spots.

    Parameters
    ----------
    %(compared)s
        A baseline far from the rest leaves little room for it: leave it out.
    ax
        Axes to draw on.
    %(table_key)s

    Returns
    -------
    The Axes.

    Raises
    ------
    %(compared_errors)s

    See Also
    --------
    nonneg.tl.compare : makes the comparison
    nonneg.get.comparison : the numbers

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.ggblocks(12, 40)
    >>> nng.tl.compare(adata, ["pnmf", "intercept"], [2, 4], n_splits=2)
    >>> nng.pl.comparison(adata).get_xlabel()
    'number of factors'
    >>> ax = nng.pl.comparison(adata, metric="coverage", models="pnmf")
    >>> ax.get_ylabel()
    'coverage of 90 % intervals'
    """
    adata = read_table(adata, table_key)
    table = get_comparison(adata, key, metric=metric, models=models)
    name, target = _METRICS[metric]
    from_best = bool(table["is_best"].any())
    table["error"] = table["difference_se" if from_best else "se"].fillna(0)
    # Where there is a choice.
    table["is_selected"] &= table.groupby("model")["model"].transform("size") > 1
    hybrids = table[table["method"] == "nsfh"]
    halves = (hybrids["n_spatial"] == -(-hybrids["n_components"] // 2)).all()
    sizes = table.loc[table["n_components"] > 0, "n_components"].unique()
    # Spatial factors, where that is all that differs.
    by_spatial = not halves and sizes.size == 1
    taken = set(table["model"])
    settings = table[["model", "method", "n_components", "n_spatial", "is_best"]]
    table["label"] = _told_apart(
        (
            model,
            _label(model, method, taken)
            + f", {t} spatial" * (method == "nsfh" and not halves and not by_spatial)
            # Of a line, whose mean has no mark.
            + ", best" * (is_best and not k),
        )
        for model, method, k, t, is_best in settings.to_numpy()
    )
    table["size"] = table["n_spatial" if by_spatial else "n_components"]
    table["is_last"] = _at_the_end(table)
    table["is_selected"] &= ~table["is_last"]
    if ax is None:
        _, ax = plt.subplots(figsize=(5.4, 2.8), layout="constrained")
    _draw_curves(ax, table[table["n_components"] > 0])
    _draw_lines(ax, table[table["n_components"] == 0])
    if isinstance(target, float):
        ax.axhline(target, color="0.7", lw=0.8, label=_PROMISED)
    counted = "spatial factors" if by_spatial else "factors"
    ax.set(xlabel=f"number of {counted}", ylabel=name)
    ax.tick_params(labelsize="small")
    ax.spines[["top", "right"]].set_visible(False)
    # Every model has a square; one in the legend will do.
    handles, labels = ax.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    legend = ax.legend(
        once.values(),
        once.keys(),
        fontsize="small",
        frameon=False,
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        title=_explain(table),
        title_fontsize="x-small",
        alignment="left",
    )
    legend.get_title().set_color("0.4")
    return ax


def _draw_curves(ax: Axes, table: pd.DataFrame) -> None:
    """Models with factors."""
    ticks = np.unique(table["size"])
    labels = table["label"].unique()
    # Beside each other, so that bars can be told apart.
    step = _APART * (np.diff(ticks).min() if ticks.size > 1 else 1)
    beside = step * (np.arange(len(labels)) - (len(labels) - 1) / 2)
    points = itertools.cycle(_POINTS)
    for label, point, shift in zip(labels, points, beside, strict=False):
        own = table[table["label"] == label].sort_values("size")
        x, y = own["size"].to_numpy() + shift, own["mean"].to_numpy()
        ax.errorbar(
            x,
            y,
            own["error"].to_numpy(),
            fmt=f"{point}-",
            ms=4,
            lw=1,
            elinewidth=1,
            capsize=2,
            label=label,
        )
        for column, style in _MARKS.items():
            marked = own[column].to_numpy()
            if marked.any():
                ax.scatter(
                    x[marked], y[marked], facecolors="none", edgecolors="0.3", **style
                )
    if ticks.size:
        ax.set_xticks(ticks)


def _draw_lines(ax: Axes, table: pd.DataFrame) -> None:
    """Models without factors."""
    for i, (label, mean) in enumerate(zip(table["label"], table["mean"], strict=True)):
        ax.axhline(mean, color="0.5", ls=("--", ":")[i % 2], lw=1, label=label)


def _label(model: str, method: str, taken: set[str]) -> str:
    """What a variant is called, or a model that has no other name."""
    label = _LABELS.get(method, method.upper())
    # Unless a variant is called that.
    label = model if model != method or label in taken else label
    return label + ", averaged" * (method in _AVERAGED)


def _told_apart(labels: Iterable[tuple[str, str]]) -> list[str]:
    """Labels of models, with quotes where the legend has them for something else.

    And where they begin with an underscore, which matplotlib leaves out.
    """
    owner: dict[str, str] = {}
    found = []
    for model, wanted in labels:
        label = wanted
        while (
            label in _OWN
            or label.startswith("_")
            or owner.setdefault(label, model) != model
        ):
            label = f"'{label}'"
        found.append(label)
    return found


def _at_the_end(table: pd.DataFrame) -> pd.Series:
    """Selected settings of the largest number tried, where there could be larger ones."""
    sizes, model = table["size"], table.groupby("label")
    # Where spatial factors are counted, there are no more of them than of all.
    by_spatial = bool(sizes.ne(table["n_components"]).any())
    more = (table["n_spatial"] < table["n_components"]) | (not by_spatial)
    several = model["size"].transform("min") < model["size"].transform("max")
    at_end = several & (sizes == model["size"].transform("max"))
    return table["is_selected"] & at_end & more


def _explain(table: pd.DataFrame) -> str:
    """What bars, squares and words in the legend mean."""
    n_splits = int(table["n_splits"].iloc[0])
    if n_splits == 1:
        lines = ["one split: no bars"]
    elif table["is_best"].any():
        few = " (few, so rough)" if n_splits < _FEW_SPLITS else ""
        lines = [
            "bars: standard error of the",
            "difference from the best,",
            f"{n_splits} splits{few}",
        ]
    else:
        lines = [f"bars: standard error, {n_splits} splits"]
    if table[["is_selected", "is_last"]].any(axis=None):
        lines += [
            "selected: more factors are not",
            "better by more than standard error",
        ]
    if table["method"].isin(_AVERAGED).any():
        lines += ["averaged: factors of the", "4 nearest spots"]
    return "\n".join(lines)
