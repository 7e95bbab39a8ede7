"""Motion of a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .._adata.checks import as_numbers, check_key, check_some
from .._adata.tables import read_table
from .._adata.traces import read_time
from .._adata.video import read_video
from .._core.arguments import checked
from .._core.docs import shared_docs
from ._panels import new_panels

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray
    from spatialdata import SpatialData


@checked
@shared_docs
def motion(
    adata: AnnData | SpatialData,
    *,
    channel: str | None = None,
    table_key: str | None = None,
) -> list[Axes]:
    """Show by how much frames had moved, and how well they fit since.

    Look for jumps, which often come with licks or grooming, and for frames whose
    correlation falls far below the others: they are out of focus, moved by more than
    `max_shift`, or not of this recording.

    Parameters
    ----------
    adata
        Annotated data after :func:`nonneg.pp.motion_correct`.
    channel
        Channel whose shifts are shown. `None`: the first one.
    %(table_key)s

    Returns
    -------
    Axes of the shifts and of the correlations.

    Raises
    ------
    KeyError
        If motion was not corrected, or there is no such channel.

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.widefield(
    ...     shape=(40, 48), n_regions=2, n_frames=100, mask=False
    ... )
    >>> nng.pp.motion_correct(adata)
    >>> [ax.get_ylabel() for ax in nng.pl.motion(adata)]
    ['shift (pixels)', 'correlation']
    """
    adata = read_table(adata, table_key)
    read_motion(adata, channel)
    panels = new_panels(2, 1, (4.8, 1.5))
    draw_motion(adata, channel, *panels)
    return panels


class Motion(NamedTuple):
    """Of a channel, in every frame."""

    time: NDArray[np.float64]
    """(n_frames,): seconds, ascending."""
    shifts: NDArray[np.float64]
    """(n_frames, 2): down and right, in pixels."""
    correlation: NDArray[np.float64]
    """(n_frames,): with the reference, after the correction."""


def read_motion(adata: AnnData, channel: str | None) -> Motion:
    """What was corrected, or an error if nothing was."""
    layer = None if channel is None else read_video(adata).layer(channel)
    key = "shifts" if layer is None else f"shifts_{layer}"
    hint = "Call `nonneg.pp.motion_correct(adata)` first."
    check_key(adata, "varm", key, hint=hint)
    check_key(adata, "var", "motion_correlation", hint=hint)
    check_some(adata, "variables")
    shifts = as_numbers(adata.varm[key], f"adata.varm[{key!r}]")
    fit = adata.var["motion_correlation"]
    if shifts.ndim != 2 or shifts.shape[1] != 2:
        msg = (
            f"adata.varm[{key!r}] must hold two shifts for each frame, but has shape "
            f"{shifts.shape}. {hint}"
        )
        raise ValueError(msg)
    correlation = as_numbers(fit, "adata.var['motion_correlation']")
    return Motion(read_time(adata), shifts, correlation)


def draw_motion(adata: AnnData, channel: str | None, above: Axes, below: Axes) -> None:
    """Shifts, and correlations with the reference, on given axes."""
    time, shifts, correlation = read_motion(adata, channel)
    for axis, name in enumerate(("down", "right")):
        above.plot(time, shifts[:, axis], lw=0.8, label=name)
    above.axhline(0, color="0.7", lw=0.6, zorder=0)
    # Above: traces may fill the axes.
    above.legend(
        fontsize="small", frameon=False, ncols=2, loc="lower right",
        bbox_to_anchor=(1, 0.98), borderaxespad=0,
    )  # fmt: skip
    above.set(ylabel="shift (pixels)", xticklabels=[])
    below.plot(time, correlation, color="0.3", lw=0.8)
    below.set(xlabel="time (s)", ylabel="correlation")
    for ax in (above, below):
        ax.set_xlim(time[0], time[-1])
        ax.tick_params(labelsize="small")
        ax.spines[["top", "right"]].set_visible(False)
