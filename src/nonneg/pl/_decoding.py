"""How much each region knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from .._adata.tables import read_table
from .._adata.traces import of_result, read_result
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_one_of, check_positive_int
from ._colors import NO_DATA
from ._panels import new_figure

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from spatialdata import SpatialData

_SCORES = {
    "decode_events": ("accuracy", "balanced accuracy, held out"),
    "decode_behavior": ("r2", "R², held out"),
}
_NULL = ["null_mean", "null_q95"]


@of_result("decode_events")
@checked
@shared_docs
def decoding(
    adata: AnnData | SpatialData,
    key: str = "locanmf",
    *,
    of: Literal["decode_events", "decode_behavior"] = "decode_events",
    n_regions: int = 30,
    alpha: float = 0.05,
    ax: Axes | None = None,
    table_key: str | None = None,
) -> Axes:
    """Show how well each region predicts, the best first, beside chance.

    Grey bars reach to the 95 % quantile of the null, ticks are its mean. Filled points
    are significant after correction.

    Parameters
    ----------
    %(key)s
    of
        Which result: of :func:`nonneg.tl.decode_events` or
        :func:`nonneg.tl.decode_behavior`.
    n_regions
        Number of regions to show, at most.
    alpha
        Level of the adjusted p-value.
    ax
        Axes to draw on.
    %(table_key)s

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        If nothing was decoded for the key.

    See Also
    --------
    nonneg.pl.decoded_trace : prediction over truth

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> adata = nng.datasets.quilt(12, 400)
    >>> adata.var["time"] = np.arange(400) / 10
    >>> adata.var["speed"] = adata.varm["truth"][:, 2]
    >>> adata.uns["truth"]["region"] = np.array(["VISp", "VISp", "MOs", "RSP"])
    >>> nng.tl.decode_behavior(adata, "speed", key="truth", n_null=19)
    >>> ax = nng.pl.decoding(adata, "truth", of="decode_behavior")
    >>> ax.get_yticklabels()[0].get_text()
    'MOs'
    """
    adata = read_table(adata, table_key)
    check_one_of(of, _SCORES, "of")
    most = check_positive_int(n_regions, "n_regions")
    column, label = _SCORES[of]
    table = read_result(adata, key, of, {"table", "null"}).table(
        "table", text=["region"], numbers=[column, "rank", *_NULL, "p_adjusted"]
    )
    table = table.sort_values("rank").head(most)
    score = table[column].to_numpy()
    names = table["region"].tolist()
    place = np.arange(len(names))
    if ax is None:
        longest = 0.085 * max(map(len, names))
        _, ax = new_figure(
            figsize=(2.8 + longest, 0.8 + 0.2 * len(names)), layout="constrained"
        )
    null = table[_NULL].to_numpy()
    significant = table["p_adjusted"].to_numpy() <= alpha
    shown = np.concatenate([score, null[np.isfinite(null)]])
    # Fits that are far worse than the mean would make the others a line.
    left = max(float(shown.min()), -0.5) if of == "decode_behavior" else shown.min()
    room = 0.05 * (float(shown.max()) - left or 1.0)
    if np.isfinite(null).all():
        ax.barh(
            place, null[:, 1] - (left - room), left=left - room, color=NO_DATA, alpha=0.5,
            height=0.8, lw=0, label="null, up to its 95 % quantile",
        )  # fmt: skip
        ax.plot(null[:, 0], place, "|", color="0.4", ms=7, label="mean of the null")
    ax.plot(
        score[significant], place[significant], "o", color="C3", ms=5,
        label=f"adjusted p ≤ {alpha:g}",
    )  # fmt: skip
    ax.plot(score[~significant], place[~significant], "o", mfc="none", mec="C3", ms=5)
    ax.set_yticks(place, names, fontsize="small")
    ax.set(xlabel=label, ylim=(len(names) - 0.4, -0.6))
    ax.set_xlim(left - room, float(shown.max()) + room)
    ax.legend(
        fontsize="x-small", frameon=False, loc="lower left", bbox_to_anchor=(0, 1),
        borderaxespad=0.2, labelspacing=0.3,
    )  # fmt: skip
    ax.spines[["top", "right"]].set_visible(False)
    return ax
