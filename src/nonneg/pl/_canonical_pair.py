"""What two regions have in common, over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._adata.tables import read_table
from .._adata.traces import read_regions, read_time, read_traces
from .._core.arguments import checked
from .._core.docs import shared_docs
from .._core.validators import check_positive_int
from ..models.traces.cca import canonical_pair as fit_pair
from ._time_courses import draw_time_courses

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from spatialdata import SpatialData


@checked
@shared_docs
def canonical_pair(
    adata: AnnData | SpatialData,
    region: str,
    other: str,
    *,
    key: str = "locanmf",
    n_components: int | None = None,
    interval: tuple[float, float] | None = None,
    ax: Axes | None = None,
    table_key: str | None = None,
) -> Axes:
    """Show the two sums of components that two regions have most in common.

    Parameters
    ----------
    adata
        Annotated data with time courses of components in regions.
    region, other
        The two regions.
    key
        Key of the components.
    n_components
        Number of components of each to take, those of the most energy. `None`: all.
    interval
        Seconds to show, first and last. `None`: the minute in the middle. Weights are
        those of the whole recording.
    ax
        Axes to draw on.
    %(table_key)s

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        If there are no such components or regions.
    ValueError
        If no frame is in the interval.

    See Also
    --------
    nonneg.tl.region_cca : all pairs, and whether it means anything

    Examples
    --------
    >>> import nonneg as nng
    >>> import numpy as np
    >>> adata = nng.datasets.quilt(12, 400)
    >>> adata.var["time"] = np.arange(400) / 10
    >>> adata.uns["truth"]["region"] = np.array(["VISp", "VISp", "MOs", "RSP"])
    >>> nng.pl.canonical_pair(adata, "VISp", "MOs", key="truth").get_xlabel()
    'time (s)'
    """
    adata = read_table(adata, table_key)
    if n_components is not None:
        n_components = check_positive_int(n_components, "n_components")
    traces = read_traces(adata, key)
    chosen = read_regions(traces, key, [region, other], at_least=2)
    time = read_time(adata)
    one, two = (traces.signals[:, chosen.columns(i)[:n_components]] for i in range(2))
    r, left, right = fit_pair(one, two)
    # Signs of the pair are arbitrary: most of the larger deflections go up.
    sign = np.sign((left**3).mean()) or 1.0
    return draw_time_courses(
        time,
        [(region, sign * left, "C0", 1), (other, sign * right, "C1", 1)],
        interval,
        title=f"r = {r:.2f}, in-sample",
        ylabel="canonical variate (sd)",
        ax=ax,
    )
