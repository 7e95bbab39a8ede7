"""One page on how a recording was preprocessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from .._adata.checks import as_numbers
from .._adata.schema import is_entry
from .._adata.tables import read_table
from .._adata.video import read_video
from .._adata.views import read_factors
from .._core.arguments import checked
from .._core.docs import shared_docs
from ._hemodynamic_maps import (
    bulk,
    draw_hemodynamic_maps,
    draw_map,
    hemodynamic_columns,
)
from ._motion import draw_motion, read_motion
from ._svd_variance_ratio import read_spectrum, svd_variance_ratio

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from spatialdata import SpatialData

# Inches.
_WIDTH, _LINE = 7.6, 0.19
# Where values begin in the table.
_VALUES = 0.42


@checked
@shared_docs
def widefield_report(
    adata: AnnData | SpatialData,
    *,
    hemo_key: str = "hemo",
    table_key: str | None = None,
) -> list[Axes]:
    """Show motion, variance per component and hemodynamics of a recording on one page.

    With a table of the numbers to look at first. Steps that were not made are left out.
    Look for jumps of the shifts, for components above the noise that are cut off, and for
    coefficients that are not smooth or far from 1.

    Parameters
    ----------
    adata
        Annotated pixels x frames after one or more of
        :func:`nonneg.pp.motion_correct`, :func:`nonneg.pp.svd` and
        :func:`nonneg.pp.hemodynamic_correction`.
    hemo_key
        Key of the signal that was corrected for hemodynamics.
    %(table_key)s

    Returns
    -------
    Axes of all panels, with the table as the first one.

    Raises
    ------
    KeyError
        If observations are not pixels of a video.
    ValueError
        If none of the steps was made.

    See Also
    --------
    nonneg.pl.motion, nonneg.pl.svd_variance_ratio, nonneg.pl.hemodynamic_maps : one each

    Examples
    --------
    >>> import nonneg as nng
    >>> adata = nng.datasets.widefield(
    ...     shape=(40, 48), n_regions=2, n_frames=120, mask=False
    ... )
    >>> nng.pp.motion_correct(adata)
    >>> adata = adata[adata.obs["region"].notna()].copy()
    >>> nng.pp.delta_f(adata)
    >>> nng.pp.svd(adata, 20)
    >>> axes = nng.pl.widefield_report(adata)
    >>> [ax.get_label() for ax in axes]
    ['table', 'shifts', 'correlation', 'variance', 'brightness']
    """
    adata = read_table(adata, table_key)
    read_video(adata)
    moved = "shifts" in adata.varm and "motion_correlation" in adata.var
    products = [key for key in adata.uns if _has_spectrum(adata, key)]
    corrected = is_entry(adata.uns.get(hemo_key)) and hemo_key in products
    columns = hemodynamic_columns(adata, hemo_key) if corrected else []
    if not (moved or products):
        msg = (
            "There is nothing to report. Call `nonneg.pp.motion_correct`, "
            "`nonneg.pp.svd` or `nonneg.pp.hemodynamic_correction` first."
        )
        raise ValueError(msg)
    rows = _recording(adata)
    if moved:
        rows += _motion(adata)
    rows += _products(adata, products, columns)
    brightness = next((c for c in ("baseline", "mean_frame") if c in adata.obs), None)
    maps = [brightness] * (brightness is not None) + columns
    below = bool(products or maps)
    top = max(_LINE * len(rows) + 0.35, 2.6 if moved else 0.0)
    figure = plt.figure(
        figsize=(_WIDTH, top + (2.3 if below else 0)), layout="constrained"
    )
    bands = figure.subfigures(
        1 + below, 1, height_ratios=[top, 2.3] if below else [top], squeeze=False
    )[:, 0]
    upper = bands[0].subfigures(1, 2, width_ratios=[1, 1 if moved else 0.01])
    table = upper[0].subplots()
    _draw_table(table, rows)
    axes = [table]
    if moved:
        above, under = upper[1].subplots(2, 1)
        draw_motion(adata, None, above, under)
        axes += [_named(above, "shifts"), _named(under, "correlation")]
    if below:
        widths = [1.4] * bool(products) + [1.0] * len(maps)
        # Panels have their size also where there are few.
        widths += [1.0] * (4 - len(widths))
        panels = list(bands[1].subplots(1, len(widths), width_ratios=widths))
        for blank in panels[bool(products) + len(maps) :]:
            blank.remove()
        panels = panels[: bool(products) + len(maps)]
        if products:
            curve = panels.pop(0)
            svd_variance_ratio(adata, products, ax=curve)
            for text in curve.get_legend().get_texts():
                text.set_fontsize("x-small")
            axes.append(_named(curve, "variance"))
        if brightness is not None:
            values = as_numbers(adata.obs[brightness], f"adata.obs[{brightness!r}]")
            limits = (0.0, bulk(values)[1])
            draw_map(panels[0], adata, values, "brightness", cmap="gray", limits=limits)
            axes.append(_named(panels.pop(0), "brightness"))
        if columns:
            draw_hemodynamic_maps(adata, columns, panels)
            axes += [_named(panels[0], "coefficient"), _named(panels[1], "removed")]
    return axes


def _has_spectrum(adata: AnnData, key: str) -> bool:
    if not is_entry(adata.uns[key]):
        return False
    return getattr(read_factors(adata, key).entry, "singular_values", None) is not None


type _Rows = list[tuple[str, str]]
"""Names and numbers of the table."""


def _recording(adata: AnnData) -> _Rows:
    video = read_video(adata)
    steps = np.diff(video.time)
    n_gaps = int((steps > 1.5 * np.median(steps)).sum()) if steps.size else 0
    return [
        ("pixels × frames", f"{adata.n_obs:,} × {adata.n_vars:,}"),
        ("channels", ", ".join(video.channels)),
        ("rate, duration", f"{video.fs:g} Hz, {np.ptp(video.time):.0f} s"),
        ("gaps between frames", f"{n_gaps}"),
    ]


def _motion(adata: AnnData) -> _Rows:
    time, shifts, fit = read_motion(adata, None)
    far = np.hypot(*shifts.T)
    # Not of the distance from the reference, which a circle around it leaves as it is.
    steps = np.hypot(*np.diff(shifts, axis=0).T)
    if np.isnan(fit).all():
        msg = "adata.var['motion_correlation'] is NaN in all frames."
        raise ValueError(msg)
    worst = int(np.nanargmin(fit))
    return [
        ("largest shift", f"{far.max():.2f} pixels, at {time[far.argmax()]:.1f} s"),
        (
            "from frame to frame",
            f"{np.median(steps):.3f} pixels, median",
        ),
        ("lowest correlation", f"{fit[worst]:.3f}, at {time[worst]:.1f} s"),
    ]


def _products(adata: AnnData, products: list[str], columns: list[str]) -> _Rows:
    rows = []
    for key in products:
        variance, total = read_spectrum(adata, key)
        held = "" if total is None else f", {variance.sum() / total:.1%} of variance"
        rows.append((key, f"{variance.size} components{held}"))
    names = ("coefficient, median", "part removed, median")
    for name, column in zip(names, columns, strict=False):
        values = as_numbers(adata.obs[column], f"adata.obs[{column!r}]")
        rows.append((name, f"{np.nanmedian(values):.2f}"))
    return rows


def _draw_table(ax: Axes, rows: _Rows) -> None:
    ax.set_axis_off()
    ax.set_label("table")
    ax.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5))
    for i, (name, value) in enumerate(rows):
        # Not in the layout, which would narrow the axes for long ones.
        for x, text, color in ((0.0, name, "0.4"), (_VALUES, value, "black")):
            ax.text(
                x, i, text, va="center", fontsize="small", color=color, in_layout=False
            )


def _named(ax: Axes, name: str) -> Axes:
    ax.set_label(name)
    return ax
