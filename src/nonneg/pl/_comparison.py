"""Held-out deviance of models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from .._adata.checks import check_key
from .._adata.tables import of_table
from .._core.arguments import checked

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

# Of the distance between numbers of factors.
_DODGE = 0.3
_LABELS = {
    "neighbors": "4 nearest spots",
    "intercept": "gene rates",
    "nmf": "KL-NMF, averaged",
    "pnmf": "PNMF, averaged",
    "fa": "FA, averaged",
}


@of_table
@checked
def comparison(
    adata: AnnData, key: str = "comparison", *, ax: Axes | None = None
) -> Axes:
    """Show held-out deviance against the number of factors.

    Means over splits; bars are standard errors of the difference from the best model,
    in which what splits have in common has no part. Models without factors are
    horizontal lines. Lower is better.

    Parameters
    ----------
    adata
        Annotated data with a comparison.
    key
        Key of the comparison in `adata.uns`.
    ax
        Axes to draw on.

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        If there is no comparison under the key.

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
    """
    check_key(adata, "uns", key, hint="Call `nonneg.tl.compare` first.")
    table: pd.DataFrame = adata.uns[key]
    groups = ["model", "n_components", "n_spatial"]
    wide = table.pivot_table(
        index=groups, columns="split", values="deviance", sort=False
    )
    means = wide.mean(axis=1).to_numpy()
    errors = wide.sub(wide.iloc[int(means.argmin())]).sem(axis=1).fillna(0).to_numpy()
    rows = [
        (str(model), int(size), int(t))
        for model, size, t in wide.index.to_frame().itertuples(index=False)
    ]
    halves = all(t == -(-size // 2) for model, size, t in rows if model == "nsfh")
    if ax is None:
        _, ax = plt.subplots(figsize=(4.8, 2.6), layout="constrained")
    # Spatial factors, where that is all that differs.
    by_spatial = not halves and len({size for _, size, _ in rows if size}) == 1
    drawn: dict[str, list[tuple[int, float, float]]] = {}
    for (model, size, t), value, error in zip(rows, means, errors, strict=True):
        label = _LABELS.get(model, model.upper())
        if model == "nsfh" and not halves and not by_spatial:
            label = f"NSFH, {t} spatial"
        x = t if by_spatial and model == "nsfh" else size
        drawn.setdefault(label, []).append((x, value, error))
    curves = {label: points for label, points in drawn.items() if points[0][0]}
    ticks = sorted({size for points in curves.values() for size, _, _ in points})
    # Side by side, because many models are about as good.
    gap = float(np.diff(ticks).min()) if len(ticks) > 1 else 1.0
    for i, (label, points) in enumerate(curves.items()):
        sizes, value, error = (np.array(x) for x in zip(*sorted(points), strict=True))
        shift = _DODGE * gap * (i - (len(curves) - 1) / 2) / max(len(curves), 1)
        ax.errorbar(
            sizes + shift,
            value,
            error,
            fmt="o-",
            ms=3.5,
            lw=1,
            elinewidth=1,
            label=label,
        )
    lines = {label: points for label, points in drawn.items() if label not in curves}
    for (label, points), style in zip(lines.items(), ("--", ":"), strict=False):
        ax.axhline(points[0][1], color="0.5", ls=style, lw=1, label=label)
    if ticks:
        ax.set_xticks(ticks)
    name = "spatial factors" if by_spatial else "factors"
    ax.set(xlabel=f"number of {name}", ylabel="held-out deviance")
    ax.tick_params(labelsize="small")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(
        fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1, 0.5)
    )
    return ax
