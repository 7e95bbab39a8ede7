"""Demixed components."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from .._adata.labels import as_text
from .._adata.tables import read_table
from .._adata.traces import of_result, read_result
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_positive_int
from ._colors import NO_DATA
from ._panels import new_panels

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from spatialdata import SpatialData

_STYLES = ("-", "--", ":", "-.")


@of_result("demixed_pca")
@checked
@shared_docs
def demixed_pca(
    adata: AnnData | SpatialData,
    key: str = "locanmf",
    *,
    n_components: int = 2,
    table_key: str | None = None,
) -> list[Axes]:
    """Show demixed components: a row for each part, with the conditions as lines.

    Parameters
    ----------
    %(key)s
    n_components
        Components of each part, those that explain most.
    %(table_key)s

    Returns
    -------
    Axes of the components, part by part.

    Raises
    ------
    KeyError
        If :func:`nonneg.tl.demixed_pca` was not called for the key.

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> import pandas as pd
    >>> adata = nng.datasets.quilt(12, 100)
    >>> adata.var["time"] = np.arange(100) / 10
    >>> events = pd.DataFrame({"time": [2.0, 4.0, 6.0, 8.0], "side": list("lrlr")})
    >>> nng.tl.demixed_pca(adata, "side", events, key="truth", window=(-1, 1))
    >>> len(nng.pl.demixed_pca(adata, "truth", n_components=1))
    2
    """
    adata = read_table(adata, table_key)
    most = check_positive_int(n_components, "n_components")
    found = read_result(adata, key, "demixed_pca", {"decoder", "marginal", "scores"})
    marginal = as_text(found["marginal"])
    explained = np.asarray(found["explained"], np.float64)
    scores = np.asarray(found["scores"], np.float64)
    offset = np.asarray(found["offset"], np.float64)
    variance = found.table("variance", text=["part"], numbers=["share"])
    parts = variance["part"].tolist()
    share = dict(zip(parts, variance["share"].tolist(), strict=True))
    rows = {part: np.flatnonzero(marginal == part)[:most] for part in parts}
    rows = {part: some for part, some in rows.items() if some.size}
    columns = [str(name) for name in np.ravel(found["params"]["by"])]
    levels = [as_text(found["levels"][column]).tolist() for column in columns]
    ncols = max(some.size for some in rows.values())
    grid = new_panels(ncols, ncols, (2.4, 1.8), n_groups=len(rows))
    panels = []
    for row, (part, some) in enumerate(rows.items()):
        for column in range(ncols):
            ax = grid[row * ncols + column]
            if column >= some.size:
                ax.remove()
                continue
            k = some[column]
            for place in product(*(range(len(names)) for names in levels)):
                label = ", ".join(
                    names[i] for names, i in zip(levels, place, strict=True)
                )
                # Colours are of the first factor, styles of the others together.
                style = _STYLES[sum(place[1:]) % len(_STYLES)]
                line = scores[(k, slice(None), *place)]
                ax.plot(
                    offset, line, color=f"C{place[0]}", ls=style, lw=1.2, label=label
                )
            ax.axvline(0, color=NO_DATA, lw=0.8, zorder=0)
            ax.set_title(f"explains {explained[k]:.1%}", fontsize="small")
            ax.tick_params(labelsize="x-small")
            ax.margins(x=0)
            ax.spines[["top", "right"]].set_visible(False)
            if column == 0:
                ax.set_ylabel(
                    f"{part}\n({share[part]:.0%} of variance)", fontsize="small"
                )
            if row == len(rows) - 1:
                ax.set_xlabel("time from event (s)", fontsize="x-small")
            panels.append(ax)
    panels[0].legend(fontsize="x-small", frameon=False, handlelength=1.4)
    return panels
