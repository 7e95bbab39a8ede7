"""How models predict what was held out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import matplotlib.pyplot as plt
import numpy as np

from .._adata.checks import check_key
from .._adata.tables import of_table
from .._core.arguments import checked
from .._core.validators import check_one_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

# Of the distance between numbers of factors.
_DODGE = 0.3
_LABELS = {
    "neighbors": "4 nearest spots",
    "intercept": "gene rates",
    "nmf": "KL-NMF",
}
# Whose factors are means of those of neighbours.
_AVERAGED = ("nmf", "pnmf", "fa")
# What is best, and where a line is drawn.
_METRICS: dict[str, tuple[str, Literal["min"] | float | None]] = {
    "deviance": ("held-out deviance", "min"),
    "training_deviance": ("training deviance", None),
    "rmse": ("held-out error (RMSE)", "min"),
    "coverage": ("coverage of 90 % intervals", 0.9),
    "sparsity": ("share of zero loadings", None),
}


@of_table
@checked
def comparison(
    adata: AnnData,
    key: str = "comparison",
    *,
    metric: Literal[
        "deviance", "training_deviance", "rmse", "coverage", "sparsity"
    ] = "deviance",
    ax: Axes | None = None,
) -> Axes:
    """Show how models predict, against the number of factors.

    Or of spatial factors, where hybrids differ in nothing else: models without space
    are at 0 then, and those of fields alone at all of their factors.

    Means over splits. Of deviance and error lower is better, and the best model has a
    ring; bars of the others are standard errors of the difference from it, in which
    what splits have in common has no part. Bars of other numbers are standard errors over
    splits. Models without factors are horizontal lines. "Averaged" models have no space:
    factors of a held-out spot are means of those of its 4 nearest spots.

    Parameters
    ----------
    adata
        Annotated data with a comparison.
    key
        Key of the comparison in `adata.uns`.
    metric
        Column of the table. `"training_deviance"` beside `"deviance"` tells what is
        learned by heart; `"coverage"` should be near .9.
    ax
        Axes to draw on.

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        If there is no comparison under the key, or it lacks the column.
    ValueError
        If the metric is unknown, or no model has it.

    See Also
    --------
    nonneg.tl.compare : makes the comparison

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.ggblocks(12, 40)
    >>> nng.tl.compare(adata, ["pnmf", "intercept"], [2, 4], n_splits=2)
    >>> nng.pl.comparison(adata).get_xlabel()
    'number of factors'
    >>> nng.pl.comparison(adata, metric="coverage").get_ylabel()
    'coverage of 90 % intervals'
    """
    check_key(adata, "uns", key, hint="Call `nonneg.tl.compare` first.")
    check_one_of(metric, _METRICS, "metric")
    table: pd.DataFrame = adata.uns[key]
    if metric not in table:
        msg = f"adata.uns[{key!r}] has no column {metric!r}; it has {list(table)}."
        raise KeyError(msg)
    name, target = _METRICS[metric]
    # Tables of earlier versions have no variants.
    table = table.assign(method=table["method" if "method" in table else "model"])
    groups = ["model", "method", "n_components", "n_spatial"]
    table = table.astype({"model": str, "method": str}).dropna(subset=metric)
    if table.empty:
        msg = f"No model in adata.uns[{key!r}] has {metric!r}."
        raise ValueError(msg)
    wide = table.pivot_table(index=groups, columns="split", values=metric, sort=False)
    means = wide.mean(axis=1).to_numpy()
    best = int(means.argmin()) if target == "min" else None
    compared = wide if best is None else wide.sub(wide.iloc[best])
    errors = compared.sem(axis=1).fillna(0).to_numpy()
    rows = [
        (str(model), str(method), int(size), int(t))
        for model, method, size, t in wide.index.to_frame().itertuples(index=False)
    ]
    halves = all(t == -(-size // 2) for _, method, size, t in rows if method == "nsfh")
    if ax is None:
        _, ax = plt.subplots(figsize=(5.4, 2.8), layout="constrained")
    # Spatial factors, where that is all that differs.
    by_spatial = not halves and len({size for *_, size, _ in rows if size}) == 1
    curves: dict[str, list[tuple[int, float, float, bool]]] = {}
    lines: dict[str, tuple[float, bool]] = {}
    for i, (model, method, size, t) in enumerate(rows):
        label = _label(model, method)
        if method == "nsfh" and not halves and not by_spatial:
            label += f", {t} spatial"
        mean, is_best = float(means[i]), i == best
        if not size:
            lines[label] = mean, is_best
            continue
        point = (t if by_spatial else size, mean, float(errors[i]), is_best)
        curves.setdefault(label, []).append(point)
    ticks = _draw(ax, curves, lines)
    if isinstance(target, float):
        ax.axhline(target, color="0.7", lw=0.8, label="as promised")
    if ticks:
        ax.set_xticks(ticks)
    counted = "spatial factors" if by_spatial else "factors"
    ax.set(xlabel=f"number of {counted}", ylabel=name)
    ax.tick_params(labelsize="small")
    ax.spines[["top", "right"]].set_visible(False)
    averaged = any(method in _AVERAGED for _, method, _, _ in rows)
    legend = ax.legend(
        fontsize="small",
        frameon=False,
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        title=_explain(wide.shape[1], from_best=best is not None, averaged=averaged),
        title_fontsize="x-small",
        alignment="left",
    )
    legend.get_title().set_color("0.4")
    return ax


def _draw(
    ax: Axes,
    curves: Mapping[str, Sequence[tuple[int, float, float, bool]]],
    lines: Mapping[str, tuple[float, bool]],
) -> list[int]:
    """Curves of models with factors and lines of others; numbers of factors."""
    ticks = sorted({point[0] for points in curves.values() for point in points})
    # Side by side, because many models are about as good.
    gap = float(np.diff(ticks).min()) if len(ticks) > 1 else 1.0
    for i, (label, points) in enumerate(curves.items()):
        sizes, value, error, ring = (
            np.array(x) for x in zip(*sorted(points), strict=True)
        )
        shift = _DODGE * gap * (i - (len(curves) - 1) / 2) / max(len(curves), 1)
        ax.errorbar(
            sizes + shift,
            value,
            error,
            fmt="o-",
            ms=3.5,
            lw=1,
            elinewidth=1,
            capsize=2,
            label=label,
        )
        if ring.any():
            at = sizes[ring] + shift, value[ring]
            ax.scatter(*at, 80, facecolors="none", edgecolors="0.3", label="best")
    for i, (label, (mean, is_best)) in enumerate(lines.items()):
        ax.axhline(
            mean,
            color="0.5",
            ls=("--", ":")[i % 2],
            lw=1,
            label=label + ", best" * is_best,
        )
    return ticks


def _label(model: str, method: str) -> str:
    """What a variant is called, or a model that has no other name."""
    label = model if model != method else _LABELS.get(method, method.upper())
    return label + ", averaged" * (method in _AVERAGED)


def _explain(n_splits: int, *, from_best: bool, averaged: bool) -> str:
    """What bars and words in the legend mean."""
    if n_splits == 1:
        lines = ["one split: no bars"]
    elif from_best:
        lines = [
            "bars: standard error of the",
            f"difference from the best, {n_splits} splits",
        ]
    else:
        lines = [f"bars: standard error, {n_splits} splits"]
    if averaged:
        lines += ["averaged: factors of the", "4 nearest spots"]
    return "\n".join(lines)
