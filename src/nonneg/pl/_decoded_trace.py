"""Decoded behaviour over what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._adata.behavior import read_behavior
from .._adata.tables import read_table
from .._adata.traces import of_result, read_result, read_time
from .._adata.views import read_factors, read_side
from .._core.arguments import checked
from .._core.docs import shared_docs
from ._time_courses import draw_time_courses

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from spatialdata import SpatialData

_HINT = "Call `nonneg.tl.decode_behavior` again."


@of_result("decode_behavior")
@checked
@shared_docs
def decoded_trace(
    adata: AnnData | SpatialData,
    region: str | None = None,
    *,
    key: str = "locanmf",
    interval: tuple[float, float] | None = None,
    ax: Axes | None = None,
    table_key: str | None = None,
) -> Axes:
    """Show behaviour that was decoded, held out, over the truth.

    Parameters
    ----------
    adata
        Annotated data with the result of :func:`nonneg.tl.decode_behavior`.
    region
        Region that decodes. `None`: all regions together.
    key
        Key of the components.
    interval
        Seconds to show, first and last. `None`: the minute in the middle.
    ax
        Axes to draw on.
    %(table_key)s

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        If nothing was decoded for the key, or there is no such region.
    ValueError
        If no frame is in the interval.

    See Also
    --------
    nonneg.pl.decoding : all regions

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> adata = nng.datasets.quilt(12, 400)
    >>> adata.var["time"] = np.arange(400) / 10
    >>> adata.var["speed"] = adata.varm["truth"][:, 2]
    >>> adata.uns["truth"]["region"] = np.array(["VISp", "VISp", "MOs", "RSP"])
    >>> nng.tl.decode_behavior(adata, "speed", key="truth", n_null=0)
    >>> nng.pl.decoded_trace(adata, "MOs", key="truth").get_ylabel()
    'speed'
    """
    adata = read_table(adata, table_key)
    found = read_result(adata, key, "decode_behavior", {"table", "window"})
    table = found.table("table", text=["region"], numbers=["r2"])
    names = table["region"].tolist()
    # The last one is that of all regions.
    decoded = read_side(
        adata, read_factors(adata, key), "varm", "decoded", len(names) + 1, hint=_HINT
    )
    if region is None:
        predicted, r2 = decoded[:, -1], float(found["joint_r2"])
    elif region in names:
        predicted = decoded[:, names.index(region)]
        r2 = float(table["r2"].iloc[names.index(region)])
    else:
        msg = f"There is no region {region!r}; there are {names[:10]} …"
        raise KeyError(msg)
    column = str(found["column"])
    truth = read_behavior(adata, column, str(found["params"]["behavior_key"]))
    time = read_time(adata)
    return draw_time_courses(
        time,
        [("measured", truth, "0.5", 1.5), ("decoded, held out", predicted, "C3", 1)],
        interval,
        title=f"{region or 'all regions'}: R² = {r2:.2f}",
        ylabel=column,
        ax=ax,
    )
